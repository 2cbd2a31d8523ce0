// Packs every published package and checks the tarball as an installer gets it: publint (the manifest against the files) and
// are-the-types-wrong (the declarations against every way of importing). Then core and the client are unpacked into an empty project, where
// every subpath of core must load with nothing beside it but what its manifest names.
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'

const folder = mkdtempSync(join(tmpdir(), 'tollgate-pack-'))
const packages = readdirSync('packages')
  .map((name) => join('packages', name))
  .filter((path) => JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')).private !== true)

const loadEverySubpath = `
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
const dist = new URL('./node_modules/@tollgate/core/dist/', import.meta.url)
const subpaths = readdirSync(dist, { recursive: true }).filter((path) => path.endsWith('.js')).map((path) => path.slice(0, -3))
for (const subpath of subpaths) await import('@tollgate/core/' + subpath)
await import('@tollgate/core')
await import('@tollgate/client')
const deep = await import('@tollgate/core/dist/errors.js').then(() => 'open', ({ code }) => code)
if (subpaths.length < 50 || deep !== 'ERR_MODULE_NOT_FOUND') throw new Error(subpaths.length + ' subpaths; dist is ' + deep)
console.log(subpaths.length + ' subpaths of core load in an empty project')
`

let failures = 0
const run = (command, ...args) => {
  const { status } = spawnSync(command, args, { stdio: 'inherit', timeout: 120_000 })
  if (status !== 0) failures += 1
}
try {
  for (const path of packages) {
    run('pnpm', '--dir', path, 'pack', '--pack-destination', folder)
  }
  for (const name of readdirSync(folder)) {
    const tarball = join(folder, name)
    run('publint', 'run', '--strict', tarball)
    // ESM only, by decision: `require()` of an ES module works in every Node that the packages support.
    run('attw', tarball, '--profile', 'esm-only')
  }
  const project = join(folder, 'project')
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), '{ "private": true, "type": "module" }')
  writeFileSync(join(project, 'load.js'), loadEverySubpath)
  for (const name of ['core', 'client']) {
    const installed = join(project, 'node_modules/@tollgate', name)
    mkdirSync(installed, { recursive: true })
    const tarball = readdirSync(folder).find((file) => file.startsWith(`tollgate-${name}-`))
    run('tar', '-xzf', join(folder, tarball), '-C', installed, '--strip-components=1')
    const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
    for (const dependency of Object.keys(dependencies)) {
      const link = join(project, 'node_modules', dependency)
      mkdirSync(dirname(link), { recursive: true })
      if (!existsSync(link)) symlinkSync(resolve('packages', name, 'node_modules', dependency), link)
    }
  }
  run('node', join(project, 'load.js'))
} finally {
  rmSync(folder, { recursive: true, force: true })
}
console.log(`packages: ${packages.length} packed, ${failures} checks failed`)
process.exit(failures === 0 ? 0 : 1)
