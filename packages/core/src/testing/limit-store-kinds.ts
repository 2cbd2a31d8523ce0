import assert from 'node:assert/strict'
import { setTimeout as wait } from 'node:timers/promises'
import type { Reservation } from '../stores/limit-store.js'
import {
  bucket,
  dayMs,
  hourMs,
  type LimitStoreCase,
  lease,
  limitCase,
  only,
  receipt,
  refused,
  remaining,
  taken,
  timerSlackMs,
  usage,
  window,
} from './limit-store-case.js'

/** Each kind of claim by itself: buckets, windows, leases. */
export const kindCases: readonly LimitStoreCase[] = [
  limitCase('bucket: lets the burst through, then refuses and says for how long', async (store) => {
    const claim = bucket({ limit: 3, windowMs: hourMs })
    for (const remaining of [2, 1, 0]) {
      const verdict = await store.take([claim])
      assert.equal(verdict.allowed, true)
      const state = only(verdict)
      assert.deepEqual(
        [state.rule, state.key, state.allowed, state.limit, state.remaining, state.retryAfterMs],
        [claim.rule, claim.key, true, 3, remaining, 0],
      )
      assert.ok(state.resetMs > 0 && state.resetMs <= hourMs)
    }
    const refused = await store.take([claim])
    assert.equal(refused.allowed, false)
    assert.equal(refused.reservation, undefined)
    const { allowed, remaining, retryAfterMs } = only(refused)
    assert.deepEqual([allowed, remaining], [false, 0])
    assert.ok(retryAfterMs > 0 && retryAfterMs <= hourMs / 3)
  }),
  limitCase('bucket: 200 at once, 10 pass', async (store) => {
    const claim = bucket({ limit: 10, windowMs: hourMs })
    const verdicts = await Promise.all(Array.from({ length: 200 }, () => store.take([claim])))
    assert.equal(verdicts.filter(({ allowed }) => allowed).length, 10)
  }),
  limitCase('bucket: passes again after retryAfterMs', async (store) => {
    const claim = bucket({ limit: 2, windowMs: 100 })
    await taken(store, claim, claim)
    const { retryAfterMs } = only(await store.take([claim]))
    await wait(retryAfterMs + timerSlackMs)
    await taken(store, claim)
  }),
  limitCase('bucket: burst may be more or less than the limit', async (store) => {
    const wide = bucket({ limit: 1, burst: 3, windowMs: hourMs })
    await taken(store, wide, wide, wide)
    await refused(store, wide)
    const narrow = bucket({ limit: 100, burst: 1, windowMs: 100 * hourMs })
    await taken(store, narrow)
    await refused(store, narrow)
  }),
  limitCase('bucket: costs weigh, and a refusal charges nothing', async (store) => {
    const claim = bucket({ limit: 10, windowMs: hourMs })
    await taken(store, { ...claim, cost: 4 }, { ...claim, cost: 4 })
    await refused(store, { ...claim, cost: 4 })
    await refused(store, { ...claim, cost: 1000 })
    await taken(store, { ...claim, cost: 2 })
    await refused(store, claim)
  }),
  limitCase('bucket: fractions add up', async (store) => {
    const claim = bucket({ limit: 1, windowMs: hourMs, cost: 0.1 })
    for (let count = 0; count < 10; count += 1) await taken(store, claim)
    await refused(store, claim)
  }),
  limitCase('bucket: cost 0 looks and takes nothing', async (store) => {
    const claim = bucket({ limit: 2, windowMs: hourMs, cost: 0 })
    assert.equal(only(await store.take([claim])).remaining, 2)
    await taken(store, { ...claim, cost: 2 })
    assert.deepEqual(only(await store.take([claim])).remaining, 0)
  }),
  limitCase('window: counts to the limit, then refuses until the end', async (store) => {
    const claim = window({ limit: 2, startsAt: Date.now() - dayMs, endsAt: Date.now() + dayMs })
    await taken(store, claim, claim)
    const state = only(await store.take([claim]))
    assert.deepEqual([state.allowed, state.remaining], [false, 0])
    assert.ok(state.retryAfterMs > dayMs - hourMs && state.retryAfterMs <= dayMs)
    assert.ok(state.resetMs > dayMs - hourMs && state.resetMs <= dayMs)
  }),
  limitCase('window: the next begins anew, and the one before is still known', async (store) => {
    const today = window({ limit: 2, startsAt: Date.now() - dayMs, endsAt: Date.now() + hourMs })
    const tomorrow = { ...today, startsAt: today.endsAt, endsAt: today.endsAt + dayMs }
    await taken(store, today, today)
    await taken(store, tomorrow)
    await refused(store, today)
    await taken(store, tomorrow)
    await refused(store, tomorrow)
    await refused(store, today)
  }),
  limitCase('window: what was reserved in one is not given back to the next', async (store) => {
    const today = window({ limit: 10, startsAt: Date.now() - dayMs, endsAt: Date.now() + hourMs, cost: 6 })
    const tomorrow = { ...today, startsAt: today.endsAt, endsAt: today.endsAt + dayMs }
    const reservation = receipt(await store.take([today]))
    await taken(store, tomorrow)
    await store.release(reservation)
    assert.equal(await remaining(store, tomorrow), 4)
  }),

  limitCase('window: what is held counts until it is settled, then what was used', async (store) => {
    const claim = window({ limit: 10, cost: 6, holdMs: hourMs })
    const verdict = await store.take([claim])
    const held = only(verdict)
    assert.deepEqual([held.used, held.held, held.remaining], [6, 6, 4])
    await refused(store, claim)
    const [state] = await store.settle(receipt(verdict), [2])
    assert.deepEqual([state?.used, state?.held, state?.remaining], [2, 0, 8])
    assert.deepEqual(await store.settle(receipt(verdict), [2]), [])
    const released = receipt(await store.take([claim]))
    await store.release(released)
    assert.equal(await remaining(store, claim), 8)
    await store.settle(receipt(await store.take([claim])), [9])
    assert.deepEqual(await usage(store, claim), [11, 0])
  }),
  limitCase(
    'window: a hold ends by itself, so that a dead process locks nothing; one that comes late is charged',
    async (store, { unitMs: holdMs, wait }) => {
      const claim = window({ limit: 10, cost: 6, holdMs })
      const late = receipt(await store.take([claim]))
      await refused(store, claim)
      await wait(holdMs + timerSlackMs)
      assert.deepEqual(await usage(store, claim), [0, 0])
      const next = receipt(await store.take([{ ...claim, holdMs: hourMs }]))
      await store.settle(late, [5])
      assert.deepEqual(await usage(store, claim), [11, 6])
      await store.release(next)
      await store.settle(late, [5])
      assert.deepEqual(await usage(store, claim), [5, 0])
    },
  ),
  limitCase('window: what is settled without hold stays apart from what is held', async (store) => {
    const claim = window({ limit: 100, cost: 10 })
    await taken(store, claim)
    const reservation = receipt(await store.take([{ ...claim, holdMs: hourMs }]))
    assert.deepEqual(await usage(store, claim), [20, 10])
    await store.settle(reservation, [3])
    assert.deepEqual(await usage(store, claim), [13, 0])
  }),
  limitCase('lease: 50 at once, 5 get a place; each release frees one', async (store) => {
    const claim = lease({ limit: 5 })
    const verdicts = await Promise.all(Array.from({ length: 50 }, () => store.take([claim])))
    const holders = verdicts.filter(({ allowed }) => allowed).map(receipt)
    assert.equal(holders.length, 5)
    const [first, second] = holders as [Reservation, Reservation]
    await store.release(first)
    await store.release(first)
    await taken(store, claim)
    await refused(store, claim)
    await store.settle(second, [0])
    await taken(store, claim)
    await refused(store, claim)
  }),
  limitCase('lease: ends by itself, so that a dead process locks nothing', async (store, { unitMs: leaseMs, wait }) => {
    const claim = lease({ limit: 1, leaseMs })
    const dead = receipt(await store.take([claim]))
    const { retryAfterMs } = only(await store.take([claim]))
    assert.ok(retryAfterMs > 0 && retryAfterMs <= leaseMs)
    await wait(retryAfterMs + timerSlackMs)
    await taken(store, { ...claim, leaseMs: hourMs })
    // Its late release must not free the place of the one who has it now.
    await store.release(dead)
    await refused(store, claim)
  }),
]
