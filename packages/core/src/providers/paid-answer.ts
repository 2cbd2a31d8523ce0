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
