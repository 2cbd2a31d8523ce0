import { hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { answerWithin } from '../stores/answer-within.js'
import { type Awaitable, isPromise } from '../stores/awaitable.js'
import type { BucketClaim, LimitStore } from '../stores/limit-store.js'

/** So many wrong passwords in so long; the allowance comes back steadily. */
export interface FailureLimit {
  readonly limit: number
  readonly windowMs: number
}

interface TokenThrottleOptions {
  readonly limits: LimitStore
  readonly perUser: FailureLimit
  readonly perAddress: FailureLimit
  readonly addressOf: (req: IncomingMessage) => string
}

/** One try at a password. */
export type Attempt =
  | { readonly allowed: false; readonly retryAfterMs: number }
  /** `forgive`: it was no failure, so it shall not count. */
  | { readonly allowed: true; forgive(): Promise<void> }

/** A login is slow anyway, by the cost of its hash; but a store that never answers must not keep it for ever. */
const storeTimeoutMs = 2_000

function within<Value>(answer: Awaitable<Value>): Awaitable<Value> {
  return isPromise(answer) ? answerWithin(answer, storeTimeoutMs) : answer
}

/**
 * Counts failures by user and by address. An attempt is charged before the password is looked at and forgiven when it was right, so that
 * a thousand guesses at once are not let through together.
 */
export function tokenThrottle(options: TokenThrottleOptions) {
  const { limits, perUser, perAddress, addressOf } = options
  return async (req: IncomingMessage, username: string): Promise<Attempt> => {
    const claims: BucketClaim[] = [
      { kind: 'bucket', rule: 'token-user', key: `token/user/${userKey(username)}`, cost: 1, ...perUser },
      { kind: 'bucket', rule: 'token-address', key: `token/address/${addressOf(req)}`, cost: 1, ...perAddress },
    ]
    const { allowed, states, reservation } = await within(limits.take(claims))
    if (!allowed) {
      const waits = states.filter((state) => !state.allowed).map((state) => state.retryAfterMs)
      return {
        allowed,
        retryAfterMs: Math.min(Math.max(1000, ...waits), Math.max(perUser.windowMs, perAddress.windowMs)),
      }
    }
    return {
      allowed,
      async forgive() {
        if (reservation !== undefined) await within(limits.release(reservation))
      },
    }
  }
}

/**
 * A directory may take `Ada`, `ada` and `ada ` for the same user: a guesser shall not have another allowance for each. Hashed, as a name may
 * be long, and is nobody's business who reads the store.
 */
function userKey(username: string): string {
  return hash('sha256', username.normalize('NFKC').trim().toLowerCase())
}
