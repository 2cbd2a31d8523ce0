import { afterEach, describe, expect, it, vi } from 'vitest'
import { bucket, lease, standing, window } from '../../test/limit-claims.js'
import type { BucketClaim, Reservation } from './limit-store.js'
import type { memoryLimitStore } from './memory-limit-store.js'

afterEach(() => void vi.restoreAllMocks())

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
