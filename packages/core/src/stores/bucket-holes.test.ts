import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cutEnd } from './bucket-holes.js'
import type { BucketClaim, Reservation } from './limit-store.js'
import { memoryLimitStore } from './memory-limit-store.js'

/** A bucket as a list of what is reserved, refilled from the front: slow and plain. */
function plainBucket(unitsPerMs: number) {
  const queue: Array<{ left: number }> = []
  return {
    level: () => queue.reduce((sum, { left }) => sum + left, 0),
    pour(units: number) {
      const part = { left: units }
      queue.push(part)
      return part
    },
    refund(part: { left: number }, units: number) {
      part.left -= Math.min(units, part.left)
    },
    pass(ms: number) {
      let served = ms * unitsPerMs
      for (const part of queue) {
        const own = Math.min(served, part.left)
        part.left -= own
        served -= own
      }
    },
  }
}

describe('the queue of a bucket', () => {
  it('gives back what a plain list of its parts gives back', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('take' as const), cost: fc.integer({ min: 1, max: 40 }) }),
      fc.record({ kind: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 500 }) }),
      fc.record({
        kind: fc.constant('settle' as const),
        which: fc.nat({ max: 5 }),
        used: fc.integer({ min: 0, max: 50 }),
      }),
      fc.record({ kind: fc.constant('release' as const), which: fc.nat({ max: 5 }) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let now = 0
        const store = memoryLimitStore({ now: () => now })
        const claim = (cost: number): BucketClaim => ({
          kind: 'bucket',
          rule: 'r',
          key: 'k',
          limit: 100,
          windowMs: 1_000,
          cost,
        })
        const plain = plainBucket(0.1)
        const open: Array<{ reservation: Reservation; part: { left: number }; cost: number }> = []
        for (const given of steps) {
          if (given.kind === 'pass') {
            now += given.ms
            plain.pass(given.ms)
          } else if (given.kind === 'take') {
            const { reservation } = store.take([claim(given.cost)])
            if (reservation !== undefined) open.push({ reservation, part: plain.pour(given.cost), cost: given.cost })
          } else {
            const [chosen] = open.splice(given.which, 1)
            if (chosen === undefined) continue
            const used = given.kind === 'release' ? 0 : given.used
            if (given.kind === 'release') store.release(chosen.reservation)
            else store.settle(chosen.reservation, [used])
            if (used > chosen.cost) plain.pour(used - chosen.cost)
            else plain.refund(chosen.part, chosen.cost - used)
          }
          expect(store.peek([claim(0)])[0]?.used).toBeCloseTo(plain.level(), 6)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('ends where the last refund has bared it', () => {
    const holes = [
      { position: 10, units: 4 },
      { position: 30, units: 5 },
      { position: 40, units: 10 },
    ]
    expect(cutEnd(holes, 40)).toBe(25)
    expect(holes).toEqual([{ position: 10, units: 4 }])
    expect(cutEnd(undefined, 7)).toBe(7)
  })
})
