import { isTollgateError, TollgateError } from '../errors.js'
import type { Target } from '../target.js'
import type { Deadlines } from './deadlines.js'
import type { Call, Model } from './model.js'

/**
 * Why a signal was aborted: its reason if that is one of our errors, `timeout` for the reason of `AbortSignal.timeout`, else
 * `client_closed`.
 */
export function abortError(signal: AbortSignal): TollgateError {
  const reason: unknown = signal.reason
  if (isTollgateError(reason)) return reason
  if ((reason as { name?: unknown } | undefined)?.name === 'TimeoutError') return deadlinePassed(reason)
  return new TollgateError('client_closed', 'The caller left before the answer was complete.', { cause: reason })
}

/** A call under way, with one signal for both of its possible ends: the caller leaves, the deadline passes. */
export interface CallScope {
  /** The call to hand to the model. */
  readonly call: Call
  /** Takes the listeners away. From then on nothing aborts the call. */
  end(): void
}

/**
 * @param endsAt milliseconds since the epoch
 * @param onAbort called once when either end comes before `end()`; the scope's signal is aborted by then
 */
export function openScope(
  call: Call,
  endsAt: number | undefined,
  deadlines: Deadlines,
  onAbort: (error: TollgateError) => void,
): CallScope {
  const controller = new AbortController()
  const { signal } = controller
  const end = () => {
    call.signal.removeEventListener('abort', leave)
    forget?.()
  }
  const abort = (reason: unknown) => {
    end()
    controller.abort(reason)
    onAbort(abortError(signal))
  }
  const leave = () => abort(call.signal.reason)
  const forget = endsAt === undefined ? undefined : deadlines.add(endsAt, () => abort(deadlinePassed()))
  call.signal.addEventListener('abort', leave)
  return { call: { ...call, signal, ...(endsAt === undefined ? {} : { deadline: endsAt }) }, end }
}

function deadlinePassed(cause?: unknown): TollgateError {
  return new TollgateError('timeout', 'The deadline passed before the model had finished.', { cause })
}

/** A model as the target that is asked for and priced. */
export function targetOf({ provider, id, version }: Pick<Model, 'provider' | 'id' | 'version'>): Target {
  return version === undefined ? { provider, model: id } : { provider, model: id, version }
}
