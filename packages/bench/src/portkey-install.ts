import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { promisify } from 'node:util'

export const portkeyVersion = '1.15.2'

const folder = new URL('../.portkey/', import.meta.url)

/** The program that `npx @portkey-ai/gateway` would run. */
export const portkeyEntry: URL = new URL('node_modules/@portkey-ai/gateway/build/start-server.js', folder)

/** Long enough for 25 MB over a slow line. */
const timeoutMs = 180_000

const manifest = {
  private: true,
  dependencies: { '@portkey-ai/gateway': portkeyVersion },
  overrides: {
    // The package allows every 1.x. What npm would take, and everything from 1.14.2 on, makes it answer every stream with 500
    // (https://github.com/Portkey-AI/gateway/issues/1389); its JSON is as fast with this one.
    '@hono/node-server': '1.13.7',
    // On the way of every request: another one would be another subject.
    hono: '4.13.19',
  },
}

/**
 * Puts Portkey's gateway into a folder of its own, so that its 95 packages are no part of this workspace. Needs the network the first
 * time, and none once it is there: npm mends what an interrupted installation has left.
 *
 * @throws if npm is not there, fails or takes longer than three minutes
 */
export async function installPortkey(): Promise<void> {
  mkdirSync(folder, { recursive: true })
  writeFileSync(new URL('package.json', folder), `${JSON.stringify(manifest, null, 2)}\n`)
  // Its one script applies patches that the package does not bring.
  const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  await promisify(execFile)('npm', ['install', ...options], { cwd: folder, timeout: timeoutMs })
}
