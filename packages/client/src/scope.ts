import { AbortError, TimeoutError } from './errors.js'

/** A stretch of work that can be ended from outside: by the caller's signal, by a timer, by the scope around it. */
export interface Scope {
  /** Aborts when the scope ends; its reason is the error to throw. */
  readonly signal: AbortSignal
  /** The result of `work`, or a rejection as soon as the scope ends, even if the work never does. */
  guard<T>(work: PromiseLike<T>): Promise<T>
  /** Ends the scope with an error after so many milliseconds; returns what calls that off. The timer holds no process. */
  after(ms: number, error: () => Error): () => void
  /** Waits, and keeps the process alive meanwhile, since somebody awaits the call. */
  sleep(ms: number): Promise<void>
  /** Ends the scope now, and with it the request that was given its signal. */
  end(): void
  /** Lets go of the signal around it and of every timer. Ends nothing. Again: nothing. */
  close(): void
}

/** setTimeout fires at once for anything longer. */
const maxTimerMs = 2 ** 31 - 1

/** Opens a scope inside a signal. `toError` says what its reason is to be thrown as. */
export function openScope(outer: AbortSignal | undefined, toError: (signal: AbortSignal) => unknown): Scope {
  const controller = new AbortController()
  const { signal } = controller
  const timers = new Set<ReturnType<typeof setTimeout>>()
  const onOuterAbort = () => {
    if (outer !== undefined) controller.abort(toError(outer))
  }
  if (outer?.aborted) onOuterAbort()
  else outer?.addEventListener('abort', onOuterAbort, { once: true })

  function guard<T>(work: PromiseLike<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(signal.reason)
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort, { once: true })
      // Whatever an aborted transport throws, the reason is why.
      work
        .then(resolve, (error: unknown) => reject(signal.aborted ? signal.reason : error))
        .then(() => signal.removeEventListener('abort', onAbort))
    })
  }

  return {
    signal,
    guard,
    after(ms, error) {
      const timer = setTimeout(() => controller.abort(error()), Math.min(ms, maxTimerMs))
      unref(timer)
      timers.add(timer)
      return () => {
        clearTimeout(timer)
        timers.delete(timer)
      }
    },
    async sleep(ms) {
      let timer: ReturnType<typeof setTimeout> | undefined
      try {
        await guard(
          new Promise<void>((resolve) => {
            timer = setTimeout(resolve, Math.min(ms, maxTimerMs))
          }),
        )
      } finally {
        clearTimeout(timer)
      }
    },
    end() {
      controller.abort(new AbortError('The attempt is over.'))
    },
    close() {
      outer?.removeEventListener('abort', onOuterAbort)
      for (const timer of timers) clearTimeout(timer)
      timers.clear()
    },
  }
}

/** What a caller's aborted signal is thrown as. `AbortSignal.timeout()` is a time limit, not a change of mind. */
export function abortedBy(signal: AbortSignal): AbortError | TimeoutError {
  const cause: unknown = signal.reason
  const isTimeout = typeof cause === 'object' && cause !== null && 'name' in cause && cause.name === 'TimeoutError'
  return isTimeout
    ? new TimeoutError('signal', 'The time limit of the given signal ran out.', undefined, { cause })
    : new AbortError('The call was aborted by its signal.', { cause })
}

/** Node only: a timer alone does not keep the process alive. Browsers number their timers. */
export function unref(timer: ReturnType<typeof setTimeout>): void {
  if (typeof timer === 'object') (timer as { unref?: () => unknown }).unref?.()
}
