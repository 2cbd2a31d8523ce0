import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
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
  window,
} from './limit-store-case.js'

/** What holds for claims of every kind, and for several in one request. */
export const claimCases: readonly LimitStoreCase[] = [
  limitCase('a cost over the burst or the limit, and a limit of 0, can never pass', async (store) => {
    for (const claim of [
      bucket({ limit: 10, windowMs: hourMs, cost: 11 }),
      bucket({ limit: 100, burst: 10, windowMs: hourMs, cost: 11 }),
      bucket({ limit: 0, windowMs: hourMs }),
      window({ limit: 10, cost: 11 }),
      window({ limit: 0 }),
      lease({ limit: 0 }),
    ]) {
      const state = only(await store.take([claim]))
      assert.deepEqual([state.allowed, state.retryAfterMs], [false, Number.POSITIVE_INFINITY])
    }
  }),
  limitCase('refuses costs that are no amount, and charges nothing for them', async (store) => {
    const good = bucket({ limit: 10, windowMs: hourMs })
    for (const cost of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
      await assert.rejects(async () => store.take([good, bucket({ limit: 10, windowMs: hourMs, cost })]))
      await assert.rejects(async () => store.take([good, window({ limit: 10, cost })]))
      const verdict = await store.take([bucket({ limit: 10, windowMs: hourMs })])
      await assert.rejects(async () => store.settle(receipt(verdict), [cost]))
    }
    assert.equal(await remaining(store, good), 10)
  }),
  limitCase('all claims or none', async (store) => {
    const roomy = bucket({ limit: 10, windowMs: hourMs })
    const budget = window({ limit: 10 })
    const places = lease({ limit: 5 })
    const tight = bucket({ limit: 1, windowMs: hourMs })
    await taken(store, tight)
    const verdict = await store.take([roomy, budget, places, tight])
    assert.equal(verdict.allowed, false)
    assert.deepEqual(
      verdict.states.map(({ rule, allowed, remaining }) => [rule, allowed, remaining]),
      [
        [roomy.rule, true, 10],
        [budget.rule, true, 10],
        [places.rule, true, 5],
        [tight.rule, false, 0],
      ],
    )
    assert.deepEqual(
      (await store.peek([roomy, budget, places])).map((state) => state.remaining),
      [10, 10, 5],
    )
  }),
  limitCase('claims on one key in one request add up', async (store) => {
    const six = bucket({ limit: 10, windowMs: hourMs, cost: 6 })
    assert.equal((await store.take([six, six])).allowed, false)
    assert.equal(await remaining(store, six), 10)
    assert.equal((await store.take([{ ...six, cost: 4 }, six])).allowed, true)
    assert.equal(await remaining(store, six), 0)
    const place = lease({ limit: 1 })
    assert.equal((await store.take([place, place])).allowed, false)
    await taken(store, place)
  }),
  limitCase('a key cannot serve two kinds', async (store) => {
    const claim = bucket({ limit: 10, windowMs: hourMs })
    await taken(store, claim)
    await assert.rejects(async () => store.take([lease({ limit: 1, key: claim.key })]))
  }),
  limitCase('keys are apart, whatever they hold', async (store) => {
    const base = randomUUID()
    const long = 'x'.repeat(5000)
    for (const end of ['', ' ', '0', '\u0000', '\n', 'é', 'e\u0301', '雪', '\ud83d\ude00', '{a}', long, `${long}y`]) {
      const claim = bucket({ limit: 1, windowMs: hourMs, key: `${base}${end}` })
      await taken(store, claim)
      await refused(store, claim)
    }
  }),
  limitCase('peek takes nothing', async (store) => {
    const claims = [bucket({ limit: 1, windowMs: hourMs }), window({ limit: 1 }), lease({ limit: 1 })]
    for (let count = 0; count < 3; count += 1) {
      assert.deepEqual(
        (await store.peek(claims)).map(({ allowed, remaining, resetMs }) => [allowed, remaining, resetMs]),
        claims.map(() => [true, 1, 0]),
      )
    }
    assert.equal((await store.take(claims)).allowed, true)
    assert.deepEqual(
      (await store.peek(claims)).map(({ allowed, remaining }) => [allowed, remaining]),
      claims.map(() => [false, 0]),
    )
  }),
  limitCase('a limit may change while it is in use: what is used stays used', async (store) => {
    const free = bucket({ limit: 10, windowMs: hourMs, cost: 10 })
    await taken(store, free)
    const pro = { ...free, limit: 100 }
    assert.equal(await remaining(store, pro), 90)
    await taken(store, { ...pro, cost: 40 })
    await refused(store, { ...free, cost: 1 })
  }),
  limitCase('limits of 30 days and of a year hold', async (store) => {
    for (const days of [30, 365]) {
      const refilling = bucket({ limit: 5, windowMs: days * dayMs })
      const calendar = window({ limit: 5, startsAt: Date.now(), endsAt: Date.now() + days * dayMs })
      const passed = [0, 0]
      for (let count = 0; count < 8; count += 1) {
        if ((await store.take([refilling])).allowed) passed[0] = (passed[0] ?? 0) + 1
        if ((await store.take([calendar])).allowed) passed[1] = (passed[1] ?? 0) + 1
        await wait(2)
      }
      assert.deepEqual(passed, [5, 5])
    }
  }),
  limitCase('shadow: refuses nothing, and is not charged where it does not fit', async (store) => {
    const tried = bucket({ limit: 1, windowMs: hourMs, shadow: true })
    const real = bucket({ limit: 3, windowMs: hourMs })
    const first = await store.take([tried, real])
    assert.deepEqual(
      first.states.map(({ allowed, remaining }) => [allowed, remaining]),
      [
        [true, 0],
        [true, 2],
      ],
    )
    const second = await store.take([tried, real])
    assert.equal(second.allowed, true)
    assert.deepEqual(
      second.states.map(({ allowed, remaining }) => [allowed, remaining]),
      [
        [false, 0],
        [true, 1],
      ],
    )
    await store.settle(receipt(second), [50, 0])
    assert.equal(await remaining(store, real), 2)
    await store.release(receipt(first))
    assert.deepEqual([await remaining(store, tried), await remaining(store, real)], [1, 3])
    await taken(store, { ...real, cost: 3 })
    assert.equal((await store.take([tried, real])).allowed, false)
    assert.equal(await remaining(store, tried), 1)
  }),
  limitCase('tells what is used, debts included', async (store) => {
    const claims = [
      bucket({ limit: 10, windowMs: 1000 * hourMs, cost: 4 }),
      window({ limit: 10, cost: 4 }),
      lease({ limit: 3 }),
    ]
    const reservation = receipt(await store.take(claims))
    const usedOf = async () => (await store.peek(claims)).map(({ used }) => Math.round(used))
    assert.deepEqual(await usedOf(), [4, 4, 1])
    await store.settle(reservation, [13, 13, 0])
    assert.deepEqual(await usedOf(), [13, 13, 0])
  }),
  limitCase('claims of several partitions are all taken or none', async (store) => {
    const [one, two] = [
      bucket({ limit: 2, windowMs: hourMs, partition: randomUUID() }),
      lease({ limit: 1, partition: randomUUID() }),
    ]
    const reservation = receipt(await store.take([one, two]))
    assert.equal((await store.take([one, two])).allowed, false)
    assert.equal((await store.take([two, one])).allowed, false)
    assert.equal(await remaining(store, one), 1)
    await store.release(reservation)
    assert.deepEqual([await remaining(store, one), await remaining(store, two)], [2, 1])
  }),
]
