import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { isTollgateError, TollgateError } from '../errors.js'
import { abortError } from '../inference/call.js'
import type { Call, Model } from '../inference/model.js'
import type { Task } from '../inference/task.js'
import { checkedOptions, functionOption } from '../options.js'
import { attemptedStream } from './begun-stream.js'
import { admit, attemptFailed, failureOf, withAttempts } from './failure.js'

export interface RetryOptions {
  /** Attempts at most, the first included. Default 3. */
  readonly maxAttempts?: number
  /** The wait before attempt n is drawn from 0 to `baseMs` × 2^(n−2), `maxMs` at most (full jitter). Default 250. */
  readonly baseMs?: number
  /** Default 8,000. */
  readonly maxMs?: number
  /** An upstream's `Retry-After` is waited for if it is no longer than this, milliseconds; else its error is passed on. Default 10,000. */
  readonly maxRetryAfterMs?: number
  /** Retries for each attempt that is no retry, on average: so that a sick upstream is not asked many times as much. Default 0.2. */
  readonly budgetRatio?: number
  /** Retries that may be saved up. Default 20. */
  readonly budgetBurst?: number
  /** 0 to 1. Default `Math.random`. */
  readonly random?: () => number
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

/** What of it can be written as data. */
export const retrySettings = z.strictObject({
  maxAttempts: z
    .int()
    .min(1)
    .max(10)
    .default(3)
    .describe('Attempts of a call at one model, the first included. 1: none is tried again.'),
  baseMs: z
    .number()
    .min(0)
    .max(60_000)
    .default(250)
    .describe(
      'Milliseconds. The wait before attempt n is drawn from 0 to baseMs × 2^(n−2), so that callers who failed together do not come back together.',
    ),
  maxMs: z.number().min(0).max(60_000).default(8_000).describe('Milliseconds that such a wait has at most.'),
  maxRetryAfterMs: z
    .number()
    .min(0)
    .max(600_000)
    .default(10_000)
    .describe(
      "Milliseconds. An upstream's `Retry-After` is waited for if it is no longer than this; else its error is passed on, or another target follows.",
    ),
  budgetRatio: z
    .number()
    .min(0)
    .max(10)
    .default(0.2)
    .describe('Retries for each first attempt, on average: a sick upstream is not asked many times as much.'),
  budgetBurst: z.number().min(0).max(10_000).default(20).describe('Retries that may be saved up while all is well.'),
})
const schema = retrySettings.extend({
  random: functionOption<() => number>().default(() => Math.random),
  now: functionOption<() => number>().default(() => Date.now),
})

/**
 * Tries a model again when its upstream is sick or throttles: with full jitter, within the attempts and the deadline of the whole call, and within a budget of retries for the model. `Retry-After`
 * is honoured. A stream is tried again only before its first output. Every attempt is dispatched and paid for.
 *
 * @throws TollgateError `config_invalid`; its models what the last attempt threw, with `x-should-retry: false` where it was tried again already, so that clients do not multiply the attempts
 * @example withRetry(openai.model('generate', 'gpt-4o'), { maxAttempts: 3 })
 */
export function withRetry<T extends Task>(model: Model<T>, options: RetryOptions = {}): Model<T> {
  const checked = checkedOptions('withRetry', schema, options)
  const { maxAttempts, baseMs, maxMs, maxRetryAfterMs, budgetRatio, budgetBurst, random, now } = checked
  let saved = budgetBurst

  /** How long to wait before the next attempt; `undefined` if there shall be none. */
  const waitFor = (
    error: unknown,
    attempt: number,
    call: Call & { attempts: { left: number } },
  ): number | undefined => {
    const kind = failureOf(error, call)
    if ((kind !== 'sick' && kind !== 'throttled') || attempt >= maxAttempts || call.attempts.left <= 0) return undefined
    const asked = isTollgateError(error) ? error.retryAfterMs : undefined
    if (asked !== undefined && asked > maxRetryAfterMs) return undefined
    const waitMs = (asked ?? 0) + random() * Math.min(maxMs, baseMs * 2 ** (attempt - 1))
    if (call.deadline !== undefined && now() + waitMs >= call.deadline) return undefined
    if (saved < 1) return undefined
    saved -= 1
    return waitMs
  }

  const tried = async <Value>(given: Call, once: (call: Call) => Promise<Value>, settle: (call: Call) => void) => {
    const call = withAttempts(given, maxAttempts)
    saved = Math.min(budgetBurst, saved + budgetRatio)
    for (let attempt = 1; ; attempt += 1) {
      try {
        await admit(model, call)
        return await once(call)
      } catch (error) {
        const waitMs = waitFor(error, attempt, call)
        if (waitMs === undefined) throw attempt === 1 ? error : exhausted(error, call)
        settle(call)
        attemptFailed(model, call, error)
        await pause(waitMs, call.signal)
      }
    }
  }

  return {
    ...model,
    dispatches: true,
    run: (input, call) =>
      tried(
        call,
        (attempt) => model.run(input, attempt),
        () => {},
      ),
    stream: (input, call) =>
      attemptedStream(({ begin, settle }) => tried(call, (attempt) => begin(model, input, attempt), settle)),
  }
}

async function pause(waitMs: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(waitMs, undefined, { signal })
  } catch {
    throw abortError(signal)
  }
}

/** The last error, for clients that would try again by themselves. What tells them when to come back stays as it is. */
function exhausted(error: unknown, call: Call): unknown {
  if (!isTollgateError(error) || failureOf(error, call) !== 'sick') return error
  const { code, message, status, headers, retryAfterMs, cause, details } = error
  if (retryAfterMs !== undefined) return error
  return new TollgateError(code, message, {
    status,
    headers: { ...headers, 'x-should-retry': 'false' },
    cause,
    ...(details === undefined ? undefined : { details }),
  })
}
