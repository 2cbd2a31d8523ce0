import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { limitStoreCases } from '../testing/limit-store.js'
import type { BucketClaim, LeaseClaim, Reservation, WindowClaim } from './limit-store.js'
import { memoryLimitStore } from './memory-limit-store.js'
import { rememberedReservations, settledNumbers } from './settled-numbers.js'

const bucket = (claim: Partial<BucketClaim> = {}): BucketClaim => ({
  kind: 'bucket',
  rule: 'requests',
  key: 'k',
  limit: 10,
  windowMs: 60_000,
  cost: 1,
  ...claim,
})

const window = (startsAt: number, claim: Partial<WindowClaim> = {}): WindowClaim => ({
  kind: 'window',
  rule: 'budget',
  key: 'w',
  limit: 10,
  startsAt,
  endsAt: startsAt + 1000,
  cost: 1,
  ...claim,
})

const lease = (claim: Partial<LeaseClaim> = {}): LeaseClaim => ({
  kind: 'lease',
  rule: 'concurrency',
  key: 'l',
  limit: 2,
  leaseMs: 1000,
  ...claim,
})

/** A store on clocks that stand still until told. */
function standing(maxKeys?: number) {
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

afterEach(() => void vi.restoreAllMocks())

describe('memoryLimitStore conforms', () => {
  for (const { name, run } of limitStoreCases) it(name, () => run(() => memoryLimitStore()))
})

describe('memoryLimitStore', () => {
  it('refuses options that are wrong or unknown', () => {
    expect(() => memoryLimitStore({ maxKeys: 0 })).toThrow(/maxKeys/)
    expect(() => memoryLimitStore({ maxKey: 5 } as never)).toThrow(/maxKey/)
    expect(() => memoryLimitStore({ now: 5 } as never)).toThrow(/now/)
  })

  it.each([
    ['no key', bucket({ key: '' })],
    ['a limit that is no number', bucket({ limit: '10' as never })],
    ['a negative limit', bucket({ limit: -1 })],
    ['a window of 0', bucket({ windowMs: 0 })],
    ['a burst that is not finite', bucket({ burst: Number.POSITIVE_INFINITY })],
    ['a window that ends before it starts', window(1000, { endsAt: 999 })],
    ['a lease without length', lease({ leaseMs: Number.NaN })],
    ['an unknown kind', { ...bucket(), kind: 'pail' as never }],
  ])('refuses a claim with %s and names the rule', (_what, claim) => {
    const { store } = standing()
    expect(() => store.take([claim])).toThrow(expect.objectContaining({ code: 'config_invalid' }))
    expect(() => store.peek([claim])).toThrow(claim.rule)
    expect(store.size).toBe(0)
  })

  it('tells exact times', () => {
    const { store, pass } = standing()
    for (let count = 0; count < 10; count += 1) store.take([bucket()])
    expect(store.take([bucket()]).states[0]).toMatchObject({ remaining: 0, resetMs: 60_000, retryAfterMs: 6000 })
    pass(5999)
    expect(store.take([bucket()]).states[0]).toMatchObject({ allowed: false, retryAfterMs: 1 })
    pass(1)
    expect(store.take([bucket()]).states[0]).toMatchObject({ allowed: true, remaining: 0, resetMs: 60_000 })
    pass(30_000)
    expect(store.take([bucket({ cost: 7 })]).states[0]).toMatchObject({
      allowed: false,
      remaining: 5,
      retryAfterMs: 12_000,
    })
  })

  it('passes when retryAfterMs is over, whatever the numbers', () => {
    const amount = fc.double({ min: 0.001, max: 1e9, noNaN: true })
    fc.assert(
      fc.property(
        amount,
        fc.double({ min: 1, max: 3e10, noNaN: true }),
        amount,
        fc.double({ min: 0, max: 1, noNaN: true }),
        (limit, windowMs, burst, part) => {
          const { store, pass } = standing()
          const claim = bucket({ limit, windowMs, burst, cost: burst * part })
          store.take([{ ...claim, cost: burst }])
          const { retryAfterMs } = store.peek([claim])[0] ?? { retryAfterMs: Number.NaN }
          pass(retryAfterMs)
          expect(store.take([claim]).allowed).toBe(true)
        },
      ),
    )
  })

  it('stands still for a clock that steps back, and frees nobody', () => {
    const { store, time } = standing()
    for (let count = 0; count < 10; count += 1) store.take([bucket()])
    time.now -= 3_600_000
    expect(store.take([bucket()]).states[0]).toMatchObject({ allowed: false, retryAfterMs: 6000 })
    time.now += 6000
    expect(store.take([bucket()]).allowed).toBe(true)
  })

  it('is not moved by the setting of the system clock', () => {
    const date = vi.spyOn(Date, 'now').mockReturnValue(5_000_000)
    const store = memoryLimitStore({ now: () => 0 })
    store.take([bucket({ cost: 10 }), lease({ limit: 1 })])
    for (const wall of [5_000_000 + 3_600_000, 1]) {
      date.mockReturnValue(wall)
      expect(store.take([bucket()]).allowed).toBe(false)
      expect(store.take([lease({ limit: 1 })]).allowed).toBe(false)
    }
  })

  it('charges a window older than both it knows like the current one', () => {
    const { store } = standing()
    for (const startsAt of [1000, 2000, 3000]) store.take([window(startsAt, { cost: 10 })])
    expect(store.take([window(1000)]).allowed).toBe(false)
    expect(store.take([window(2000)]).allowed).toBe(false)
  })

  it('charges to the window that runs what was used beyond a reservation of the last', () => {
    const { store } = standing()
    const { reservation } = store.take([window(1000, { cost: 2 })])
    store.take([window(2000)])
    store.settle(reservation as Reservation, [6])
    expect(store.peek([window(2000)])[0]?.remaining).toBe(5)
    expect(store.peek([window(1000)])[0]?.remaining).toBe(8)
  })

  it('gives nothing back to a bucket that was forgotten and has begun anew', () => {
    const { store } = standing(1)
    const { reservation } = store.take([bucket({ cost: 8 })])
    store.take([bucket({ key: 'other', limit: 1, windowMs: 1e9 })])
    store.take([bucket({ cost: 10 })])
    store.release(reservation as Reservation)
    expect(store.peek([bucket()])[0]?.remaining).toBe(0)
  })

  it('takes all claims of a request although they do not fit at once', () => {
    const { store } = standing(1)
    const claims = [bucket({ key: 'a' }), window(1000, { key: 'b' }), lease({ key: 'c' }), bucket({ key: 'd' })]
    const { allowed, reservation } = store.take(claims)
    expect(allowed).toBe(true)
    expect(store.size).toBe(1)
    store.release(reservation as Reservation)
  })

  it('refuses a settle that does not fit the claims, and still accepts the right one', () => {
    const { store } = standing()
    const { reservation } = store.take([bucket({ cost: 4 })])
    expect(() => store.settle(reservation as Reservation, [])).toThrow(/actual/)
    store.settle(reservation as Reservation, [1])
    expect(store.peek([bucket()])[0]?.remaining).toBe(9)
  })

  it('holds leases of different lengths until each one ends', () => {
    const { store, pass } = standing()
    store.take([lease({ leaseMs: 5000 })])
    store.take([lease({ leaseMs: 1000 })])
    expect(store.take([lease()]).states[0]).toMatchObject({ allowed: false, retryAfterMs: 1000, resetMs: 5000 })
    pass(1000)
    expect(store.take([lease()]).allowed).toBe(true)
    expect(store.take([lease()]).allowed).toBe(false)
  })

  it('stays above 85 % of the nominal throughput though reservations are four times too large', () => {
    const { store, pass } = standing()
    const claim = bucket({ limit: 50, windowMs: 1000, burst: 10, cost: 8 })
    let done = 0
    const open: { reservation: Reservation; ends: number }[] = []
    for (let ms = 0; ms < 30_000; ms += 1) {
      while (open[0] !== undefined && open[0].ends <= ms) {
        store.settle((open.shift() as (typeof open)[0]).reservation, [2])
        done += 2
      }
      const { reservation } = store.take([claim])
      if (reservation !== undefined) open.push({ reservation, ends: ms + 20 })
      pass(1)
    }
    expect(done).toBeGreaterThan(0.85 * 50 * 30)
  })
})

describe('memoryLimitStore, full', () => {
  const flood = (store: ReturnType<typeof memoryLimitStore>, count: number, claim: Partial<BucketClaim> = {}) => {
    for (let index = 0; index < count; index += 1) store.take([bucket({ key: `flood ${index}`, ...claim })])
  }

  it('keeps at most maxKeys, and a throttled key stays throttled under a million others', () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const { store, pass } = standing(10_000)
    store.take([bucket({ key: 'victim', cost: 10 })])
    store.take([window(1_000_000, { key: 'budget', cost: 10, endsAt: 1_060_000 })])
    for (let index = 0; index < 1_000_000; index += 1) {
      store.take([bucket({ key: `flood ${index}` })])
      if (index % 100 === 0) pass(0.5)
      if (store.size > 10_000) throw new Error(`${store.size} keys`)
    }
    expect(store.take([bucket({ key: 'victim', cost: 9 })]).allowed).toBe(false)
    expect(store.take([window(1_000_000, { key: 'budget', endsAt: 1_060_000 })]).allowed).toBe(false)
    expect(warn).toHaveBeenCalledOnce()
  })

  it('forgets only whole keys as long as there are any', () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const { store, pass } = standing(1000)
    flood(store, 500)
    pass(6000)
    for (let index = 0; index < 500; index += 1) store.take([bucket({ key: `busy ${index}`, cost: 10 })])
    for (let index = 0; index < 500; index += 1) store.take([bucket({ key: `next ${index}`, cost: 10 })])
    expect(warn).not.toHaveBeenCalled()
    for (let index = 0; index < 500; index += 1) {
      expect(store.peek([bucket({ key: `busy ${index}` })])[0]?.allowed).toBe(false)
    }
  })

  it('forgets the one that would be whole soonest if none is, though it was used again since', () => {
    vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const { store } = standing(3)
    store.take([bucket({ key: 'a' })])
    store.take([bucket({ key: 'b', cost: 2 })])
    store.take([bucket({ key: 'c', cost: 3 })])
    store.take([bucket({ key: 'a', cost: 9 })])
    store.take([bucket({ key: 'd', cost: 5 })])
    const left = (key: string) => store.peek([bucket({ key })])[0]?.remaining
    expect([left('a'), left('b'), left('c'), left('d')]).toEqual([0, 10, 7, 5])
  })

  it('forgets what a release has made whole before anything else', () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const { store } = standing(100)
    const receipts: Reservation[] = []
    for (let index = 0; index < 50; index += 1) {
      const claims = [lease({ key: `lease ${index}`, leaseMs: 1e9 }), bucket({ key: `tokens ${index}`, windowMs: 1e9 })]
      receipts.push(store.take(claims).reservation as Reservation)
    }
    for (const reservation of receipts) store.release(reservation)
    flood(store, 100, { cost: 10 })
    expect(warn).not.toHaveBeenCalled()
    expect(store.peek([bucket({ key: 'flood 0' })])[0]?.allowed).toBe(false)
  })

  it('keeps a window that a clock set back still names', () => {
    vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const { store, time } = standing(2)
    store.take([window(1_000_000, { cost: 10 })])
    time.now += 2000
    time.wall -= 36_000
    store.take([bucket({ key: 'a' })])
    store.take([bucket({ key: 'b' })])
    expect(store.take([window(1_000_000)]).allowed).toBe(false)
  })

  it('frees what is whole without being asked for it', () => {
    const { store, pass } = standing()
    flood(store, 5000)
    expect(store.size).toBe(5000)
    pass(60_000)
    for (let count = 0; count < 5000; count += 1) store.take([bucket({ key: 'one', limit: 1e6 })])
    expect(store.size).toBeLessThan(10)
  })

  it('is empty and usable after close', () => {
    const { store } = standing()
    flood(store, 2000)
    store.close()
    expect(store.size).toBe(0)
    expect(store.take([bucket({ key: 'flood 1', cost: 10 })]).allowed).toBe(true)
  })
})

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

describe('settledNumbers', () => {
  it('says yes once per number, in any order', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 200_000 })), (numbers) => {
        const settled = settledNumbers()
        const seen = new Set<number>()
        for (const number of numbers) {
          expect(settled.settle(number, 200_000)).toBe(!seen.has(number))
          seen.add(number)
        }
      }),
    )
  })

  it('never says yes twice, also when the ring has come round', () => {
    const settled = settledNumbers()
    let newest = 5
    expect(settled.settle(5, newest)).toBe(true)
    newest = rememberedReservations + 4
    expect(settled.settle(5, newest)).toBe(false)
    expect(settled.settle(6, newest)).toBe(true)
    newest += 40_000
    expect(settled.settle(newest, newest)).toBe(true)
    expect(settled.settle(7, newest)).toBe(false)
    expect(settled.settle(newest, newest + rememberedReservations)).toBe(false)
  })
})

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
