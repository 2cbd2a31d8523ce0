// Makes the declarations of the published package self-contained. tsc has written one per source file, which name the server's wire interfaces as
// `@tollgate/core/wire/…`; those, and what they refer to, are copied into `dist/wire.d.ts` without the zod schemas that stand beside them.
//
// tsc prints declarations in one regular form: a top-level statement begins in the first column and ends with the first line that begins there, or
// is the first, and ends with `;` or `}`. That is all that is parsed here; test/package.test.ts compiles a consumer against the result.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

interface Module {
  readonly path: string
  /** Statement by the name it declares, with its comment. */
  readonly declarations: ReadonlyMap<string, string>
  /** Where an imported name comes from. */
  readonly imports: ReadonlyMap<string, string>
}

const dist = fileURLToPath(new URL('../dist/', import.meta.url))
const core = join(dirname(fileURLToPath(import.meta.resolve('@tollgate/core/package.json'))), 'dist')
const modules = new Map<string, Module>()
const copied = new Map<string, { readonly path: string; readonly text: string }>()

// What index.d.ts does not lead to is nobody's business.
const reached = new Set(['index.d.ts'])
for (const name of reached) {
  const path = join(dist, name)
  const text = readFileSync(path, 'utf8')
  for (const [, file] of text.matchAll(/from '\.\/([\w-]+)\.js'/g)) reached.add(`${file}.d.ts`)
  const rewritten = text.replace(
    /\b(import|export) type \{([^}]*)\} from '@tollgate\/core\/(wire\/[\w-]+)'/g,
    (_, keyword: string, names: string, module: string) => {
      for (const one of importedNames(names)) copy(load(join(core, `${module}.d.ts`)), one)
      return `${keyword} type {${names}} from './wire.js'`
    },
  )
  if (rewritten.includes('@tollgate/'))
    throw new Error(`${name} names a package of the workspace in a way this script does not read`)
  writeFileSync(path, rewritten)
}
for (const name of readdirSync(dist)) if (name.endsWith('.d.ts') && !reached.has(name)) rmSync(join(dist, name))
const header = '// The interfaces of the wire, copied from @tollgate/core at build.\n'
const texts = [...copied.values()].map(({ text }) => text)
writeFileSync(join(dist, 'wire.d.ts'), `${header}${texts.join('\n')}\nexport {};\n`)

function load(path: string): Module {
  const known = modules.get(path)
  if (known !== undefined) return known
  const declarations = new Map<string, string>()
  const imports = new Map<string, string>()
  for (const statement of statementsOf(readFileSync(path, 'utf8'))) {
    const imported = /^import (?:type )?\{([^}]*)\} from '([^']+)'/m.exec(statement)
    const declared = /^(?:export )?(?:declare )?(?:interface|type|const|class|function) (\w+)/m.exec(statement)
    if (imported !== null) for (const name of importedNames(imported[1] ?? '')) imports.set(name, imported[2] ?? '')
    else if (declared !== null) declarations.set(declared[1] ?? '', statement)
  }
  const module = { path, declarations, imports }
  modules.set(path, module)
  return module
}

function importedNames(list: string): string[] {
  const names = list.split(',').map((name) => name.trim().replace(/^type /, ''))
  return names.filter((name) => name !== '').map((name) => name.replace(/ as .*$/s, ''))
}

function statementsOf(text: string): string[] {
  const statements: string[] = []
  let lines: string[] = []
  let inComment = false
  let begun = false
  for (const line of text.split('\n')) {
    if (line === '' && lines.length === 0) continue
    lines.push(line)
    if (!begun && line.startsWith('/*')) inComment = true
    if (inComment) {
      if (line.trimEnd().endsWith('*/')) inComment = false
      continue
    }
    begun = true
    if (/^\S/.test(line) && /[;}]$/.test(line)) {
      statements.push(lines.join('\n'))
      lines = []
      begun = false
    }
  }
  return statements
}

/** Copies a declaration and, before it is needed, all that it refers to. */
function copy(module: Module, name: string): void {
  const text = module.declarations.get(name)
  if (text === undefined) {
    const from = module.imports.get(name)
    if (from === undefined) throw new Error(`${module.path} declares no ${name}`)
    if (!from.startsWith('.'))
      throw new Error(`${name} of ${module.path} comes from ${from}: the wire's interfaces must stand alone`)
    copy(load(resolve(dirname(module.path), from.replace(/\.js$/, '.d.ts'))), name)
    return
  }
  const before = copied.get(name)
  if (before !== undefined) {
    if (before.path !== module.path) throw new Error(`${name} is declared in ${before.path} and in ${module.path}`)
    return
  }
  // A value can be referred to by `typeof`, but there is none behind it here.
  copied.set(name, { path: module.path, text: text.replace(/^export declare (?=const|class|function)/m, 'declare ') })
  const bare = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/'[^'\n]*'|"[^"\n]*"/g, '')
  for (const [identifier] of bare.matchAll(/[A-Za-z_$][\w$]*/g)) {
    if (identifier !== name && (module.declarations.has(identifier) || module.imports.has(identifier)))
      copy(module, identifier)
  }
}
