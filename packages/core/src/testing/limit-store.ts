import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type {
  BucketClaim,
  Claim,
  ClaimState,
  LeaseClaim,
  LimitStore,
  Reservation,
  Verdict,
  WindowClaim,
} from '../stores/limit-store.js'

/** One thing that every {@link LimitStore} does. */
export interface LimitStoreCase {
  readonly name: string
  /** Rejects if the store does not. `make` may always give the same store: each case uses keys of its own. */
  run(make: () => LimitStore): Promise<void>
}

const hourMs = 3_600_000
const dayMs = 24 * hourMs

/** Passes for sure once `retryAfterMs` is over; timers may fire a little early. */
const timerSlackMs = 5

/**
 * The contract of {@link LimitStore} as plain data, for any test runner.
 *
 * @example for (const { name, run } of limitStoreCases) it(name, () => run(() => memoryLimitStore()))
 */
export const limitStoreCases: readonly LimitStoreCase[] = [
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

/** The time of a case that has to do something before some time is over. */
interface Pace {
  readonly unitMs: number
  wait(ms: number): Promise<void>
}

/**
 * A machine that is held up for half of `unitMs` beside what a case waits for cannot tell what is done in time: there a case that fails is tried again with four times the time.
 */
function limitCase(name: string, run: (store: LimitStore, pace: Pace) => Promise<void>): LimitStoreCase {
  return {
    name,
    async run(make) {
      for (let unitMs = 50; ; unitMs *= 4) {
        const begun = performance.now()
        let asked = 0
        const store = make()
        try {
          return await run(store, {
            unitMs,
            wait(ms) {
              asked += ms
              return wait(ms)
            },
          })
        } catch (error) {
          if (performance.now() - begun - asked < unitMs / 2 || unitMs >= 3_200) throw error
        } finally {
          await store.close()
        }
      }
    },
  }
}

function bucket(claim: Partial<BucketClaim> & Pick<BucketClaim, 'limit' | 'windowMs'>): BucketClaim {
  return { kind: 'bucket', rule: 'requests', key: randomUUID(), cost: 1, ...claim }
}

function window(claim: Partial<WindowClaim> & Pick<WindowClaim, 'limit'>): WindowClaim {
  const startsAt = Date.now()
  return { kind: 'window', rule: 'budget', key: randomUUID(), startsAt, endsAt: startsAt + dayMs, cost: 1, ...claim }
}

function lease(claim: Partial<LeaseClaim> & Pick<LeaseClaim, 'limit'>): LeaseClaim {
  return { kind: 'lease', rule: 'concurrency', key: randomUUID(), leaseMs: hourMs, ...claim }
}

async function taken(store: LimitStore, ...claims: readonly Claim[]): Promise<void> {
  for (const claim of claims) assert.equal((await store.take([claim])).allowed, true)
}

async function refused(store: LimitStore, claim: Claim): Promise<void> {
  assert.equal((await store.take([claim])).allowed, false)
}

async function remaining(store: LimitStore, claim: Claim): Promise<number | undefined> {
  return (await store.peek([claim]))[0]?.remaining
}

/** What is used, and of it held. */
async function usage(store: LimitStore, claim: Claim): Promise<[number | undefined, number | undefined]> {
  const [state] = await store.peek([claim])
  return [state?.used, state?.held]
}

function only({ states }: Verdict): ClaimState {
  const [state, ...others] = states
  assert.ok(state !== undefined && others.length === 0, 'one state per claim')
  return state
}

function receipt({ reservation }: Verdict): Reservation {
  assert.ok(reservation !== undefined, 'what is allowed comes with a reservation')
  return reservation
}
