import { availableParallelism } from 'node:os'

interface HashQueueOptions {
  readonly maxConcurrent: number
  readonly maxQueued: number
}

/** Runs a few costly tasks at a time, the rest in the order they came. */
export interface HashQueue {
  /**
   * The task's result; `undefined` if the queue is full. A task whose caller leaves while it waits is never begun: the promise rejects with
   * the signal's reason.
   */
  run<Result>(task: () => Promise<Result>, signal: AbortSignal): Promise<Result> | undefined
}

/** As many hashes at once as leave a thread of libuv's pool, and a core, to everything else; at least 1. */
export function threadsToSpare(): number {
  const threads = Number(process.env['UV_THREADPOOL_SIZE'] ?? 4) || 4
  return Math.max(1, Math.min(threads, availableParallelism()) - 1)
}

/** Keeps password hashes, a third of a second of CPU each, from taking every thread that files and DNS need too. */
export function hashQueue({ maxConcurrent, maxQueued }: HashQueueOptions): HashQueue {
  const waiting = new Set<() => void>()
  let running = 0

  const begin = async <Result>(task: () => Promise<Result>): Promise<Result> => {
    running += 1
    try {
      return await task()
    } finally {
      running -= 1
      const [next] = waiting
      if (next !== undefined) {
        waiting.delete(next)
        next()
      }
    }
  }

  return {
    run(task, signal) {
      if (running < maxConcurrent) return begin(task)
      if (waiting.size >= maxQueued) return undefined
      return new Promise((resolve, reject) => {
        const leave = () => {
          waiting.delete(start)
          reject(signal.reason)
        }
        const start = () => {
          signal.removeEventListener('abort', leave)
          resolve(begin(task))
        }
        if (signal.aborted) return leave()
        signal.addEventListener('abort', leave, { once: true })
        waiting.add(start)
      })
    },
  }
}
