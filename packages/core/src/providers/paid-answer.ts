import type { Call } from '../inference/model.js'
import type { Usage } from '../usage.js'

/**
 * Reads a successful answer. If there is nothing in it that can be handed on (all of it was filtered, for one), the upstream has worked and
 * charges for it all the same: the usage is told before the error goes out.
 */
export function paid<Output>(call: Call, usage: Usage, read: () => Output): Output {
  try {
    return read()
  } catch (error) {
    call.spent?.(usage)
    throw error
  }
}

/**
 * For an answer that breaks off after the upstream had begun it: the input is paid for, whatever became of the rest. That the caller left
 * is the service's to tell.
 */
export function cutAnswer(call: Call, inputUsage: () => Usage): () => void {
  return () => {
    if (!call.signal.aborted) call.spent?.(inputUsage())
  }
}
