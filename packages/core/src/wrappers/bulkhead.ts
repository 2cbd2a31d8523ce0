import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { abortError } from '../inference/call.js'
import type { Call, Model, ModelStream } from '../inference/model.js'
import { streamOf } from '../inference/service-stream.js'
import type { Part, Task } from '../inference/task.js'
import { checkedOptions } from '../options.js'
import { refusal } from './failure.js'

export interface BulkheadOptions {
  /** Calls at once. */
  readonly maxConcurrent: number
  /** Calls that may wait for a place; more are refused. Default 100. */
  readonly maxQueued?: number
  /** The longest wait, milliseconds. Default 10,000. */
  readonly maxWaitMs?: number
}

export const bulkheadSettings = z.strictObject({
  maxConcurrent: z.int().min(1).max(1_000_000).describe('Calls of one model at once, over all keys of its provider.'),
  maxQueued: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(100)
    .describe('Calls that may wait for a place. More are refused (`overloaded`, 503), or go to another target.'),
  maxWaitMs: z.int().min(0).max(3_600_000).default(10_000).describe('Milliseconds that a call waits at most.'),
})

interface Waiting {
  readonly priority: number
  readonly begin: () => void
}

/**
 * So many calls of a model at once, and a bounded queue before them: the larger `call.priority` sooner, equal ones as they came. One model that hangs does not take the places of the others.
 *
 * @throws TollgateError `config_invalid`; its models `overloaded` when the queue is full or the wait was too long, with `Retry-After`
 * @example withBulkhead(vllm.model('generate', 'llama-3'), { maxConcurrent: 16 })
 */
export function withBulkhead<T extends Task>(model: Model<T>, options: BulkheadOptions): Model<T> {
  return bulkhead(options)(model)
}

/** The same for several models that share the places: one model behind several keys. */
export function bulkhead(options: BulkheadOptions): <T extends Task>(model: Model<T>) => Model<T> {
  const { maxConcurrent, maxQueued, maxWaitMs } = checkedOptions('withBulkhead', bulkheadSettings, options)
  let running = 0
  const queue: Waiting[] = []

  /** Ours, so that it is neither tried again nor counted against the upstream. */
  const full = ({ provider, id }: Model<Task>, why: string) =>
    refusal(
      new TollgateError('overloaded', `Too many calls of ${provider}/${id} at once: ${why}.`, { retryAfterMs: 1_000 }),
    )

  const enter = (model: Model<Task>, call: Call): Promise<void> => {
    if (call.signal.aborted) return Promise.reject(abortError(call.signal))
    if (running < maxConcurrent) {
      running += 1
      return Promise.resolve()
    }
    if (queue.length >= maxQueued) return Promise.reject(full(model, 'none may wait'))
    return new Promise((resolve, reject) => {
      const { priority = 0, signal } = call
      const over = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', leave)
      }
      const entry: Waiting = {
        priority,
        begin() {
          over()
          resolve()
        },
      }
      const drop = (error: unknown) => {
        over()
        const at = queue.indexOf(entry)
        if (at !== -1) queue.splice(at, 1)
        reject(error)
      }
      const leave = () => drop(abortError(signal))
      const timer = setTimeout(() => drop(full(model, `no place became free within ${maxWaitMs} ms`)), maxWaitMs)
      signal.addEventListener('abort', leave, { once: true })
      const behind = queue.findIndex((other) => other.priority < priority)
      if (behind === -1) queue.push(entry)
      else queue.splice(behind, 0, entry)
    })
  }
  /** The place goes to who waits, or is free. */
  const leave = (): void => {
    const next = queue.shift()
    if (next === undefined) running -= 1
    else next.begin()
  }

  return <T extends Task>(model: Model<T>): Model<T> => ({
    ...model,
    async run(input, call) {
      const { progress } = call
      const before = progress?.sent ?? false
      // Who leaves the queue has been nowhere.
      if (progress !== undefined) progress.sent = false
      await enter(model as Model<Task>, call)
      if (progress !== undefined) progress.sent = before
      try {
        return await model.run(input, call)
      } finally {
        leave()
      }
    },
    stream(input, call) {
      const stream = streamOf(model, input, call)
      const begin = () => enter(model as Model<Task>, call)
      return {
        usageSoFar: () => stream.usageSoFar(),
        [Symbol.asyncIterator]: () => placedParts(stream, begin, leave),
      }
    },
  })
}

async function* placedParts<T extends Task>(
  stream: ModelStream<T>,
  enter: () => Promise<void>,
  leave: () => void,
): AsyncGenerator<Part<T>> {
  await enter()
  try {
    yield* stream
  } finally {
    leave()
  }
}
