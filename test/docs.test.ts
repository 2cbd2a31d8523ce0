import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, expect, it } from 'vitest'
import { settingNames } from '../examples/server/src/settings.js'
import { importsOf, sourcesBelow } from './architecture.js'

const root = join(import.meta.dirname, '..')
const core = sourcesBelow(join(root, 'packages/core/src'))

/** Every Markdown page that people read. */
const pages = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md']
  .concat(readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).map((path) => join('docs', path)))
  .filter((path) => path.endsWith('.md') && existsSync(join(root, path)))

/** Described on another page. (A store in memory is on the page of the contract that it keeps.) */
const onThePageOf: Readonly<Record<string, string>> = {
  'wrappers/breaker': 'guides/routing-and-resilience',
  'wrappers/bulkhead': 'guides/routing-and-resilience',
  'wrappers/retry': 'guides/routing-and-resilience',
  'wrappers/routed': 'guides/routing-and-resilience',
  'wrappers/timeouts': 'guides/routing-and-resilience',
  'stores/parse-users': 'stores/directory',
  'providers/openai-presets': 'providers/openai-compatible',
  'middleware/single-limits': 'middleware/limits',
  'middleware/limit-metrics': 'middleware/limits',
  'middleware/limit-webhooks': 'middleware/limits',
  'middleware/hedge-reports': 'wrappers/hedged',
  'middleware/shadow-reports': 'wrappers/shadowed',
  'middleware/upstream-limit-metrics': 'middleware/metrics',
  'stores/ledger-writer': 'stores/ledger',
  'stores/ledger-sums': 'stores/ledger',
}

describe('the docs', () => {
  it('have a page for every middleware, store, provider and route', () => {
    // What another file of core imports is a part of that one, unless it has a page of its own.
    const parts = new Set(
      [...core].flatMap(([file, source]) =>
        importsOf(file, source).map(({ specifier }) => join(dirname(file), specifier).replace(/\.js$/, '')),
      ),
    )
    const missing = [...core.keys()]
      .map((path) => path.replace(/\.ts$/, ''))
      .filter((path) => /^(middleware|stores|providers|wrappers|routes)\//.test(path) && !parts.has(path))
      .filter((path) => !existsSync(join(root, 'docs', `${onThePageOf[path] ?? path.replace('/memory-', '/')}.md`)))
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
