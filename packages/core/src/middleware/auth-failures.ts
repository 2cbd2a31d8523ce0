import type { IncomingMessage } from 'node:http'
import { LRUCache } from 'lru-cache'
import { TollgateError } from '../errors.js'
import { answerWithin } from '../stores/answer-within.js'
import { isPromise } from '../stores/awaitable.js'
import type { LimitStore } from '../stores/limit-store.js'

interface FailureOptions {
  readonly store: LimitStore
  readonly limit: number
  readonly windowMs: number
  readonly addressOf: (req: IncomingMessage) => string
  readonly now: () => number
}

/** Counts wrong credentials by address. */
export interface AuthFailures {
  /** Throws `rate_limited` while the address has guessed too often. */
  check(req: IncomingMessage): void
  count(req: IncomingMessage): void
}

const storeTimeoutMs = 2_000

/**
 * Who guesses pays for it, and nobody else: a failure is counted after it happened, and an address that has had too many is kept out until its
 * allowance comes back. When the store fails, nobody is kept out: a guess still needs 190 bits.
 */
export function authFailures({ store, limit, windowMs, addressOf, now }: FailureOptions): AuthFailures {
  const keptOut = new LRUCache<string, number>({ max: 10_000 })
  const note = (
    address: string,
    states: ReadonlyArray<{ remaining: number; resetMs: number; retryAfterMs: number }>,
  ) => {
    const [state] = states
    if (state === undefined || state.remaining > 0) return
    keptOut.set(address, now() + Math.min(windowMs, Math.max(1_000, state.retryAfterMs, windowMs / limit)))
  }
  return {
    check(req) {
      if (keptOut.size === 0) return
      const address = addressOf(req)
      const until = keptOut.get(address)
      if (until === undefined) return
      const retryAfterMs = until - now()
      if (retryAfterMs > 0 && retryAfterMs <= windowMs) {
        throw new TollgateError('rate_limited', 'Too many wrong credentials from this address: wait, then try again.', {
          retryAfterMs,
        })
      }
      keptOut.delete(address)
    },
    count(req) {
      const address = addressOf(req)
      const claim = {
        kind: 'bucket',
        rule: 'auth-failures',
        key: `auth/failures/${address}`,
        limit,
        windowMs,
        cost: 1,
      } as const
      try {
        const verdict = store.take([claim])
        if (!isPromise(verdict)) return note(address, verdict.states)
        answerWithin(verdict, storeTimeoutMs).then(
          ({ states }) => note(address, states),
          () => {},
        )
      } catch {
        // As above: the refusal itself stands.
      }
    },
  }
}
