import { z } from 'zod'
import { isTollgateError, TollgateError } from '../errors.js'
import { targetOf } from '../inference/call.js'
import type { Call, Model } from '../inference/model.js'
import { streamOf } from '../inference/service-stream.js'
import type { Part, Task } from '../inference/task.js'
import { checkedOptions, functionOption } from '../options.js'
import type { Target } from '../target.js'
import { failureOf } from './failure.js'

/** `closed`: calls pass; `open`: none do; `half-open`: one may, to see. */
export type BreakerState = 'closed' | 'open' | 'half-open'

export interface BreakerOptions {
  /** The part of the calls in the window that may fail. Default 0.5. */
  readonly failureRate?: number
  /** Calls in the window before its rate counts. Default 10. */
  readonly minimumCalls?: number
  /** Milliseconds. Default 30,000. */
  readonly windowMs?: number
  /** How long it stays open, milliseconds; doubled each time that the call which is let through fails. Default 5,000. */
  readonly openMs?: number
  /** Default 120,000. */
  readonly maxOpenMs?: number
  /** An upstream that throttles is left alone as long as its `Retry-After` says, this at most, milliseconds. 0: not at all. Default 10,000. */
  readonly maxCooldownMs?: number
  /** Told of each change. Must not throw. */
  readonly onChange?: (state: BreakerState, target: Target) => void
  /** Milliseconds, never going back. Default `performance.now`. */
  readonly now?: () => number
}

/** What of it can be written as data. */
export const breakerSettings = z.strictObject({
  failureRate: z
    .number()
    .positive()
    .max(1)
    .default(0.5)
    .describe(
      'Part of the calls in the window, 0 to 1. As many failures open the breaker: calls then fail at once, or go to another target.',
    ),
  minimumCalls: z.int().min(1).max(100_000).default(10).describe('Calls in the window below which nothing opens it.'),
  windowMs: z.int().min(100).max(3_600_000).default(30_000).describe('Milliseconds that are looked back upon.'),
  openMs: z
    .int()
    .min(1)
    .max(3_600_000)
    .default(5_000)
    .describe(
      'Milliseconds that it stays open. Then one call is let through, which closes it by its first output; where it fails, the time is doubled.',
    ),
  maxOpenMs: z.int().min(1).max(86_400_000).default(120_000).describe('Milliseconds that it stays open at most.'),
  maxCooldownMs: z
    .int()
    .min(0)
    .max(3_600_000)
    .default(10_000)
    .describe(
      'Milliseconds. An upstream that throttles is left alone for as long as its `Retry-After` says, this at most. 0: throttling does not open it.',
    ),
})
const schema = breakerSettings.extend({
  onChange: functionOption<NonNullable<BreakerOptions['onChange']>>().optional(),
  now: functionOption<() => number>().default(() => () => performance.now()),
})

/** The window is counted in so many parts, of which the oldest is forgotten as time goes on. */
const windowParts = 10

interface WindowPart {
  readonly number: number
  calls: number
  failures: number
}

/** A call that is let through. */
interface Pass {
  generation: number
}

/**
 * A circuit breaker: an upstream that fails too often is left alone for a while, then tried with one call: it closes with that one's answer, or with its first output. A refused key opens it at once; throttling with `Retry-After` for that long. What is the caller's
 * fault, or the caller's leaving, counts for nothing.
 *
 * @throws TollgateError `config_invalid`; while it is open `upstream_failed` (503), or `rate_limited` where the upstream throttles, with `Retry-After`
 * @example withBreaker(openai.model('generate', 'gpt-4o'))
 */
export function withBreaker<T extends Task>(model: Model<T>, options: BreakerOptions = {}): Model<T> {
  const checked = checkedOptions('withBreaker', schema, options)
  const { failureRate, minimumCalls, windowMs, openMs, maxOpenMs, maxCooldownMs, onChange, now } = checked
  const partMs = windowMs / windowParts
  let parts: WindowPart[] = []
  let state: BreakerState = 'closed'
  /** Grows with every change: what a call of before it has to say counts no more. */
  let generation = 0
  let opensFor = openMs
  let openUntil = 0
  let probedAt = 0
  let because: 'failures' | 'throttling' = 'failures'

  const change = (next: BreakerState) => {
    generation += 1
    if (state === next) return
    state = next
    onChange?.(next, targetOf(model))
  }
  const open = (forMs: number, reason: typeof because) => {
    openUntil = now() + forMs
    because = reason
    parts = []
    change('open')
  }
  const count = (isFailure: boolean): WindowPart[] => {
    const number = Math.floor(now() / partMs)
    parts = parts.filter((part) => part.number > number - windowParts)
    let part = parts.at(-1)
    if (part?.number !== number) {
      part = { number, calls: 0, failures: 0 }
      parts.push(part)
    }
    part.calls += 1
    if (isFailure) part.failures += 1
    return parts
  }

  const probe = (): Pass => {
    probedAt = now()
    change('half-open')
    return { generation }
  }
  const enter = (): Pass => {
    if (state === 'closed') return { generation }
    const leftMs = (state === 'open' ? openUntil : probedAt + opensFor) - now()
    // One that is let through and says nothing for so long does not keep the next one out.
    if (leftMs <= 0) return probe()
    const retryAfterMs = state === 'open' ? Math.ceil(leftMs) : 1_000
    const { provider } = targetOf(model)
    if (because === 'throttling') {
      throw new TollgateError(
        'rate_limited',
        `The upstream ${provider} limits the rate of requests; try again later.`,
        {
          retryAfterMs,
        },
      )
    }
    throw new TollgateError('upstream_failed', `The upstream ${provider} has failed too often and is left alone.`, {
      status: 503,
      retryAfterMs,
    })
  }
  const answers = (pass: Pass): void => {
    if (state !== 'half-open' || pass.generation !== generation) return
    opensFor = openMs
    change('closed')
    pass.generation = generation
  }
  const succeeded = (pass: Pass): void => {
    answers(pass)
    if (pass.generation === generation) count(false)
  }
  const failed = (pass: Pass, error: unknown, call: Call): void => {
    const kind = failureOf(error, call)
    const asked = kind === 'throttled' && isTollgateError(error) ? (error.retryAfterMs ?? 0) : 0
    const forMs = Math.min(asked, maxCooldownMs)
    if (pass.generation !== generation) {
      // Of several that are throttled, the one that asks for the longest is heard.
      if (state === 'open') openUntil = Math.max(openUntil, now() + forMs)
      return
    }
    if (kind === 'throttled') {
      if (forMs > 0) open(forMs, 'throttling')
      else if (state === 'half-open') change('closed')
      return
    }
    if (kind === 'credential') {
      open(opensFor, 'failures')
      return
    }
    // Our own queue that is full says nothing of the upstream.
    if (kind !== 'sick' || isTollgateError(error, 'overloaded')) {
      // Nothing was learnt: the next call is to see.
      if (state === 'half-open') {
        openUntil = now()
        change('open')
      }
      return
    }
    if (state === 'half-open') {
      opensFor = Math.min(maxOpenMs, opensFor * 2)
      open(opensFor, 'failures')
      return
    }
    const counted = count(true)
    const calls = counted.reduce((sum, part) => sum + part.calls, 0)
    const failures = counted.reduce((sum, part) => sum + part.failures, 0)
    if (calls >= minimumCalls && failures / calls >= failureRate) open(opensFor, 'failures')
  }

  return {
    ...model,
    async run(input, call) {
      const pass = enter()
      try {
        const result = await model.run(input, call)
        succeeded(pass)
        return result
      } catch (error) {
        failed(pass, error, call)
        throw error
      }
    },
    stream(input, call) {
      const stream = streamOf(model, input, call)
      return { usageSoFar: () => stream.usageSoFar(), [Symbol.asyncIterator]: () => watched(stream, call) }
    },
  }

  async function* watched(stream: AsyncIterable<Part<T>>, call: Call): AsyncGenerator<Part<T>> {
    const pass = enter()
    let isOver = false
    try {
      for await (const part of stream) {
        if (part.type === 'end') {
          isOver = true
          succeeded(pass)
        } else answers(pass)
        yield part
      }
    } catch (error) {
      isOver = true
      failed(pass, error, call)
      throw error
    } finally {
      // A reader who breaks off has learnt nothing of the upstream.
      if (!isOver) failed(pass, undefined, call)
    }
  }
}
