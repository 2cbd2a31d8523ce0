import { spawn } from 'node:child_process'
import { availableParallelism } from 'node:os'

/** What a child process can be asked: a function by name, run over there. */
// biome-ignore lint/suspicious/noExplicitAny: only `any` lets every table of functions fit; each call is typed by its own table.
export type Questions = Record<string, (argument: any) => unknown>

/** A process of the benchmark, alive until `stop`. */
export interface Child<Asked extends Questions> {
  ask<Name extends keyof Asked & string>(
    name: Name,
    argument: Parameters<Asked[Name]>[0],
  ): Promise<Awaited<ReturnType<Asked[Name]>>>
  stop(): Promise<void>
  /** Rejects if it ends before `stop`; never resolves. */
  readonly died: Promise<never>
}

interface Asking {
  readonly name: string
  readonly argument: unknown
}

type Answer = { readonly value: unknown } | { readonly error: string }

/** Is there a second core to keep the load away from the subject, and a tool to do so? */
export const pinning: boolean = availableParallelism() > 1 && process.platform === 'linux'

/**
 * Starts a TypeScript file of this folder as a process, on one core if the system allows.
 *
 * @param file relative to this folder
 * @param core 0 for subjects, 1 for the upstream and the load
 */
export function startChild<Asked extends Questions>(
  file: string,
  core: 0 | 1,
  variables: Readonly<Record<string, string>> = {},
): Child<Asked> {
  const path = new URL(file, import.meta.url).pathname
  const command = pinning ? ['taskset', '--cpu-list', String(core), process.execPath, path] : [process.execPath, path]
  const child = spawn(command[0] as string, command.slice(1), {
    // Peers log to standard output by default: what the benchmark measures must not depend on a terminal.
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    env: { ...process.env, NODE_ENV: 'production', NODE_OPTIONS: '', ...variables },
  })
  // Express prints every refusal there: shown only if the process ends by itself.
  let complaints = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-4_000)
  })
  let waiting: PromiseWithResolvers<never> | undefined
  const died = Promise.withResolvers<never>()
  died.promise.catch(() => {})
  const ended = new Promise<void>((resolve) => {
    const end = (reason: string) => {
      died.reject(new Error(`${file} ${reason}\n${complaints}`))
      resolve()
    }
    child.once('error', (error) => end(`could not start: ${error.message}`))
    child.once('exit', (code, signal) => end(`ended with ${signal ?? code}`))
  })
  child.on('message', (answer: Answer) => {
    if ('error' in answer) waiting?.reject(new Error(`${file}: ${answer.error}`))
    else waiting?.resolve(answer.value as never)
  })
  return {
    died: died.promise,
    async ask(name, argument) {
      if (waiting !== undefined) throw new Error(`${file} is asked '${name}' before it has answered`)
      waiting = Promise.withResolvers<never>()
      try {
        child.send({ name, argument } satisfies Asking)
        return await Promise.race([waiting.promise, died.promise])
      } finally {
        waiting = undefined
      }
    },
    async stop() {
      if (child.connected) child.disconnect()
      await ended
    },
  }
}

/** The other side: answers what the parent asks, until the parent lets go. */
export function answer(questions: Questions): void {
  const send = (given: Answer) => process.send?.(given)
  process.on('message', async ({ name, argument }: Asking) => {
    try {
      send({ value: (await questions[name]?.(argument)) ?? null })
    } catch (error) {
      send({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
  })
  process.on('disconnect', () => process.exit())
}
