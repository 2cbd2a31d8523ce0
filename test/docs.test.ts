import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, expect, it } from 'vitest'
import { settingNames } from '../examples/server/src/settings.js'
import { sourcesBelow } from './architecture.js'

const root = join(import.meta.dirname, '..')
const core = sourcesBelow(join(root, 'packages/core/src'))

/** Every Markdown page that people read. */
const pages = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md']
  .concat(readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).map((path) => join('docs', path)))
  .filter((path) => path.endsWith('.md') && existsSync(join(root, path)))

/** Parts of a public file that are not public themselves, and the kit that every page uses. */
const partOf: Readonly<Record<string, string>> = {
  'middleware/error-body': 'middleware/error-handler',
  'middleware/error-report': 'middleware/error-handler',
  'middleware/foreign-error': 'middleware/error-handler',
  'middleware/log-content': 'middleware/logging',
  'middleware/log-line': 'middleware/logging',
  'middleware/prometheus-registry': 'middleware/metrics',
  'providers/http-kit': 'providers/openai-compatible',
  'providers/sse-decoder': 'providers/openai-compatible',
  'routes/invoke': 'guides/inference-service',
  'stores/awaitable': 'stores/limit-store',
  'stores/memory-limit-store': 'stores/limit-store',
  'stores/memory-cache-store': 'stores/cache-store',
  'stores/memory-directory': 'stores/directory',
  'stores/password-hash': 'stores/directory',
}

describe('the docs', () => {
  it('have a page for every middleware, store, provider and route', () => {
    const missing = [...core.keys()]
      .map((path) => path.replace(/\.ts$/, ''))
      .filter((path) => /^(middleware|stores|providers|routes)\//.test(path))
      .filter((path) => {
        const page = partOf[path] ?? path
        // `middleware/auth-jwt` is a part of `middleware/auth`.
        const whole = page.replace(/-[a-z-]+$/, '')
        return ![page, whole].some((name) => existsSync(join(root, 'docs', `${name}.md`)))
      })
    expect(missing).toEqual([])
  })

  it('name only subpaths that exist', () => {
    const wrong: string[] = []
    for (const page of pages) {
      const text = readFileSync(join(root, page), 'utf8')
      for (const [, subpath] of text.matchAll(/['"`]@tollgate\/core\/([a-z0-9/-]+)['"`]/g)) {
        if (!core.has(`${subpath}.ts`)) wrong.push(`${page}: @tollgate/core/${subpath}`)
      }
    }
    expect(wrong).toEqual([])
  })

  it('link only to files that exist', () => {
    const wrong: string[] = []
    for (const page of pages) {
      const text = readFileSync(join(root, page), 'utf8').replace(/```[\s\S]*?```/g, '')
      for (const [, target] of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
        if (/^[a-z]+:/.test(target as string)) continue
        if (!existsSync(join(root, dirname(page), target as string))) wrong.push(`${page}: ${target}`)
      }
    }
    expect(wrong).toEqual([])
  })

  it('describe every setting of the reference server, and no other', () => {
    const text = readFileSync(join(root, 'docs/guides/settings.md'), 'utf8')
    const described = [...text.matchAll(/^\| `([A-Z_]+)` \|/gm)].map(([, name]) => name as string)
    expect(described.sort()).toEqual([...settingNames].sort())
  })

  it('show TypeScript that compiles', () => {
    // Inside the example server, where every package that a page may use is installed.
    const folder = mkdtempSync(join(root, 'examples/server/.fences-'))
    try {
      const names = new Map<string, string>()
      for (const page of pages) {
        const text = readFileSync(join(root, page), 'utf8')
        let count = 0
        for (const [, fence] of text.matchAll(/^```ts\n([\s\S]*?)^```/gm)) {
          count += 1
          const name = `${page.replace(/[/.]/g, '_')}_${count}.ts`
          names.set(name, `${page}, fence ${count}`)
          writeFileSync(join(folder, name), `${fence}\nexport {}\n`)
        }
      }
      expect(names.size).toBeGreaterThan(5)
      const config = {
        extends: '../../../tsconfig.base.json',
        compilerOptions: { noUnusedLocals: false, noUnusedParameters: false },
        include: ['*.ts'],
      }
      writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
      const tsc = join(root, 'node_modules/.bin/tsc')
      const { stdout } = spawnSync(tsc, ['-p', folder, '--pretty', 'false'], { encoding: 'utf8' })
      const errors = stdout
        .split('\n')
        .filter((line) => line.includes('error TS'))
        .map((line) => {
          const [path = '', rest = ''] = line.split(/(?=\()/, 2)
          return `${names.get(relative(folder, join(root, path))) ?? path}${rest || line}`
        })
      expect(errors).toEqual([])
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }, 60_000)
})
