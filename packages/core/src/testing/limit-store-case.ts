import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type {
  BucketClaim,
  Claim,
  ClaimState,
  LeaseClaim,
  LimitStore,
  Reservation,
  Verdict,
  WindowClaim,
} from '../stores/limit-store.js'

/** One thing that every {@link LimitStore} does. */
export interface LimitStoreCase {
  readonly name: string
  /** Rejects if the store does not. `make` may always give the same store: each case uses keys of its own. */
  run(make: () => LimitStore): Promise<void>
}

export const hourMs = 3_600_000
export const dayMs = 24 * hourMs

/** Passes for sure once `retryAfterMs` is over; timers may fire a little early. */
export const timerSlackMs = 5

/** The time of a case that has to do something before some time is over. */
interface Pace {
  readonly unitMs: number
  wait(ms: number): Promise<void>
}

/**
 * A machine that is held up for half of `unitMs` beside what a case waits for cannot tell what is done in time: there a case that fails is tried again with four times the time.
 */
export function limitCase(name: string, run: (store: LimitStore, pace: Pace) => Promise<void>): LimitStoreCase {
  return {
    name,
    async run(make) {
      for (let unitMs = 50; ; unitMs *= 4) {
        const begun = performance.now()
        let asked = 0
        const store = make()
        try {
          return await run(store, {
            unitMs,
            wait(ms) {
              asked += ms
              return wait(ms)
            },
          })
        } catch (error) {
          if (performance.now() - begun - asked < unitMs / 2 || unitMs >= 3_200) throw error
        } finally {
          await store.close()
        }
      }
    },
  }
}

export function bucket(claim: Partial<BucketClaim> & Pick<BucketClaim, 'limit' | 'windowMs'>): BucketClaim {
  return { kind: 'bucket', rule: 'requests', key: randomUUID(), cost: 1, ...claim }
}

export function window(claim: Partial<WindowClaim> & Pick<WindowClaim, 'limit'>): WindowClaim {
  const startsAt = Date.now()
  return { kind: 'window', rule: 'budget', key: randomUUID(), startsAt, endsAt: startsAt + dayMs, cost: 1, ...claim }
}

export function lease(claim: Partial<LeaseClaim> & Pick<LeaseClaim, 'limit'>): LeaseClaim {
  return { kind: 'lease', rule: 'concurrency', key: randomUUID(), leaseMs: hourMs, ...claim }
}

export async function taken(store: LimitStore, ...claims: readonly Claim[]): Promise<void> {
  for (const claim of claims) assert.equal((await store.take([claim])).allowed, true)
}

export async function refused(store: LimitStore, claim: Claim): Promise<void> {
  assert.equal((await store.take([claim])).allowed, false)
}

export async function remaining(store: LimitStore, claim: Claim): Promise<number | undefined> {
  return (await store.peek([claim]))[0]?.remaining
}

/** What is used, and of it held. */
export async function usage(store: LimitStore, claim: Claim): Promise<[number | undefined, number | undefined]> {
  const [state] = await store.peek([claim])
  return [state?.used, state?.held]
}

export function only({ states }: Verdict): ClaimState {
  const [state, ...others] = states
  assert.ok(state !== undefined && others.length === 0, 'one state per claim')
  return state
}

export function receipt({ reservation }: Verdict): Reservation {
  assert.ok(reservation !== undefined, 'what is allowed comes with a reservation')
  return reservation
}
