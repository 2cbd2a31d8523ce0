import { TollgateError } from '@tollgate/core/errors'
import { abortError } from '@tollgate/core/inference/call'

/** How long a caller waits. */
export interface CallLimit {
  readonly signal?: AbortSignal
  /** The latest end, in milliseconds since the epoch. */
  readonly deadline?: number
}

/** The longest delay `setTimeout` takes; over it, it would fire at once. */
const longestTimerMs = 2_147_483_647

/**
 * Calls `end` once, with the error to answer with, when the signal aborts or the deadline passes: at once if that has happened already.
 *
 * @returns stops the watch; to be called when the answer is there
 */
export function watchLimit({ signal, deadline }: CallLimit, end: (error: TollgateError) => void): () => void {
  let timer: NodeJS.Timeout | undefined
  const late = () => end(new TollgateError('timeout', 'The model did not answer before the deadline.'))
  const onAbort = () => end(abortError(signal as AbortSignal))
  const stop = () => {
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
  }
  if (signal?.aborted === true) {
    onAbort()
    return stop
  }
  if (deadline !== undefined) {
    const leftMs = deadline - Date.now()
    if (leftMs <= 0) {
      late()
      return stop
    }
    // A busy worker holds the process; this timer need not.
    timer = setTimeout(late, Math.min(leftMs, longestTimerMs)).unref()
  }
  signal?.addEventListener('abort', onAbort, { once: true })
  return stop
}
