import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { bucket, lease, standing, window } from '../../test/limit-claims.js'
import { limitStoreCases } from '../testing/limit-store.js'
import type { Reservation } from './limit-store.js'
import { memoryLimitStore } from './memory-limit-store.js'

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
