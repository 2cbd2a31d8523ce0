import { z } from 'zod'
import { TollgateError } from '../errors.js'
import type { Call, Model } from '../inference/model.js'
import { streamOf } from '../inference/service-stream.js'
import type { Part, Task } from '../inference/task.js'
import { checkedOptions } from '../options.js'

export interface TimeoutsOptions {
  /** For one attempt, streams included, milliseconds. Default none. */
  readonly totalMs?: number
  /** To the first output of a stream, milliseconds. Default none. */
  readonly firstOutputMs?: number
  /** Between the parts of a stream, milliseconds; time in which nobody reads does not count. Default none. */
  readonly idleMs?: number
}

const limit = (what: string) => z.int().min(1).max(86_400_000).optional().describe(what)
export const timeoutsSettings = z
  .strictObject({
    totalMs: limit('Milliseconds from the beginning of an attempt to the end of its answer, streams included.'),
    firstOutputMs: limit('Milliseconds to the first output of a stream.'),
    idleMs: limit('Milliseconds between two parts of a stream; time in which the caller does not read does not count.'),
  })
  .refine((given) => Object.values(given).some((each) => each !== undefined), 'give totalMs, firstOutputMs or idleMs')

/**
 * Limits of one attempt: what is late is stopped, and fails as `upstream_timeout`, so that a retry or another model may follow. The deadline of the whole call is the service's.
 *
 * @throws TollgateError `config_invalid`; its models `upstream_timeout`
 * @example withTimeouts(openai.model('generate', 'gpt-4o'), { firstOutputMs: 10_000, idleMs: 30_000 })
 */
export function withTimeouts<T extends Task>(model: Model<T>, options: TimeoutsOptions): Model<T> {
  const { totalMs, firstOutputMs, idleMs } = checkedOptions('withTimeouts', timeoutsSettings, options)
  const late = (what: string, ms: number) =>
    new TollgateError('upstream_timeout', `The upstream ${model.provider} ${what} within ${ms} ms.`)

  return {
    ...model,
    async run(input, call) {
      if (totalMs === undefined) return model.run(input, call)
      const { progress = { sent: model.dispatches !== true } } = call
      const limited = limitedCall({ ...call, progress })
      let isLate = false
      const timer = setTimeout(() => {
        isLate = true
        limited.stop(late('did not answer', totalMs))
      }, totalMs)
      try {
        return await Promise.race([model.run(input, limited.call), limited.stopped])
      } catch (error) {
        // Where the upstream was at it, it charges for the prompt at least.
        const usage = isLate && progress.sent ? model.inputUsage?.(input) : undefined
        if (usage !== undefined) call.spent?.(usage)
        throw error
      } finally {
        clearTimeout(timer)
        limited.end()
      }
    },
    stream(input, call) {
      const limited = limitedCall(call)
      const stream = streamOf(model, input, limited.call)
      return { usageSoFar: () => stream.usageSoFar(), [Symbol.asyncIterator]: () => parts(stream, limited) }
    },
  }

  async function* parts(
    stream: AsyncIterable<Part<T>>,
    { stop, stopped, end }: ReturnType<typeof limitedCall>,
  ): AsyncGenerator<Part<T>> {
    const iterator = stream[Symbol.asyncIterator]()
    const whole =
      totalMs === undefined ? undefined : setTimeout(() => stop(late('did not end its answer', totalMs)), totalMs)
    let within = firstOutputMs
    let what = 'did not begin to answer'
    try {
      for (;;) {
        const ms = within
        const timer = ms === undefined ? undefined : setTimeout(() => stop(late(what, ms)), ms)
        const part = await Promise.race([iterator.next(), stopped]).finally(() => clearTimeout(timer))
        if (part.done === true) return
        yield part.value
        within = idleMs
        what = 'said nothing more'
      }
    } finally {
      clearTimeout(whole)
      end()
      // It may not heed the signal: nobody waits for that.
      iterator.return?.()?.then(undefined, () => {})
    }
  }
}

/** The call with a way to stop it, and what rejects then. */
function limitedCall(call: Call) {
  const controller = new AbortController()
  const { signal } = controller
  const leave = () => controller.abort(call.signal.reason)
  if (call.signal.aborted) leave()
  else call.signal.addEventListener('abort', leave, { once: true })
  let reject: (error: unknown) => void = () => {}
  const stopped = new Promise<never>((_resolve, rejects) => {
    reject = rejects
  })
  // It may never be raced.
  stopped.catch(() => {})
  return {
    call: { ...call, signal },
    stopped,
    stop(error: TollgateError) {
      reject(error)
      controller.abort(error)
    },
    end() {
      call.signal.removeEventListener('abort', leave)
    },
  }
}
