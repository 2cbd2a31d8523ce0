import { randomUUID } from 'node:crypto'
import type {
  BucketClaim,
  Claim,
  LeaseClaim,
  LimitStore,
  Reservation,
  WindowClaim,
} from '@tollgate/core/stores/limit-store'
import { memoryLimitStore } from '@tollgate/core/stores/memory-limit-store'
import { limitStoreCases } from '@tollgate/core/testing/limit-store'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { redisServer, servers } from '../test/redis.js'
import { redisLimitStore } from './redis-limit-store.js'
import type { RedisClient } from './scripts.js'

const prefix = 'tollgate-test:'
const hourMs = 3_600_000
const clients = await servers()

describe.skipIf(clients === undefined).each(Object.entries(clients ?? {}))(
  'redisLimitStore over %s conforms',
  (_name, client) => {
    for (const { name, run } of limitStoreCases) {
      it(name, () =>
        run(() => redisLimitStore({ client: client as RedisClient, prefix, timeoutMs: 2_000, settleRetries: 0 })),
      )
    }
  },
)

const bucket = (claim: Partial<BucketClaim> = {}): BucketClaim => ({
  kind: 'bucket',
  rule: 'tokens',
  key: randomUUID(),
  limit: 100,
  windowMs: 1e6 * hourMs,
  cost: 1,
  ...claim,
})
const window = (claim: Partial<WindowClaim> = {}): WindowClaim => ({
  kind: 'window',
  rule: 'budget',
  key: randomUUID(),
  limit: 100,
  startsAt: 0,
  endsAt: 4e12,
  cost: 1,
  ...claim,
})
const lease = (claim: Partial<LeaseClaim> = {}): LeaseClaim => ({
  kind: 'lease',
  rule: 'places',
  key: randomUUID(),
  limit: 3,
  leaseMs: hourMs,
  ...claim,
})

describe.skipIf(clients === undefined)('redisLimitStore', () => {
  const client = clients?.ioredis as RedisClient
  const make = (options: object = {}) =>
    redisLimitStore({ client, prefix, timeoutMs: 2_000, settleRetries: 0, ...options })

  it('agrees with the store in memory under any interleaving', async () => {
    const amount = fc.integer({ min: 0, max: 40 })
    const step = fc.record({
      what: fc.constantFrom('take', 'take', 'settle', 'release'),
      which: fc.nat(1000),
      costs: fc.tuple(amount, amount, amount),
      used: fc.tuple(amount, amount, amount),
      shadow: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const [memory, redis] = [memoryLimitStore(), make()]
        const keys = [randomUUID(), randomUUID(), randomUUID(), randomUUID()] as const
        const claimsOf = ([one, two, three]: readonly number[], shadow: boolean): Claim[] => [
          bucket({ key: keys[0], cost: one ?? 0 }),
          window({ key: keys[1], cost: two ?? 0, holdMs: hourMs }),
          window({ key: keys[2], cost: three ?? 0, shadow }),
          lease({ key: keys[3] }),
        ]
        const receipts: Array<readonly [Reservation, Reservation]> = []
        for (const { what, which, costs, used, shadow } of steps) {
          if (what === 'take') {
            const claims = claimsOf(costs, shadow)
            const [ours, theirs] = [memory.take(claims), await redis.take(claims)]
            expect(rounded(theirs.states)).toEqual(rounded(ours.states))
            expect(theirs.allowed).toBe(ours.allowed)
            if (ours.reservation && theirs.reservation) receipts.push([ours.reservation, theirs.reservation])
          } else if (receipts.length > 0) {
            const [ours, theirs] = receipts[which % receipts.length] as [Reservation, Reservation]
            if (what === 'settle') {
              const actual = [...used, 0]
              expect(rounded(await redis.settle(theirs, actual))).toEqual(rounded(memory.settle(ours, actual)))
            } else {
              await redis.release(theirs)
              memory.release(ours)
            }
          }
        }
      }),
      { numRuns: 60 },
    )
  })

  it('never lets more through than a limit, of 1,000 reservations at once by four stores', async () => {
    const stores = [make(), make(), make(), make()]
    const claims = [
      window({ limit: 500, cost: 7, holdMs: hourMs }),
      bucket({ limit: 1000, cost: 3 }),
      lease({ limit: 60 }),
    ]
    const verdicts = await Promise.all(
      Array.from({ length: 1000 }, (_, index) => (stores[index % 4] as LimitStore).take(claims)),
    )
    // 500 / 7, 1000 / 3 and 60 places.
    expect(verdicts.filter(({ allowed }) => allowed)).toHaveLength(60)
    const held = verdicts.flatMap(({ reservation }, index) =>
      reservation === undefined ? [] : [{ reservation, index }],
    )
    await Promise.all(held.map(({ reservation, index }) => stores[index % 4]?.settle(reservation, [5, 3, 0])))
    const [budget, tokens, places] = await make().peek(claims)
    expect([budget?.used, budget?.held, Math.round(tokens?.used ?? 0), places?.used]).toEqual([300, 0, 180, 0])
  })

  it('gives nothing back, and does not fail, where refill has served it all', async () => {
    const store = make()
    const claim = bucket({ limit: 1000, windowMs: 1000, cost: 5 })
    const first = (await store.take([claim])).reservation as Reservation
    const second = (await store.take([{ ...claim, cost: 900 }])).reservation as Reservation
    await new Promise((resolve) => setTimeout(resolve, 50))
    await store.release(first)
    await store.settle(second, [0])
    const [state] = await store.peek([claim])
    expect(state?.used).toBeLessThan(900)
  })

  it('lets another process settle what is held, once, and nothing else', async () => {
    const claims = [window({ cost: 10, holdMs: hourMs }), bucket({ cost: 10 }), lease()]
    const { reservation } = await make().take(claims)
    const copy = JSON.parse(JSON.stringify(reservation)) as Reservation
    const other = make()
    await other.settle(copy, [4, 4, 0])
    await other.settle(copy, [4, 4, 0])
    expect((await other.peek(claims)).map(({ used }) => Math.round(used))).toEqual([4, 10, 0])
  })

  it('keeps no key for longer than it means something', async () => {
    const io = clients?.ioredis as unknown as {
      keys(pattern: string): Promise<string[]>
      pttl(key: string): Promise<number>
    }
    const own = `${prefix}${randomUUID()}:`
    const store = make({ prefix: own })
    await store.take([
      bucket({ windowMs: 10_000 }),
      window({ startsAt: Date.now(), endsAt: Date.now() + 10_000, holdMs: 5_000 }),
      lease({ leaseMs: 5_000 }),
    ])
    const keys = await io.keys(`${own}*`)
    expect(keys).toHaveLength(4)
    for (const key of keys) {
      const ttl = await io.pttl(key)
      expect(ttl).toBeGreaterThan(0)
      expect(ttl).toBeLessThanOrEqual(75_000)
    }
  })

  it('keeps no more of a bucket for the calls that came one after another', async () => {
    const claim = bucket({ cost: 3 })
    const store = make()
    const lengths = new Set<unknown>()
    for (let call = 0; call < 20; call += 1) {
      const { reservation } = await store.take([claim])
      await store.settle(reservation as Reservation, [1 + (call % 2)])
      const key = `${prefix}{${claim.key}}:${claim.key}`
      lengths.add(await (client as unknown as { strlen(key: string): Promise<number> }).strlen(key))
    }
    expect(lengths).toEqual(new Set([33]))
  })

  it('goes on after Redis has forgotten its scripts, and charges once', async () => {
    const claim = bucket({ limit: 10 })
    const store = make()
    await store.take([claim])
    await (client as unknown as { script(what: string): Promise<unknown> }).script('FLUSH')
    const { states } = await store.take([claim])
    expect(states[0]?.remaining).toBe(8)
  })

  it.each([
    ['options that are unknown', { client, prefx: 'x' }, /prefx/],
    ['a client that is none', { client: {} }, /client/],
    ['a prefix with braces', { client, prefix: '{x}' }, /prefix/],
  ])('refuses %s', (_name, options, words) => {
    expect(() => redisLimitStore(options as never)).toThrow(words)
  })
})

describe.skipIf(clients === undefined)('redisLimitStore and a Redis that fails', () => {
  it('says so within the time, and gives back what was taken too late', async () => {
    const redis = await redisServer()
    const store = redisLimitStore({ client: redis.client, timeoutMs: 100 })
    const claims = [lease({ limit: 1 }), window({ holdMs: hourMs }), bucket({ limit: 10, cost: 5 })]
    await store.peek(claims)
    await redis.command('CLIENT', 'PAUSE', '400')
    await expect(store.take(claims)).rejects.toMatchObject({ code: 'store_unavailable', retryAfterMs: 1_000 })
    await vi.waitFor(async () => {
      const states = await store.peek(claims)
      expect(states.map(({ used }) => Math.round(used))).toEqual([0, 0, 0])
    }, 5_000)
  })

  it('settles what is held when Redis is back, once', async () => {
    const redis = await redisServer()
    const store = redisLimitStore({ client: redis.client, timeoutMs: 1_000 })
    const claims = [window({ cost: 10, holdMs: hourMs })]
    const { reservation } = await store.take(claims)
    await redis.command('CLIENT', 'PAUSE', '2500')
    await store.settle(reservation as Reservation, [7])
    const [state] = await store.peek(claims)
    expect([state?.used, state?.held]).toEqual([7, 0])
  })

  it('begins anew after a restart that lost everything: what was held before charges what it used', async () => {
    const redis = await redisServer()
    const store = redisLimitStore({ client: redis.client, timeoutMs: 2_000 })
    const claims = [window({ cost: 10, holdMs: hourMs }), lease(), bucket({ cost: 10 })]
    const { reservation } = await store.take(claims)
    await redis.command('FLUSHALL')
    await store.settle(reservation as Reservation, [7, 0, 10])
    expect((await store.peek(claims)).map(({ used }) => used)).toEqual([7, 0, 0])
  })

  it('works in a cluster, whose servers know nothing of one another', async () => {
    const { cluster } = await redisServer({ cluster: true })
    const stores = cluster.map((client) => redisLimitStore({ client, timeoutMs: 10_000 }))
    for (const store of stores) {
      for (const { name, run } of limitStoreCases) {
        await run(() => store).catch((error: unknown) => {
          throw new Error(name, { cause: error })
        })
      }
      const apart = [
        lease({ limit: 1, partition: 'a' }),
        bucket({ limit: 2, partition: 'b' }),
        window({ partition: 'a' }),
      ]
      const { reservation } = await store.take(apart)
      const refused = await store.take(apart)
      expect(refused.states.map(({ allowed, used }) => [allowed, Math.round(used)])).toEqual([
        [false, 1],
        [true, 1],
        [true, 1],
      ])
      await store.release(reservation as Reservation)
      expect((await store.peek(apart)).map(({ used }) => Math.round(used))).toEqual([0, 0, 0])
    }
  }, 60_000)
})

function rounded(states: ReadonlyArray<{ readonly used: number; readonly held: number; readonly allowed: boolean }>) {
  return states.map(({ used, held, allowed }) => [allowed, Math.round(used * 1e6) / 1e6, held])
}
