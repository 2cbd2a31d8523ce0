import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'

const serverMain = join(import.meta.dirname, '../../../examples/server/dist/main.js')

/** A key for {@link startServer}. */
export const operatorKey = 'the-key-of-the-bench-0123456789'

/** A reference server in a process of its own, for whoever started it to end. */
export interface ReferenceServer {
  readonly child: ChildProcess
  readonly url: string
}

/** Starts one in a folder, by these settings alone; resolves when it is ready. */
export async function startServer(cwd: string, variables: Readonly<Record<string, string>>): Promise<ReferenceServer> {
  await mkdir(cwd, { recursive: true })
  const child = spawn(process.execPath, [serverMain], {
    cwd,
    env: { PATH: process.env['PATH'], PORT: '0', ...variables },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-10_000)
  })
  try {
    const url = await new Promise<string>((resolve, reject) => {
      child.once('exit', () => reject(new Error(`A server ended: ${said}`)))
      child.stdout?.on('data', (chunk: Buffer) => {
        said += chunk.toString()
        const found = /listens on (http:\/\/\S+)/.exec(said)?.[1]
        if (found !== undefined) resolve(found)
      })
    })
    for (;;) {
      const response = await fetch(`${url}/ready`).catch(() => undefined)
      if (response?.status === 200) return { child, url }
      await wait(100)
    }
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
}
