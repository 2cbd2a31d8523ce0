import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

const main = join(import.meta.dirname, '../dist/main.js')

interface Started {
  readonly child: ChildProcess
  /** Everything said so far, on both outputs. */
  output(): string
  /** Resolves with the match as soon as the output has it. */
  said(pattern: RegExp): Promise<RegExpExecArray>
  /** The exit code. */
  readonly ended: Promise<number | null>
}

/** The server as `npm start` starts it: a process of its own, in an empty folder or the one given. */
export function startProcess(
  variables: Readonly<Record<string, string>>,
  folder = mkdtempSync(join(tmpdir(), 'tollgate-')),
): Started {
  const child = spawn(process.execPath, [main], {
    cwd: folder,
    env: { PATH: process.env['PATH'], PORT: '0', ...variables },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  const looking = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      for (const look of looking) look()
    })
  }
  const ended = once(child, 'exit').then(([code]) => code as number | null)
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ended
    await rm(folder, { recursive: true, force: true })
  })
  return {
    child,
    ended,
    output: () => text,
    said: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const match = pattern.exec(text)
          if (match === null) return
          looking.delete(look)
          resolve(match)
        }
        looking.add(look)
        void ended.then(() => reject(new Error(`It ended without saying ${pattern}:\n${text}`)))
        look()
      }),
  }
}

export const address = /listens on (http:\/\/\S+)/
