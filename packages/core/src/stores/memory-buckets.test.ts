import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bucket, standing } from '../../test/limit-claims.js'
import type { Reservation } from './limit-store.js'

describe('memoryLimitStore against a queue written out', () => {
  /** The bucket as what it means: units in a queue that refill serves in order; a refund takes out what is still there. */
  function model(limit: number, windowMs: number, burst: number) {
    const queue: { id: number; left: number }[] = []
    const level = () => queue.reduce((sum, { left }) => sum + left, 0)
    return {
      level,
      pass(ms: number) {
        let served = (ms * limit) / windowMs
        while (served > 0 && queue[0] !== undefined) {
          const part = Math.min(served, queue[0].left)
          queue[0].left -= part
          served -= part
          if (queue[0].left <= 1e-9) queue.shift()
        }
      },
      take(id: number, cost: number) {
        if (cost > burst + 1e-6 || level() + cost > burst + 1e-6) return false
        if (cost > 0) queue.push({ id, left: cost })
        return true
      },
      settle(id: number, cost: number, actual: number) {
        if (actual > cost) queue.push({ id: -1, left: actual - cost })
        const entry = queue.find((each) => each.id === id)
        const back = entry === undefined ? 0 : Math.min(entry.left, Math.max(0, cost - actual))
        if (entry !== undefined) entry.left -= back
        return actual > cost ? actual - cost : -back
      },
    }
  }

  // Quarters and eighths are exact in binary: the store and the model must agree to the unit.
  const command = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        type: fc.constant('take' as const),
        cost: fc.oneof(fc.integer({ min: 0, max: 16 }), fc.integer({ min: 0, max: 48 })).map((n) => n / 4),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        type: fc.constant('settle' as const),
        which: fc.nat(),
        actual: fc.oneof(fc.integer({ min: 0, max: 8 }), fc.integer({ min: 0, max: 60 })).map((n) => n / 4),
      }),
    },
    { weight: 2, arbitrary: fc.record({ type: fc.constant('release' as const), which: fc.nat() }) },
    {
      weight: 3,
      arbitrary: fc.record({
        type: fc.constant('pass' as const),
        ms: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 96 })).map((n) => n * 125),
      }),
    },
  )

  it('agrees under any interleaving, and never lets more through than burst + refill', () => {
    fc.assert(
      fc.property(fc.array(command, { minLength: 1, maxLength: 200 }), (commands) => {
        const { store, pass } = standing()
        const claim = bucket({ limit: 1, windowMs: 1000, burst: 10 })
        const exact = model(1, 1000, 10)
        const open: { id: number; cost: number; reservation: Reservation; event: { at: number; units: number } }[] = []
        /** What was really charged, at the time it was taken: refunds make it smaller, debts are apart. */
        const events: { at: number; units: number }[] = []
        let now = 0
        let debt = 0
        commands.forEach((step, id) => {
          if (step.type === 'pass') {
            pass(step.ms)
            exact.pass(step.ms)
            now += step.ms
          } else if (step.type === 'take') {
            const verdict = store.take([{ ...claim, cost: step.cost }])
            expect(verdict.allowed).toBe(exact.take(id, step.cost))
            if (verdict.reservation !== undefined) {
              const event = { at: now, units: step.cost }
              events.push(event)
              open.push({ id, cost: step.cost, reservation: verdict.reservation, event })
            }
          } else if (open.length > 0) {
            const [entry] = open.splice(step.which % open.length, 1) as [(typeof open)[0]]
            const actual = step.type === 'settle' ? step.actual : 0
            if (step.type === 'settle') store.settle(entry.reservation, [actual])
            else store.release(entry.reservation)
            const change = exact.settle(entry.id, entry.cost, actual)
            if (change < 0) entry.event.units += change
            else debt += change
            store.release(entry.reservation)
          }
          expect(store.peek([claim])[0]?.remaining).toBe(Math.max(0, Math.floor(10 - exact.level() + 1e-6)))
        })
        for (const [first, from] of events.entries()) {
          let units = 0
          for (const to of events.slice(first)) {
            units += to.units
            expect(units).toBeLessThanOrEqual(10 + (to.at - from.at) / 1000 + 1e-6)
          }
        }
        expect(debt).toBeGreaterThanOrEqual(0)
      }),
      { numRuns: 500 },
    )
  })

  it('gives back too little rather than too much when more than 64 reservations were settled in one queue', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ which: fc.nat(), actual: fc.nat({ max: 4 }), ms: fc.nat({ max: 3000 }) }), {
          minLength: 200,
          maxLength: 200,
        }),
        (settles) => {
          const { store, pass } = standing()
          const claim = bucket({ limit: 1, windowMs: 1000, burst: 1000, cost: 4 })
          const exact = model(1, 1000, 1000)
          const open: { id: number; reservation: Reservation }[] = []
          for (let id = 0; id < 200; id += 1) {
            open.push({ id, reservation: store.take([claim]).reservation as Reservation })
            exact.take(id, 4)
          }
          for (const { which, actual, ms } of settles) {
            const [entry] = open.splice(which % open.length, 1) as [(typeof open)[0]]
            store.settle(entry.reservation, [actual])
            exact.settle(entry.id, 4, actual)
            pass(ms)
            exact.pass(ms)
            expect(store.peek([claim])[0]?.remaining).toBeLessThanOrEqual(Math.floor(1000 - exact.level() + 1e-6))
          }
        },
      ),
      { numRuns: 50 },
    )
  })
})
