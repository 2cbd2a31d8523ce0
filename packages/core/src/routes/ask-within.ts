import { isTollgateError } from '../errors.js'
import { identityUnavailable } from '../middleware/auth-challenge.js'
import { answerWithin } from '../stores/answer-within.js'
import type { Awaitable } from '../stores/awaitable.js'

/** Puts a question to a store. Rejects with `identity_unavailable` if it fails or takes too long. */
export type Ask = <Value>(question: () => Awaitable<Value>) => Promise<Value>

/** Questions that are answered within `timeoutMs`, or not at all: a store that is down is never a reason to say no. */
export function askWithin(timeoutMs: number): Ask {
  return async (question) => {
    try {
      return await answerWithin(Promise.resolve(question()), timeoutMs)
    } catch (cause) {
      throw isTollgateError(cause, 'identity_unavailable') ? cause : identityUnavailable(cause)
    }
  }
}
