import { hash } from 'node:crypto'
import { answerWithin } from '../stores/answer-within.js'
import { type Awaitable, isPromise } from '../stores/awaitable.js'
import type { BucketClaim, LimitStore } from '../stores/limit-store.js'
import type { FailureLimit } from './token-throttle.js'

interface ClientThrottleOptions {
  readonly limits: LimitStore
  readonly perClient: FailureLimit
  readonly perAddress: FailureLimit
}

/** Wrong secrets of clients, and wrong tokens. */
export interface ClientThrottle {
  /** How long this address has to wait before it may try again, milliseconds; 0 if it need not. */
  wait(address: string, clientId?: string): Promise<number>
  /** Counts a failure. */
  count(address: string, clientId?: string): Promise<void>
}

const storeTimeoutMs = 2_000

/**
 * Counts failures after they happened, so that clients that are right are never held up by one another. A client is counted by its address too: its id is public, and a
 * stranger who knows it shall not be able to lock it out. When the limit store fails nobody waits: a guess still needs 190 bits.
 */
export function clientThrottle({ limits, perClient, perAddress }: ClientThrottleOptions): ClientThrottle {
  const claimsOf = (address: string, clientId: string | undefined): BucketClaim[] => {
    const byAddress = {
      kind: 'bucket',
      rule: 'token-address',
      key: `token/address/${address}`,
      cost: 1,
      ...perAddress,
    } as const
    if (clientId === undefined) return [byAddress]
    const key = `token/client/${hash('sha256', clientId)}/${address}`
    return [{ kind: 'bucket', rule: 'token-client', key, cost: 1, ...perClient }, byAddress]
  }
  return {
    async wait(address, clientId) {
      try {
        const states = await within(limits.peek(claimsOf(address, clientId)))
        const waits = states.filter(({ allowed }) => !allowed).map(({ retryAfterMs }) => retryAfterMs)
        if (waits.length === 0) return 0
        return Math.min(Math.max(1000, ...waits), Math.max(perClient.windowMs, perAddress.windowMs))
      } catch {
        return 0
      }
    },
    async count(address, clientId) {
      try {
        // One by one: a bucket that is empty already must not keep the other from being charged.
        await Promise.all(claimsOf(address, clientId).map((claim) => within(limits.take([claim]))))
      } catch {
        // As above: the refusal itself stands.
      }
    },
  }
}

function within<Value>(answer: Awaitable<Value>): Awaitable<Value> {
  return isPromise(answer) ? answerWithin(answer, storeTimeoutMs) : answer
}
