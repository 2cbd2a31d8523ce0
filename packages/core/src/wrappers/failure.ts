import { isTollgateError, type TollgateError } from '../errors.js'
import { targetOf } from '../inference/call.js'
import type { Call, Model } from '../inference/model.js'
import type { Task } from '../inference/task.js'

/**
 * Why an attempt failed, which decides what may be done about it.
 *
 * - `sick`: the upstream failed, was late, or answered nonsense
 * - `throttled`: the upstream limits us
 * - `credential`: the upstream does not take our key
 * - `context`: the prompt is too long for this model
 * - `content`: the upstream's rules refuse the prompt
 * - `guard`: a guard refuses what was said, or failed
 * - `refused`: a policy of ours refuses this model (price, budget, list, bulkhead)
 * - `final`: anything else; it would fail again, anywhere
 */
export type FailureKind = 'sick' | 'throttled' | 'credential' | 'context' | 'content' | 'guard' | 'refused' | 'final'

const refusals = new WeakSet<object>()

const kinds: Readonly<Partial<Record<TollgateError['code'], FailureKind>>> = {
  upstream_failed: 'sick',
  upstream_invalid: 'sick',
  upstream_timeout: 'sick',
  overloaded: 'sick',
  rate_limited: 'throttled',
  upstream_credentials: 'credential',
  context_length_exceeded: 'context',
  content_policy_violation: 'content',
  guard_refused: 'guard',
  guard_failed: 'guard',
}

/** The same error, known as a refusal of ours. */
export function refusal<E>(error: E): E {
  if (typeof error === 'object' && error !== null) refusals.add(error)
  return error
}

/** What kind of failure this is. */
export function failureOf(error: unknown, { signal }: Pick<Call, 'signal'>): FailureKind {
  if (signal.aborted || !isTollgateError(error)) return 'final'
  if (refusals.has(error)) return 'refused'
  return kinds[error.code] ?? 'final'
}

/**
 * Before a model is run by a wrapper: asks everyone who has a say, and counts the attempt. A model that stands for others does that itself.
 *
 * @throws what those throw who were asked, which is `refused`
 */
export async function admit<T extends Task>(model: Model<T>, call: Call): Promise<void> {
  if (model.dispatches === true) return
  const target = targetOf(model)
  if (call.attempts !== undefined) {
    call.attempts.left -= 1
    call.attempts.last = target
  }
  try {
    await call.dispatching?.(target)
    if (call.progress !== undefined) call.progress.sent = true
  } catch (error) {
    throw refusal(error)
  }
}

/** Tells that an attempt has failed and another follows: of a model that stands for others, the one that it turned to last. */
export function attemptFailed<T extends Task>(model: Model<T>, call: Call, error: unknown): void {
  if (call.progress !== undefined) call.progress.sent = false
  call.failed?.(call.attempts?.last ?? targetOf(model), error)
}

/** The call with a bound on its attempts, if it has none yet. */
export function withAttempts(call: Call, most: number): Call & { readonly attempts: NonNullable<Call['attempts']> } {
  return call.attempts === undefined ? { ...call, attempts: { left: most } } : { ...call, attempts: call.attempts }
}
