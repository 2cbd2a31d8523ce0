// Packs every published package and checks the tarball as an installer gets it: publint (the manifest against the files) and
// are-the-types-wrong (the declarations against every way of importing).
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const folder = mkdtempSync(join(tmpdir(), 'tollgate-pack-'))
const packages = readdirSync('packages')
  .map((name) => join('packages', name))
  .filter((path) => JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')).private !== true)

let failures = 0
const run = (command, ...args) => {
  const { status } = spawnSync(command, args, { stdio: 'inherit' })
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
} finally {
  rmSync(folder, { recursive: true, force: true })
}
console.log(`packages: ${packages.length} packed, ${failures} checks failed`)
process.exit(failures === 0 ? 0 : 1)
