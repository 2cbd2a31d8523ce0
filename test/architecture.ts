import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

/** One import statement of a source file. */
export interface Import {
  readonly file: string
  readonly specifier: string
  readonly typeOnly: boolean
}

/** The shared nouns, and what is built on them alone: files at the root of `src`, and `wire`. They may import each other. */
const nouns = [
  'errors',
  'principal',
  'usage',
  'money',
  'tokenizer',
  'options',
  'target',
  'wire',
  'gpt-tokenizer',
  'byte-pairs',
  'price-table',
  'price-overrides',
  'list-prices',
  'scopes',
  'model-lists',
  'calendar-window',
  'marked-up-prices',
  'webhook-sender',
  'live-list',
] as const

/**
 * Who may import whom inside `packages/core/src`: folder (or root file) → what it may import besides itself.
 * `CONTRIBUTING.md` shows the same table to people.
 */
export const mayImport: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(nouns.map((name) => [name, nouns])),
  stores: nouns,
  http: ['errors', 'principal', 'target', 'usage'],
  middleware: [...nouns, 'stores', 'http'],
  inference: ['errors', 'options', 'usage', 'principal', 'target', 'live-list', 'stores'],
  wrappers: ['inference', 'errors', 'options', 'usage', 'principal', 'target', 'stores'],
  providers: ['inference', 'wire', 'errors', 'options', 'usage', 'tokenizer'],
  gateway: [...nouns, 'inference', 'wrappers', 'providers'],
  routes: [...nouns, 'stores', 'http', 'middleware', 'inference', 'wrappers', 'providers'],
  testing: [...nouns, 'stores', 'inference', 'providers'],
  index: [...nouns, 'http'],
}

const forbiddenNames = /(^|[/-])(utils?|helpers?|common|types)\.ts$/

/** Every import and re-export of a source text. */
export function importsOf(file: string, source: string): Import[] {
  const found: Import[] = []
  const statement = /^\s*(?:import|export)\s+(type\s+)?(?:([^'";]*?)\s+from\s+)?['"]([^'"]+)['"]/gm
  for (const [, type, names, specifier] of source.matchAll(statement)) {
    const named = /^\{([\s\S]*)\}$/.exec(names?.trim() ?? '')?.[1]?.split(',')
    const allTypes = named
      ?.map((name) => name.trim())
      .filter(Boolean)
      .every((name) => name.startsWith('type '))
    found.push({ file, specifier: specifier as string, typeOnly: type !== undefined || allTypes === true })
  }
  for (const [, specifier] of source.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g)) {
    found.push({ file, specifier: specifier as string, typeOnly: false })
  }
  return found
}

/** What breaks the import table, in words. `files`: paths relative to `packages/core/src`, with their texts. */
export function violations(files: ReadonlyMap<string, string>): string[] {
  const wrong: string[] = []
  const edges = new Map<string, Set<string>>()
  for (const [file, source] of files) {
    const from = folderOf(file)
    const allowed = mayImport[from]
    if (allowed === undefined) {
      wrong.push(`${file}: the folder '${from}' is not in the table`)
      continue
    }
    if (forbiddenNames.test(file)) wrong.push(`${file}: name it after what it holds`)
    for (const { specifier, typeOnly } of importsOf(file, source)) {
      if (!specifier.startsWith('.')) {
        if (specifier.startsWith('@tollgate/'))
          wrong.push(`${file} imports ${specifier}: inside core use relative paths`)
        continue
      }
      const target = relative('/', resolve('/', dirname(file), specifier))
      const to = folderOf(target)
      if (to === from) continue
      if (!allowed.includes(to)) wrong.push(`${file} imports ${target}: ${from} must not know ${to}`)
      if (to === 'testing') wrong.push(`${file} imports ${target}: nothing imports testing`)
      if (from === 'testing' && !typeOnly && !nouns.some((name) => name === to)) {
        wrong.push(`${file} imports ${target}: testing takes types only`)
      }
      if (!nouns.some((name) => name === from)) edges.set(from, (edges.get(from) ?? new Set()).add(to))
    }
  }
  return [...wrong, ...cycles(edges)]
}

/** Other packages and the examples: published subpaths only, and the client takes types of `wire` only. */
export function packageViolations(packageName: string, files: ReadonlyMap<string, string>): string[] {
  const wrong: string[] = []
  for (const [file, source] of files) {
    for (const { specifier, typeOnly } of importsOf(file, source)) {
      if (/^(\.\.\/)+(core|client|onnx|postgres|redis|bench)\//.test(specifier) || specifier.includes('/src/')) {
        wrong.push(`${packageName}/${file} imports ${specifier}: use the published subpath`)
      }
      if (packageName === 'client' && specifier.startsWith('@tollgate/')) {
        if (!specifier.startsWith('@tollgate/core/wire/') || !typeOnly) {
          wrong.push(`${packageName}/${file} imports ${specifier}: the client takes only types, of wire`)
        }
      }
    }
  }
  return wrong
}

/** The sources below a folder, tests left out, by path relative to it. */
export function sourcesBelow(folder: string): Map<string, string> {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  const sources = paths.filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts') && !path.endsWith('.d.ts'))
  return new Map(sources.sort().map((path) => [path, readFileSync(join(folder, path), 'utf8')]))
}

function folderOf(path: string): string {
  const [first = ''] = path.split('/')
  return first.replace(/\.(ts|js)$/, '')
}

function cycles(edges: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const wrong: string[] = []
  const done = new Set<string>()
  const visit = (folder: string, path: readonly string[]): void => {
    if (path.includes(folder)) {
      wrong.push(`a cycle: ${[...path.slice(path.indexOf(folder)), folder].join(' → ')}`)
      return
    }
    if (done.has(folder)) return
    for (const next of edges.get(folder) ?? []) visit(next, [...path, folder])
    done.add(folder)
  }
  for (const folder of edges.keys()) visit(folder, [])
  return wrong
}
