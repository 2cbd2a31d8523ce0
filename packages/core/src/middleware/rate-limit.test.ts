import { EventEmitter } from 'node:events'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { eachHost } from '../../test/hosts.js'
import { as, catching, emitWarning, hello, plain, statuses } from '../../test/rate-limited.js'
import type { TollgateError } from '../errors.js'
import { middleware } from '../http/handler.js'
import type { LimitStore } from '../stores/limit-store.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import type { LimitSubject } from './limits.js'
import { rateLimit } from './rate-limit.js'

/** Fills the principal from headers, as `auth` would from credentials. */
const signedIn = middleware('signedIn', (context, req) => {
  const [tenant, subject, tier] = String(req.headers['x-test-principal'] ?? '').split(' ')
  if (tenant === undefined || subject === undefined) return
  context.principal = { tenant, subject, method: 'api-key', scopes: [], ...(tier === undefined ? {} : { tier }) }
})

afterEach(() => void vi.restoreAllMocks())

eachHost((host) => {
  it('tells the limit on each answer, refuses beyond it, and serves again after Retry-After', async () => {
    let now = 0
    const store = memoryLimitStore({ now: () => now })
    const { url } = await host.start(rateLimit({ store, limit: 3 }), hello)
    for (const remaining of [2, 1, 0]) {
      const answer = await fetch(url)
      expect(answer.status).toBe(200)
      expect(answer.headers.get('ratelimit-policy')).toBe('"requests";q=3;w=60')
      expect(answer.headers.get('ratelimit')).toBe(`"requests";r=${remaining};t=20`)
    }
    now = 500
    const refused = await fetch(url)
    expect(refused.status).toBe(429)
    expect(refused.headers.get('ratelimit-policy')).toBe('"requests";q=3;w=60')
    expect(refused.headers.get('ratelimit')).toBe('"requests";r=0;t=20')
    expect(refused.headers.get('retry-after')).toBe('20')
    now = 20_000
    expect(await statuses(url, 2)).toEqual([200, 429])
  })

  it('waits for an asynchronous store', async () => {
    const memory = memoryLimitStore()
    const store: LimitStore = { ...memory, take: async (claims) => memory.take(claims) }
    const { url } = await host.start(rateLimit({ store, limit: 1 }), hello)
    expect(await statuses(url, 2)).toEqual([200, 429])
  })

  it('lets exactly the limit through at once', async () => {
    const { url } = await host.start(rateLimit(), hello)
    const answers = await Promise.all(Array.from({ length: 50 }, () => fetch(url)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(10)
  })
})

describe('whom it counts', () => {
  it('principals by tier, each apart; the tenant is part of the name', async () => {
    const { url } = await plain.start(signedIn, rateLimit(), hello)
    const limitOf = async (principal: string) =>
      (await fetch(url, as(principal))).headers.get('ratelimit-policy')?.match(/q=(\d+)/)?.[1]
    expect(await limitOf('acme ann free')).toBe('10')
    expect(await limitOf('acme ann pro')).toBe('100')
    expect(await limitOf('acme ann enterprise')).toBe('1000')
    expect(await limitOf('acme ann')).toBe('10')
    expect(await statuses(url, 11, as('acme bob'))).toEqual([...Array(10).fill(200), 429])
    expect(await statuses(url, 1, as('other bob'))).toEqual([200])
    expect(await statuses(url, 1)).toEqual([200])
  })

  it('a caller that moves to another tier keeps what it has used', async () => {
    const { url } = await plain.start(signedIn, rateLimit(), hello)
    expect(await statuses(url, 11, as('acme ann free'))).toEqual([...Array(10).fill(200), 429])
    expect((await fetch(url, as('acme ann pro'))).headers.get('ratelimit')).toMatch(/r=89;/)
    expect(await statuses(url, 1, as('acme ann free'))).toEqual([429])
  })

  it('an unknown tier as the default one, whatever it is called', async () => {
    const { url } = await plain.start(signedIn, rateLimit(), hello)
    for (const tier of ['gold', '__proto__', 'constructor', 'toString']) {
      const answer = await fetch(url, as(`acme ann ${tier}`))
      expect(answer.headers.get('ratelimit-policy')).toBe('"requests";q=10;w=60')
    }
  })

  it('addresses: X-Forwarded-For changes nothing unless the proxy is trusted', async () => {
    const warn = emitWarning()
    const spoof = (address: string) => ({ headers: { 'x-forwarded-for': address } })
    const open = await plain.start(rateLimit({ limit: 2 }), hello)
    const seen = []
    for (const address of ['1.1.1.1', '2.2.2.2', '3.3.3.3']) seen.push(...(await statuses(open.url, 1, spoof(address))))
    expect(seen).toEqual([200, 200, 429])
    expect(warn).toHaveBeenCalledOnce()
    expect(warn.mock.calls[0]?.[0]).toMatch(/trustProxy/)

    const behind = await plain.start(rateLimit({ limit: 1, trustProxy: 'loopback' }), hello)
    expect(await statuses(behind.url, 2, spoof('9.9.9.9, 203.0.113.1'))).toEqual([200, 429])
    expect(await statuses(behind.url, 1, spoof('8.8.8.8, 203.0.113.1'))).toEqual([429])
    expect(await statuses(behind.url, 1, spoof('203.0.113.2'))).toEqual([200])
    expect(await statuses(behind.url, 1, spoof('2001:db8:1:201::1'))).toEqual([200])
    expect(await statuses(behind.url, 1, spoof('2001:db8:1:2ff::2'))).toEqual([429])
    expect(await statuses(behind.url, 1, spoof('[2001:db8:1:301::1]:443'))).toEqual([200])
    expect(warn).toHaveBeenCalledOnce()
  })

  it('a caller whose connection is gone, in one bucket with its like', () => {
    const limiter = rateLimit({ limit: 1 })
    const errors: unknown[] = []
    for (let count = 0; count < 2; count += 1) {
      const req = { headers: {}, socket: { remoteAddress: undefined } }
      const res = Object.assign(new EventEmitter(), { headersSent: false, setHeader: () => {} })
      limiter(req as never, res as never, (error) => errors.push(error))
    }
    expect(errors).toEqual([undefined, expect.objectContaining({ code: 'rate_limited' })])
  })

  it('whoever you say, with the tenant before it; nobody where you say nothing', async () => {
    const per = ({ req }: LimitSubject) => req.headers['x-device'] as string | undefined
    const { url } = await plain.start(signedIn, rateLimit({ per, limit: 1 }), hello)
    const device = (principal: string, name: string) => ({
      headers: { 'x-test-principal': principal, 'x-device': name },
    })
    expect(await statuses(url, 2, device('acme ann', 'd'))).toEqual([200, 429])
    expect(await statuses(url, 1, device('acme bob', 'd'))).toEqual([429])
    expect(await statuses(url, 1, device('other ann', 'd'))).toEqual([200])
    expect(await statuses(url, 1, device('acme', 'd'))).toEqual([200])
    expect(await statuses(url, 2, as('acme ann'))).toEqual([200, 200])
  })
})

describe('what it counts', () => {
  const costly = () => rateLimit({ limit: 10, cost: ({ req }) => Number(req.headers['x-cost']) })
  const cost = (units: number | string) => ({ headers: { 'x-cost': String(units) } })

  it('units; a refusal charges nothing', async () => {
    const { url } = await plain.start(costly(), hello)
    expect(await statuses(url, 3, cost(4))).toEqual([200, 200, 429])
    expect(await statuses(url, 2, cost(2))).toEqual([200, 429])
    expect(await statuses(url, 1, cost(0))).toEqual([200])
  })

  it('a cost over the burst when there is all, and pays for it after', async () => {
    const { url } = await plain.start(costly(), hello)
    expect(await statuses(url, 2, cost(11))).toEqual([200, 429])
    expect(await statuses(url, 1, cost(1))).toEqual([429])
  })

  it.each(['-1', 'NaN', 'Infinity', 'x'])(
    'a cost of %s is a mistake of the program, not a free pass',
    async (units) => {
      const errors: TollgateError[] = []
      const { url } = await plain.start(costly(), hello, catching(errors))
      expect(await statuses(url, 1, cost(units))).toEqual([500])
      expect(errors[0]).toMatchObject({ code: 'config_invalid' })
      expect(await statuses(url, 1, cost(10))).toEqual([200])
    },
  )

  it('callbacks that answer with a promise are refused, not believed', async () => {
    const errors: TollgateError[] = []
    const later = async () => true
    for (const options of [{ per: later }, { cost: later }]) {
      const { url } = await plain.start(rateLimit(options as never), hello, catching(errors))
      expect(await statuses(url, 1)).toEqual([500])
    }
    const { url } = await plain.start(rateLimit({ skip: later as never, limit: 1 }), hello)
    expect(await statuses(url, 2)).toEqual([200, 429])
  })

  it('not what skip names', async () => {
    const skip = ({ method }: { method?: string | undefined }) => method === 'OPTIONS'
    const { url } = await plain.start(rateLimit({ skip, limit: 1 }), hello)
    expect(await statuses(url, 3, { method: 'OPTIONS' })).toEqual([200, 200, 200])
    expect(await statuses(url, 2)).toEqual([200, 429])
  })

  it('HEAD like any other, with the same fields', async () => {
    const { url } = await plain.start(rateLimit({ limit: 1 }), hello)
    expect(await statuses(url, 1)).toEqual([200])
    const refused = await fetch(url, { method: 'HEAD' })
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '60'])
  })

  it('one request once, though the limiter is mounted twice; warns once', async () => {
    const warn = emitWarning()
    const store = memoryLimitStore()
    const { url } = await plain.start(rateLimit({ store }), rateLimit({ store }), hello)
    expect((await fetch(url)).headers.get('ratelimit')).toMatch(/r=9;/)
    expect((await fetch(url)).headers.get('ratelimit')).toMatch(/r=8;/)
    expect(warn).toHaveBeenCalledOnce()
  })

  it('address and principal, though both limiters have one name', async () => {
    const warn = emitWarning()
    const store = memoryLimitStore()
    const { url } = await plain.start(rateLimit({ store, limit: 100 }), signedIn, rateLimit({ store, limit: 1 }), hello)
    expect(await statuses(url, 2, as('acme ann'))).toEqual([200, 429])
    expect(warn).not.toHaveBeenCalled()
  })
})

describe('options', () => {
  it.each([
    [{ tires: {} }, /tires/],
    [{ limit: -1 }, /limit/],
    [{ limit: { free: -1 } }, /limit/],
    [{ store: {} }, /LimitStore/],
    [{ name: 'a "name"' }, /name/],
    [{ headers: 'draft-8' }, /headers/],
    [{ trustProxy: true }, /number of proxies/],
    [{ ipv6PrefixLength: 16 }, /ipv6PrefixLength/],
    [{ onStoreError: 'shut' }, /onStoreError/],
    [{ per: 'ip' }, /per/],
    [{ cost: 1 }, /cost/],
  ])('%j is refused where it is made', (options, message) => {
    expect(() => rateLimit(options as never)).toThrow(message)
    expect(() => rateLimit(options as never)).toThrow(expect.objectContaining({ code: 'config_invalid' }))
  })

  it('are not changed', () => {
    const options = Object.freeze({
      limit: Object.freeze({ free: 5 }),
      headers: Object.freeze(['draft-6'] as const),
    })
    expect(() => rateLimit(options)).not.toThrow()
  })
})
