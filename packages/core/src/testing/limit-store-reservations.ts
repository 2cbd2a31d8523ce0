import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { Reservation } from '../stores/limit-store.js'
import {
  bucket,
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
  window,
} from './limit-store-case.js'

/** What becomes of a reservation: settled, released, renewed. */
export const reservationCases: readonly LimitStoreCase[] = [
  limitCase('settle: gives back what was not used', async (store) => {
    const claim = bucket({ limit: 10, windowMs: hourMs, cost: 8 })
    const reservation = receipt(await store.take([claim]))
    await store.settle(reservation, [3])
    assert.equal(await remaining(store, claim), 7)
  }),
  limitCase('settle: charges what was used beyond, as a debt that refill pays back', async (store) => {
    const claim = bucket({ limit: 10, windowMs: hourMs, cost: 5 })
    await store.settle(receipt(await store.take([claim])), [20])
    const [state] = await store.peek([{ ...claim, cost: 1 }])
    assert.deepEqual([state?.allowed, state?.remaining], [false, 0])
    // 20 used of 10: 11 have to come back before one passes.
    const retryAfterMs = state?.retryAfterMs ?? 0
    assert.ok(retryAfterMs > hourMs && retryAfterMs <= 1.1 * hourMs, `retryAfterMs is ${retryAfterMs}`)
  }),
  limitCase('settle: a claim of cost 0 is charged afterwards', async (store) => {
    const claims = [bucket({ limit: 10, windowMs: hourMs, cost: 0 }), window({ limit: 10, cost: 0 })]
    await store.settle(receipt(await store.take(claims)), [4, 11])
    assert.deepEqual(
      (await store.peek(claims)).map((state) => state.remaining),
      [6, 0],
    )
  }),
  limitCase('release: gives back everything, in whatever order', async (store) => {
    const claims = [
      bucket({ limit: 10, windowMs: hourMs, cost: 3 }),
      window({ limit: 10, cost: 3 }),
      lease({ limit: 10 }),
    ]
    const receipts: Reservation[] = []
    for (let count = 0; count < 3; count += 1) receipts.push(receipt(await store.take(claims)))
    for (const index of [1, 2, 0]) await store.release(receipts[index] as Reservation)
    assert.deepEqual(
      (await store.peek(claims)).map((state) => state.remaining),
      [10, 10, 10],
    )
  }),
  limitCase('settle and release: the second does nothing, also with a copy of the reservation', async (store) => {
    const claims = [
      bucket({ limit: 10, windowMs: hourMs, cost: 4 }),
      window({ limit: 10, cost: 4 }),
      lease({ limit: 10 }),
    ]
    const other = receipt(await store.take(claims))
    const reservation = receipt(await store.take(claims))
    await store.settle(reservation, [1, 1, 0])
    const copy = JSON.parse(JSON.stringify(reservation)) as Reservation
    await store.settle(reservation, [9, 9, 0])
    await store.release(reservation)
    await store.settle(copy, [0, 0, 0])
    await store.release(copy)
    assert.deepEqual(
      (await store.peek(claims)).map((state) => state.remaining),
      [5, 5, 9],
    )
    await store.release(other)
    assert.deepEqual(
      (await store.peek(claims)).map((state) => state.remaining),
      [9, 9, 10],
    )
  }),
  limitCase('release: never gives back what has refilled meanwhile', async (store) => {
    const fast = bucket({ limit: 10, windowMs: 100, cost: 8 })
    const late = receipt(await store.take([fast]))
    await wait(only(await store.take([{ ...fast, cost: 0 }])).resetMs + timerSlackMs)
    const slow = { ...fast, windowMs: 1000 * hourMs, cost: 10 }
    await taken(store, slow)
    await store.release(late)
    await refused(store, { ...slow, cost: 1 })
  }),
  limitCase('settle: a reservation that the store does not know does nothing', async (store) => {
    const claim = bucket({ limit: 10, windowMs: hourMs, cost: 4 })
    const known = receipt(await store.take([claim]))
    await store.settle({ ...known, id: randomUUID() }, [0])
    assert.equal(await remaining(store, claim), 6)
  }),
  limitCase(
    'renew: holds and leases last for their whole time again; what has ended stays so',
    async (store, { unitMs, wait }) => {
      const heldMs = 3 * unitMs
      const claims = [
        window({ limit: 1, holdMs: heldMs }),
        lease({ limit: 1, leaseMs: heldMs }),
        bucket({ limit: 1, windowMs: hourMs }),
      ]
      const reservation = receipt(await store.take(claims))
      for (let count = 0; count < 3; count += 1) {
        await wait(heldMs / 2)
        assert.equal(await store.renew(reservation), true)
      }
      assert.deepEqual(
        (await store.peek(claims)).map(({ allowed }) => allowed),
        [false, false, false],
      )
      await wait(heldMs + timerSlackMs)
      assert.equal(await store.renew(reservation), false)
      assert.deepEqual(
        (await store.peek(claims)).map(({ allowed }) => allowed),
        [true, true, false],
      )
      await store.release(reservation)
      assert.equal(await store.renew(reservation), false)
    },
  ),
]
