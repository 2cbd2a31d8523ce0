import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { standing, window } from '../../test/limit-claims.js'
import type { Reservation } from './limit-store.js'

describe('memoryLimitStore against a window written out', () => {
  const limit = 100
  const step = fc.oneof(
    fc.record({ what: fc.constant('take' as const), cost: fc.integer({ min: 0, max: 60 }), held: fc.boolean() }),
    fc.record({
      what: fc.constantFrom('settle' as const, 'release' as const, 'renew' as const),
      which: fc.nat(50),
      used: fc.integer({ min: 0, max: 80 }),
    }),
    fc.record({ what: fc.constant('pass' as const), ms: fc.integer({ min: 0, max: 150 }) }),
  )

  it('agrees under any interleaving of reserve, settle, release, renewal and crash, and never holds more than the limit', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { store, time, pass } = standing()
        /** What each reservation asked for, and until when it is held. */
        const open: Array<{ reservation: Reservation; cost: number; endsAt: number | undefined; over: boolean }> = []
        let spent = 0
        /** Used beyond what was reserved, or settled after the hold had ended: all by which the limit may be passed. */
        let beyond = 0
        const heldNow = () =>
          open.reduce(
            (sum, { cost, endsAt, over }) => (over || endsAt === undefined || endsAt <= time.now ? sum : sum + cost),
            0,
          )
        for (const each of steps) {
          if (each.what === 'pass') pass(each.ms)
          else if (each.what === 'take') {
            const claim = window(0, { limit, endsAt: 4e12, cost: each.cost, ...(each.held ? { holdMs: 100 } : {}) })
            const fits = spent + heldNow() + each.cost <= limit
            const { allowed, reservation } = store.take([claim])
            expect(allowed).toBe(fits)
            if (reservation !== undefined) {
              if (!each.held) spent += each.cost
              const endsAt = each.held && each.cost > 0 ? time.now + 100 : undefined
              open.push({ reservation, cost: each.cost, endsAt, over: false })
            }
          } else {
            const found = open[each.which % Math.max(1, open.length)]
            if (found === undefined) continue
            const { reservation, cost, endsAt } = found
            if (each.what === 'renew') {
              const lasts = !found.over && (endsAt === undefined || endsAt > time.now)
              expect(store.renew(reservation)).toBe(lasts)
              if (lasts && endsAt !== undefined) found.endsAt = time.now + 100
              continue
            }
            const used = each.what === 'settle' ? each.used : 0
            if (each.what === 'settle') store.settle(reservation, [used])
            else store.release(reservation)
            if (found.over) continue
            found.over = true
            const isHeld = reservation.claims[0]?.kind === 'window' && 'holdMs' in reservation.claims[0]
            const late = endsAt !== undefined && endsAt <= time.now
            spent += isHeld ? used : used - cost
            beyond += late ? used : Math.max(0, used - cost)
          }
          const [state] = store.peek([window(0, { limit, endsAt: 4e12, cost: 0 })])
          expect([state?.used, state?.held]).toEqual([spent + heldNow(), heldNow()])
          expect(spent + heldNow()).toBeLessThanOrEqual(limit + beyond)
        }
      }),
      { numRuns: 300 },
    )
  })
})
