import type { BucketClaim, LeaseClaim, WindowClaim } from '../src/stores/limit-store.js'
import { memoryLimitStore } from '../src/stores/memory-limit-store.js'

export const bucket = (claim: Partial<BucketClaim> = {}): BucketClaim => ({
  kind: 'bucket',
  rule: 'requests',
  key: 'k',
  limit: 10,
  windowMs: 60_000,
  cost: 1,
  ...claim,
})

export const window = (startsAt: number, claim: Partial<WindowClaim> = {}): WindowClaim => ({
  kind: 'window',
  rule: 'budget',
  key: 'w',
  limit: 10,
  startsAt,
  endsAt: startsAt + 1000,
  cost: 1,
  ...claim,
})

export const lease = (claim: Partial<LeaseClaim> = {}): LeaseClaim => ({
  kind: 'lease',
  rule: 'concurrency',
  key: 'l',
  limit: 2,
  leaseMs: 1000,
  ...claim,
})

/** A store on clocks that stand still until told. */
export function standing(maxKeys?: number) {
  const time = { now: 1000, wall: 1_000_000 }
  const store = memoryLimitStore({
    now: () => time.now,
    wallNow: () => time.wall,
    ...(maxKeys === undefined ? {} : { maxKeys }),
  })
  const pass = (ms: number) => {
    time.now += ms
    time.wall += ms
  }
  return { store, time, pass }
}
