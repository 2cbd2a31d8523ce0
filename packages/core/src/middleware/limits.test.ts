import { request } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { eachHost, type Host, hosts } from '../../test/hosts.js'
import { jsonBody } from '../http/body.js'
import { contextOf } from '../http/context.js'
import { endpoint, type Handler } from '../http/handler.js'
import { dispatching, recordAttempt, recordUsage } from '../http/record-usage.js'
import { sendJson } from '../http/respond.js'
import { markedUp } from '../marked-up-prices.js'
import { priceTable } from '../price-table.js'
import type { Principal } from '../principal.js'
import type { LimitStore } from '../stores/limit-store.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import { cost } from './cost.js'
import { errorHandler } from './error-handler.js'
import { type LimitEvent, type LimitRule, type Limits, type LimitsOptions, limits } from './limits.js'

const prices = priceTable({
  list: false,
  overrides: {
    'p/small': { usdPerMillionTokens: { input: '1', output: '2' } },
    'p/large': { usdPerMillionTokens: { input: '100', output: '200' } },
    small: { usdPerMillionTokens: { input: '1', output: '2' } },
  },
})
const people: Record<string, Principal> = {
  ada: { tenant: 'acme', team: 'research', subject: 'ada', method: 'jwt', keyId: 'k1', tier: 'pro', scopes: [] },
  bob: { tenant: 'acme', subject: 'bob', method: 'jwt', tier: 'free', scopes: [] },
  eve: { tenant: 'globex', subject: 'eve', method: 'jwt', scopes: [] },
  odd: {
    tenant: 'acme',
    subject: 'odd',
    method: 'jwt',
    scopes: [],
    limits: { rpm: 1e300, day: '1e30', tokens: 'many' },
  },
  vip: { tenant: 'acme', subject: 'vip', method: 'jwt', scopes: [], limits: { rpm: 5, day: '0.5' } },
}
const host = hosts[3] as Host

const as: Handler = (req, res, next) => {
  contextOf(req, res).principal = people[String(req.headers['x-as'])]
  next()
}

/** Calls the model that a header names, uses what another says, and answers how a third wants it. */
const model: Handler = endpoint('model', async (context, req, res) => {
  const header = (name: string) => req.headers[name] as string | undefined
  const name = header('x-model')
  if (name !== undefined) {
    await dispatching(context, { provider: 'p', model: name })
    const fallback = header('x-fallback')
    const spent = header('x-spent')
    if (spent !== undefined) {
      const [input, output] = spent.split('/').map(Number)
      const usage = { inputTokens: input ?? 0, outputTokens: output ?? 0, estimated: true }
      recordAttempt(req, { provider: 'p', model: name, usage })
    }
    if (fallback !== undefined) await dispatching(context, { provider: 'p', model: fallback })
    await wait(Number(header('x-wait') ?? 0))
    const [input, output] = (header('x-usage') ?? '').split('/').map(Number)
    if (output !== undefined) {
      const usage = { inputTokens: input ?? 0, outputTokens: output, estimated: false }
      recordUsage(req, { provider: 'p', model: fallback ?? name, usage })
    }
  }
  sendJson(res, Number(header('x-status') ?? 200), { ok: true })
})

interface Asking {
  readonly who?: string
  readonly model?: string
  readonly fallback?: string
  /** What the first model used before it failed. */
  readonly spent?: string
  readonly usage?: string
  readonly wait?: number
  readonly status?: number
  readonly body?: unknown
}

async function start(rules: readonly LimitRule[], options: Partial<LimitsOptions> = {}, on: Host = host) {
  const events: LimitEvent[] = []
  const limiter: Limits = limits({ rules, prices, onEvent: (event) => events.push(event), ...options })
  onTestFinished(() => limiter.close())
  const standing: Handler = endpoint('standing', async (context, req, res) => {
    sendJson(res, 200, await limiter.standing(req, context))
  })
  const { url } = await on.start(
    as,
    ['/standing', standing],
    limiter,
    cost({ prices, unknownPrice: 'allow' }),
    model,
    errorHandler({ log: { error() {}, warn() {} } }),
  )
  const ask = async ({ who = 'ada', model: name, fallback, spent, usage, wait: ms, status, body }: Asking = {}) => {
    const entries = {
      'x-as': who,
      'x-model': name,
      'x-fallback': fallback,
      'x-spent': spent,
      'x-usage': usage,
      'x-wait': ms,
      'x-status': status,
    }
    const given = Object.entries(entries).filter(([, value]) => value !== undefined)
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        ...Object.fromEntries(given.map(([key, value]) => [key, String(value)])),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return {
      status: response.status,
      headers: response.headers,
      body: (await response.json()) as Record<string, unknown>,
    }
  }
  const used = async (rule: string, who = 'ada') => {
    const response = await fetch(`${url}/standing`, { headers: { 'x-as': who } })
    const all = (await response.json()) as Array<{ rule: string; used: number; held: number }>
    const found = all.find((each) => each.rule === rule)
    return found === undefined ? undefined : [Math.round(found.used), Math.round(found.held)]
  }
  /** Settling goes on behind the answer. */
  const soon = async (rule: string, wanted: readonly number[], who = 'ada') =>
    expect.poll(() => used(rule, who), { timeout: 5_000 }).toEqual(wanted)
  return { ask, used, soon, events, limiter, url }
}

const prompt = (text: string, more: object = {}) => ({
  model: 'small',
  messages: [{ role: 'user', content: text }],
  ...more,
})

eachHost((on) => {
  it('lets the limit through, then answers 429 that names the rule and says when', async () => {
    const { ask } = await start([{ name: 'rpm', measure: 'requests', limit: 2 }], {}, on)
    for (const remaining of ['1', '0']) {
      const { status, headers } = await ask()
      expect(status).toBe(200)
      expect(headers.get('ratelimit')).toContain(`"rpm";r=${remaining}`)
      expect(headers.get('x-ratelimit-remaining-requests')).toBe(remaining)
    }
    const refused = await ask()
    expect(refused).toMatchObject({ status: 429, body: { code: 'rate_limited', 'violated-policies': ['rpm'] } })
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await ask({ who: 'bob' })).status).toBe(200)
  })
})

describe('whose count it is', () => {
  it.each<[LimitRule['per'], string, string, number]>([
    ['tenant', 'ada', 'bob', 429],
    ['tenant', 'ada', 'eve', 200],
    ['user', 'ada', 'bob', 200],
    ['team', 'ada', 'bob', 200],
    ['key', 'ada', 'bob', 200],
    ['address', 'ada', 'eve', 429],
    [['tenant', 'address'], 'ada', 'bob', 429],
    [['tenant', 'address'], 'ada', 'eve', 200],
    [() => 'all', 'ada', 'bob', 429],
    [() => 'all', 'ada', 'eve', 200],
    [() => undefined, 'ada', 'ada', 200],
  ])('per %j: after one of %s, that of %s is %i', async (per, one, other, status) => {
    const { ask } = await start([{ name: 'r', measure: 'requests', limit: 1, ...(per === undefined ? {} : { per }) }])
    expect((await ask({ who: one })).status).toBe(200)
    expect((await ask({ who: other })).status).toBe(status)
  })

  it('is by the tier, by the own amount of the principal, and by a function that is asked every time', async () => {
    let live = 3
    const { ask } = await start([
      { name: 'rpm', measure: 'requests', limit: { free: 1, default: 2 } },
      { name: 'live', measure: 'requests', limit: () => live },
    ])
    expect([(await ask({ who: 'bob' })).status, (await ask({ who: 'bob' })).status]).toEqual([200, 429])
    expect([(await ask()).status, (await ask()).status, (await ask()).status]).toEqual([200, 200, 429])
    for (let count = 0; count < 3; count += 1) expect((await ask({ who: 'vip' })).status).toBe(200)
    expect((await ask({ who: 'vip' })).body['violated-policies']).toEqual(['live'])
    live = 4
    expect((await ask({ who: 'vip' })).status).toBe(200)
  })

  it('is never wrong by what a directory holds: too much is as much as can be counted, what is no amount is nothing', async () => {
    const { ask } = await start([
      { name: 'rpm', measure: 'requests', limit: 1 },
      { name: 'day', measure: 'money', limit: 1 },
    ])
    for (let count = 0; count < 3; count += 1) expect((await ask({ who: 'odd' })).status).toBe(200)
    const { ask: other } = await start([{ name: 'tokens', measure: 'tokens', limit: 1e6 }])
    expect((await other({ who: 'odd', body: prompt('', { max_tokens: 1 }) })).status).toBe(429)
  })

  it('of a model is counted for what is dispatched', async () => {
    const { ask, used } = await start([
      { name: 'perModel', measure: 'requests', per: ['tenant', 'model'], limit: 1 },
      { name: 'all', measure: 'requests', limit: 10 },
    ])
    expect((await ask({ model: 'small' })).status).toBe(200)
    expect((await ask({ model: 'large' })).status).toBe(200)
    const refused = await ask({ who: 'bob', model: 'small' })
    expect(refused).toMatchObject({ status: 429, body: { 'violated-policies': ['perModel'] } })
    // Refused after it was let in: nothing of it counts.
    await expect.poll(() => used('all', 'bob')).toEqual([0, 0])
  })
})

describe('tokens', () => {
  const tpm: LimitRule = { name: 'tpm', measure: 'tokens', limit: 1000, windowMs: 3_600_000_000 }

  it('are reserved as prompt and bounded output, and settled by what was used', async () => {
    const { ask, soon, used } = await start([tpm])
    const slow = ask({ model: 'small', usage: '40/10', wait: 100, body: prompt('x'.repeat(300), { max_tokens: 200 }) })
    await soon('tpm', [302, 0])
    expect((await slow).status).toBe(200)
    await soon('tpm', [50, 0])
    const refused = await ask({ model: 'small', usage: '1/1', body: prompt('x', { max_tokens: 960 }) })
    expect(refused).toMatchObject({ status: 429, body: { 'violated-policies': ['tpm'] } })
    expect(refused.headers.get('x-ratelimit-limit-tokens')).toBe('1000')
    expect(await used('tpm')).toEqual([50, 0])
  })

  it('beyond what was reserved are a debt, and of a call that failed nothing', async () => {
    const { ask, soon } = await start([tpm])
    await ask({ model: 'small', usage: '900/300', body: prompt('x', { max_tokens: 10 }) })
    await soon('tpm', [1200, 0])
    expect((await ask({ model: 'small', body: prompt('x', { max_tokens: 1 }) })).status).toBe(429)
    const other = await start([tpm])
    expect((await other.ask({ model: 'small', status: 502, body: prompt('x', { max_tokens: 10 }) })).status).toBe(502)
    await other.soon('tpm', [0, 0])
  })

  it('of a successful call that nobody tells are those that were reserved', async () => {
    const { ask, soon } = await start([tpm])
    await ask({ model: 'small', body: prompt('abc', { max_tokens: 9 }) })
    await soon('tpm', [12, 0])
  })

  it('of output without a bound are learned, and never asked for', async () => {
    const { ask, used, soon } = await start([tpm], { defaultOutputTokens: 600 })
    const running = ask({ model: 'small', usage: '1/20', wait: 100, body: prompt('abc') })
    await soon('tpm', [603, 0])
    await running
    for (let count = 0; count < 40; count += 1) await ask({ model: 'small', usage: '0/20', body: prompt('') })
    const before = (await used('tpm'))?.[0] ?? 0
    const later = ask({ model: 'small', usage: '0/20', wait: 100, body: prompt('') })
    await expect.poll(async () => ((await used('tpm'))?.[0] ?? 0) - before).toBeGreaterThan(19)
    expect(((await used('tpm'))?.[0] ?? 0) - before).toBeLessThan(60)
    await later
  })

  it('of several answers without a bound are as many times what one has had', async () => {
    const { ask, soon, used } = await start([tpm], { defaultOutputTokens: 100 })
    const running = ask({ model: 'small', usage: '0/400', wait: 100, body: prompt('', { n: 4 }) })
    await soon('tpm', [402, 0])
    await running
    await soon('tpm', [400, 0])
    const next = ask({ model: 'small', usage: '0/0', wait: 100, body: prompt('') })
    // One has had 100: three deviations of a third above it.
    await expect.poll(async () => ((await used('tpm'))?.[0] ?? 0) - 400).toBeGreaterThan(190)
    expect(((await used('tpm'))?.[0] ?? 0) - 400).toBeLessThan(210)
    await next
  })

  it('are counted by input and by output alone, by a function of yours, and more than the burst passes when there is all', async () => {
    const { ask, soon } = await start(
      [
        { name: 'in', measure: 'inputTokens', limit: 100, windowMs: 3_600_000_000 },
        { name: 'out', measure: 'outputTokens', limit: 100, windowMs: 3_600_000_000 },
      ],
      { countTokens: (text) => text.length },
    )
    const running = ask({
      model: 'small',
      usage: '7/9',
      wait: 100,
      body: prompt('x'.repeat(10), { max_tokens: 5_000 }),
    })
    // `user` is text too.
    await soon('in', [14, 0])
    await soon('out', [100, 0])
    expect((await running).status).toBe(200)
    await soon('in', [7, 0])
    await soon('out', [9, 0])
  })
})

describe('money', () => {
  const day: LimitRule = { name: 'day', measure: 'money', per: 'tenant', limit: '0.001', calendar: 'day' }

  it('of sound is held at the price of sound', async () => {
    const perSound = { input: '1', output: '2', inputAudio: '100', outputAudio: '200' }
    const dear = priceTable({ list: false, overrides: { small: { usdPerMillionTokens: perSound } } })
    const { ask, soon } = await start([{ ...day, limit: '1' }], { prices: dear })
    const content = [{ type: 'input_audio', input_audio: { data: 'UklGRg', format: 'wav' } }]
    const body = {
      model: 'small',
      messages: [{ role: 'user', content }],
      modalities: ['text', 'audio'],
      max_tokens: 10,
    }
    const running = ask({ model: 'small', usage: '1/1', wait: 100, body })
    // 1,500 of sound that is sent, 10 that may come back, and 5 of words.
    await soon('day', [1_500 * 100_000 + 10 * 200_000 + 5 * 1_000, 1_500 * 100_000 + 10 * 200_000 + 5 * 1_000])
    await running
  })

  it.each(['/v1/chat/completions?x=/images/generations', '/v1/chat/completions#/audio/speech', '/own/audio/speech'])(
    'is held for the output, though the target is %s',
    async (target) => {
      const { url, soon } = await start([
        { ...day, limit: '1' },
        { name: 'tpm', measure: 'tokens', limit: 1e6, windowMs: 3.6e12 },
      ])
      const answer = new Promise<number>((resolve, reject) => {
        const headers = { 'content-type': 'application/json', 'x-as': 'ada', 'x-model': 'small', 'x-wait': '200' }
        const { hostname, port } = new URL(url)
        // Not by fetch, which sends no fragment.
        const asked = request({ hostname, port, path: target, method: 'POST', headers }, (response) => {
          response.resume()
          resolve(response.statusCode ?? 0)
        })
        asked.on('error', reject).end(JSON.stringify(prompt('', { max_tokens: 1_000 })))
      })
      await soon('day', [2_002_000, 2_002_000])
      await soon('tpm', [1_002, 0])
      expect(await answer).toBe(200)
    },
  )

  it('is held at the dearest of what a model may write', async () => {
    const rates = { input: '1', output: '2', reasoning: '7', outputImage: '30' }
    const dear = priceTable({ list: false, overrides: { small: { usdPerMillionTokens: rates } } })
    const { ask, soon } = await start([{ ...day, limit: '1' }], { prices: dear })
    const running = ask({ model: 'small', usage: '1/1', wait: 100, body: prompt('', { max_tokens: 10 }) })
    await soon('day', [2_000 + 10 * 30_000, 2_000 + 10 * 30_000])
    await running
    await soon('day', [3_000, 0])
  })

  it.each([
    [{ type: 'ephemeral' }, 5],
    [{ type: 'ephemeral', ttl: '5m' }, 5],
    [{ type: 'ephemeral', ttl: '1h' }, 9],
  ])('is held at the price of a cache that is to be written: %j', async (cacheControl, usd) => {
    const rates = { input: '1', output: '2', cacheWrite: '5', cacheWrite1h: '9' }
    const dear = priceTable({ list: false, overrides: { small: { usdPerMillionTokens: rates } } })
    const { ask, soon } = await start([{ ...day, limit: '1' }], { prices: dear, countTokens: (text) => text.length })
    const content = [{ type: 'text', text: 'x'.repeat(1_000), cache_control: cacheControl }]
    const body = { model: 'small', messages: [{ role: 'user', content }], max_tokens: 10 }
    const running = ask({ model: 'small', usage: '1/1', wait: 100, body })
    const words = ['user', 'text', ...Object.values(cacheControl)].join('').length
    await soon('day', [(1_000 + words) * usd * 1_000 + 20_000, (1_000 + words) * usd * 1_000 + 20_000])
    await running
  })

  it('of more answers than can be reckoned with is refused, not failed on', async () => {
    const { ask } = await start([day])
    expect(
      (await ask({ model: 'large', body: prompt('', { model: 'other', n: Number.MAX_SAFE_INTEGER }) })).status,
    ).toBe(402)
  })

  it('is held for what a parser of the host has read, whatever its type', async () => {
    const limiter = limits({ prices, rules: [day] })
    onTestFinished(() => limiter.close())
    const parsed: Handler = (req, _res, next) => {
      Object.assign(req, { body: prompt('', { max_tokens: 1_000_000 }) })
      next()
    }
    const { url } = await host.start(as, parsed, limiter, model, errorHandler({ log: { error() {}, warn() {} } }))
    const headers = { 'x-as': 'ada', 'x-model': 'small', 'content-type': 'text/plain' }
    expect((await fetch(url, { method: 'POST', headers, body: '{}' })).status).toBe(402)
  })

  it('is held while a call runs and spent as it cost; what may not fit is 402 and not to be retried', async () => {
    const { ask, soon, events } = await start([day])
    const body = prompt('', { max_tokens: 200 })
    const running = ask({ model: 'small', usage: '0/100', wait: 150, body })
    // 200 output tokens and two of `user`, at 2 and 1 USD a million.
    await soon('day', [402_000, 402_000])
    const refused = await ask({ model: 'small', usage: '0/1', body: prompt('', { max_tokens: 400 }) })
    expect(refused).toMatchObject({ status: 402, body: { code: 'budget_exceeded', 'violated-policies': ['day'] } })
    expect(refused.headers.get('x-should-retry')).toBe('false')
    expect(refused.headers.get('retry-after')).toBeNull()
    expect(String(refused.body['detail'])).toContain('0.001 USD has 0.000598 USD left')
    expect((await running).status).toBe(200)
    await soon('day', [200_000, 0])
    expect(events).toMatchObject([{ type: 'refused', rule: 'day', principal: { subject: 'ada' } }])
  })

  it('is reserved at the price of the model that is called, also of a fallback', async () => {
    const { ask, soon, used } = await start([day])
    const body = prompt('', { max_tokens: 100 })
    expect((await ask({ model: 'large', usage: '0/1', body })).status).toBe(402)
    await soon('day', [0, 0])
    expect((await ask({ model: 'small', fallback: 'large', usage: '0/1', body })).status).toBe(402)
    await soon('day', [0, 0])
    const running = ask({
      model: 'large',
      fallback: 'small',
      usage: '0/100',
      wait: 150,
      body: prompt('', { max_tokens: 4 }),
    })
    await soon('day', [10_000, 10_000])
    expect((await running).status).toBe(200)
    await soon('day', [200_000, 0])
    const dear = ask({
      model: 'small',
      fallback: 'large',
      usage: '0/2',
      wait: 150,
      body: prompt('', { max_tokens: 3 }),
    })
    // 3 × 200 + 2 × 100 micro-USD, whatever model was asked for.
    await soon('day', [1_000_000, 800_000])
    expect((await dear).status).toBe(200)
    await soon('day', [600_000, 0])
    expect(await used('day', 'bob')).toEqual([600_000, 0])
    expect(await used('day', 'eve')).toEqual([0, 0])
  })

  it('tells each threshold once, whoever passes it', async () => {
    const store = memoryLimitStore()
    const rules = [{ ...day, thresholds: [0.5, 0.8, 1] }]
    const [one, other] = [await start(rules, { store }), await start(rules, { store })]
    for (let count = 0; count < 5; count += 1) {
      for (const { ask } of [one, other])
        await ask({ model: 'small', usage: '0/50', body: prompt('', { max_tokens: 1 }) })
    }
    await one.soon('day', [1_000_000, 0])
    const told = [...one.events, ...other.events].flatMap((event) =>
      event.type === 'threshold' ? [event.threshold] : [],
    )
    expect(told.sort()).toEqual([0.5, 0.8, 1])
  })

  it('by an amount of the principal, and begins anew with the day', async () => {
    let time = Date.parse('2026-11-27T12:00:00Z')
    const store = memoryLimitStore({ wallNow: () => time })
    const { ask } = await start([day], { store, now: () => time })
    const body = prompt('', { max_tokens: 1 })
    await ask({ who: 'bob', model: 'small', usage: '0/500', body })
    await expect.poll(async () => (await ask({ who: 'bob', model: 'small', usage: '0/1', body })).status).toBe(402)
    expect((await ask({ who: 'vip', model: 'small', usage: '0/1', body })).status).toBe(200)
    time += 12 * 3_600_000
    expect((await ask({ who: 'bob', model: 'small', usage: '0/1', body })).status).toBe(200)
  })
})

describe('concurrency', () => {
  const places: LimitRule = { name: 'places', measure: 'concurrency', limit: 2 }

  it('is for requests that run, and free when they end or their caller leaves', async () => {
    const { ask, soon, url } = await start([places])
    const leaving = new AbortController()
    const left = fetch(url, {
      headers: { 'x-as': 'ada', 'x-model': 'small', 'x-wait': '5000' },
      signal: leaving.signal,
    })
    const running = ask({ model: 'small', wait: 200 })
    await soon('places', [2, 2])
    const refused = await ask()
    expect(refused).toMatchObject({ status: 429, body: { 'violated-policies': ['places'] } })
    expect(refused.headers.get('retry-after')).toBe('1')
    leaving.abort()
    await expect(left).rejects.toThrow()
    await running
    await soon('places', [0, 0])
    expect((await ask()).status).toBe(200)
  })

  it('lasts for as long as a request does, and no longer when its process has died', async () => {
    const { ask, used, soon, limiter } = await start([{ ...places, limit: 1, leaseMs: 1_000 }])
    const running = ask({ model: 'small', wait: 2_500 })
    await soon('places', [1, 1])
    await wait(1_800)
    expect(await used('places')).toEqual([1, 1])
    limiter.close()
    await wait(1_050)
    expect(await used('places')).toEqual([0, 0])
    await running
  })
})

describe('rules together', () => {
  it('are all taken or none, and the answer names each that refused', async () => {
    const { ask, used } = await start([
      { name: 'roomy', measure: 'requests', limit: 100 },
      { name: 'one', measure: 'requests', limit: 1 },
      { name: 'none', measure: 'requests', per: 'tenant', limit: { free: 0, default: 5 } },
    ])
    expect((await ask({ who: 'bob' })).body).toMatchObject({ 'violated-policies': ['none'] })
    expect((await ask()).status).toBe(200)
    expect((await ask()).body).toMatchObject({ 'violated-policies': ['one'] })
    expect(await used('roomy')).toEqual([1, 0])
    expect(await used('roomy', 'bob')).toEqual([0, 0])
  })

  it('that are shadows refuse nothing and are told', async () => {
    const { ask, events } = await start([{ name: 'try', measure: 'requests', limit: 1, shadow: true }])
    for (let count = 0; count < 3; count += 1) expect((await ask()).status).toBe(200)
    expect(events.map(({ type }) => type)).toEqual(['shadow-refused', 'shadow-refused'])
  })

  it('can be asked beforehand', async () => {
    const { limiter } = await start([
      { name: 'rpm', measure: 'requests', limit: 1 },
      { name: 'tpm', measure: 'tokens', limit: 100 },
      { name: 'day', measure: 'money', limit: '0.001', calendar: 'day' },
    ])
    const answers: unknown[] = []
    const { url } = await host.start(
      as,
      endpoint('check', async (context, req, res) => {
        for (const inputTokens of [10, 1_000, 10_000]) {
          answers.push(await limiter.check(req, context, { model: 'small', inputTokens, maxOutputTokens: 1 }))
        }
        sendJson(res, 200, {})
      }),
    )
    await fetch(url, { headers: { 'x-as': 'ada' } })
    expect(answers).toEqual([
      { allowed: true, refusedBy: [] },
      { allowed: false, refusedBy: ['day'] },
      { allowed: false, refusedBy: ['day'] },
    ])
  })
})

describe('a store that fails', () => {
  const broken = (fail: () => unknown): LimitStore => ({ ...memoryLimitStore(), take: fail as LimitStore['take'] })
  const failures: ReadonlyArray<readonly [string, () => unknown]> = [
    ['rejects', async () => Promise.reject(new Error('redis.internal is down'))],
    [
      'throws',
      () => {
        throw new Error('redis.internal is down')
      },
    ],
    ['never answers', () => new Promise(() => {})],
  ]

  it.each(failures)('and %s: each rule has its own policy', async (_name, fail) => {
    const options = { store: broken(fail), storeTimeoutMs: 50, instances: 2 }
    const open = await start([{ name: 'r', measure: 'requests', limit: 1 }], options)
    for (let count = 0; count < 3; count += 1) expect((await open.ask()).status).toBe(200)
    expect(open.events[0]).toMatchObject({ type: 'store-failed', policy: 'open' })
    const local = await start([{ name: 'r', measure: 'requests', limit: 4, onStoreError: 'local' }], options)
    const statuses = [await local.ask(), await local.ask(), await local.ask()].map(({ status }) => status)
    expect(statuses).toEqual([200, 200, 429])
    const closed = await start([{ name: 'r', measure: 'money', limit: 4, calendar: 'day' }], options)
    const refused = await closed.ask()
    expect(refused).toMatchObject({ status: 503, body: { code: 'store_unavailable' } })
    expect(JSON.stringify(refused.body)).not.toContain('redis')
  })

  it('is asked again a second later', async () => {
    const memory = memoryLimitStore()
    let down = true
    const store = { ...memory, take: (claims: never) => (down ? Promise.reject(new Error('no')) : memory.take(claims)) }
    const { ask } = await start([{ name: 'r', measure: 'requests', limit: 1 }], { store: store as LimitStore })
    await ask()
    down = false
    await wait(1_050)
    expect([(await ask()).status, (await ask()).status]).toEqual([200, 429])
  })

  it('repeats a refusal for a moment without asking, and never lets more through', async () => {
    const memory = memoryLimitStore()
    let asked = 0
    const store = {
      ...memory,
      take: async (claims: never) => {
        asked += 1
        return memory.take(claims)
      },
    }
    const { ask } = await start([{ name: 'r', measure: 'requests', limit: 1 }], { store: store as LimitStore })
    const statuses: number[] = []
    for (let count = 0; count < 20; count += 1) statuses.push((await ask()).status)
    expect(statuses.filter((status) => status === 200)).toHaveLength(1)
    expect(asked).toBeLessThan(20)
  })
})

it('takes a rule of any name, and limits of a principal that has nothing of it', async () => {
  const { ask } = await start([{ name: 'constructor', measure: 'requests', limit: 1 }])
  expect((await ask({ who: 'vip' })).status).toBe(200)
  expect((await ask({ who: 'vip' })).status).toBe(429)
})

it('counts a request whose body is none, and lets the route say so', async () => {
  const limiter = limits({
    rules: [
      { name: 'rpm', measure: 'requests', limit: 2 },
      { name: 'tpm', measure: 'tokens', limit: 100 },
    ],
  })
  onTestFinished(() => limiter.close())
  const route = endpoint('route', async (_context, req, res) => sendJson(res, 200, await jsonBody(req)))
  const { url } = await host.start(as, limiter, route, errorHandler({ log: { error() {}, warn() {} } }))
  const ask = async (body: string) => {
    const headers = { 'x-as': 'ada', 'content-type': 'application/json' }
    const response = await fetch(url, { method: 'POST', headers, body })
    return [response.status, ((await response.json()) as { code?: string }).code]
  }
  expect(await ask('{"model":')).toEqual([400, 'invalid_json'])
  expect(await ask('x'.repeat(1_100_000))).toEqual([413, 'payload_too_large'])
  expect(await ask('{}')).toEqual([429, 'rate_limited'])
})

describe('the factory', () => {
  const rule = { name: 'r', measure: 'requests', limit: 1 }
  it.each([
    ['no rule', [], /rules/],
    ['two of one name', [rule, rule], /names of their own/],
    ['a name with a blank', [{ ...rule, name: 'a b' }], /name/],
    ['an unknown measure', [{ ...rule, measure: 'cost' }], /measure/],
    ['a negative limit', [{ ...rule, limit: -1 }], /limit/],
    ['both kinds of window', [{ ...rule, windowMs: 5, calendar: 'day' }], /not both/],
    ['an unknown time zone', [{ ...rule, calendar: 'day', timeZone: 'Mars/Base' }], /Mars/],
    ['a window for concurrency', [{ ...rule, measure: 'concurrency', windowMs: 5 }], /concurrency/],
    ['thresholds of a rate', [{ ...rule, thresholds: [0.5] }], /thresholds/],
    ['an unknown field', [{ ...rule, window: 5 }], /window/],
  ])('refuses %s', (_name, rules, words) => {
    expect(() => limits({ rules: rules as never })).toThrow(words)
  })

  it('wants prices for money', () => {
    expect(() => limits({ rules: [{ name: 'r', measure: 'money', limit: 1 }] })).toThrow(/prices/)
  })
})

it('reserves and spends at the prices of whoever calls', async () => {
  const dear = markedUp(prices, 100)
  const pricesOf = (principal: Principal | undefined) => (principal?.tenant === 'globex' ? dear : undefined)
  const rule: LimitRule = { name: 'day', measure: 'money', per: 'tenant', limit: '0.01', calendar: 'day' }
  const limiter = limits({ rules: [rule], prices, pricesOf })
  onTestFinished(() => limiter.close())
  const { url } = await host.start(
    as,
    [
      '/standing',
      endpoint('standing', async (context, req, res) => sendJson(res, 200, await limiter.standing(req, context))),
    ],
    limiter,
    cost({ prices, pricesOf }),
    model,
  )
  const spent = async (who: string) => {
    const headers = { 'x-as': who, 'x-model': 'small', 'x-usage': '0/100' }
    const { headers: answered } = await fetch(url, { method: 'POST', headers })
    await expect
      .poll(async () => {
        const [standing] = (await (await fetch(`${url}/standing`, { headers })).json()) as Array<{
          used: number
          held: number
        }>
        return standing?.held
      })
      .toBe(0)
    const [standing] = (await (await fetch(`${url}/standing`, { headers })).json()) as Array<{ used: number }>
    return [standing?.used, answered.get('x-tollgate-cost-usd')]
  }
  expect(await spent('ada')).toEqual([200_000, '0.0002'])
  expect(await spent('eve')).toEqual([400_000, '0.0004'])
})

describe('an attempt that failed and is paid for', () => {
  const month: LimitRule = { name: 'month', measure: 'money', per: 'tenant', calendar: 'month', limit: '0.001' }
  const body = prompt('x', { max_tokens: 10 })

  it('counts though the next model is refused', async () => {
    const { ask, soon } = await start([month])
    // 100 tokens of small are 100,000 nano-USD; so many more of large are too much.
    const { status } = await ask({ model: 'small', fallback: 'large', spent: '100/0', body })
    expect(status).toBe(402)
    await soon('month', [100_000, 0])
  })

  it('leaves less for the next model', async () => {
    const { ask, soon } = await start([month])
    const refused = await ask({ model: 'small', fallback: 'small', spent: '990/0', usage: '5/5', body })
    expect(refused.status).toBe(402)
    await soon('month', [990_000, 0])
    const other = await start([month])
    const { status } = await other.ask({ model: 'small', fallback: 'small', spent: '900/0', usage: '10/10', body })
    expect(status).toBe(200)
    await other.soon('month', [930_000, 0])
  })

  it('is of the model that made it, where models have limits of their own', async () => {
    const rules: LimitRule[] = [
      { name: 'tokens', measure: 'tokens', per: ['tenant', 'model'], limit: 1_000, calendar: 'day' },
      { name: 'money', measure: 'money', per: ['tenant', 'model'], limit: '1', calendar: 'day' },
      { name: 'all', measure: 'tokens', per: 'tenant', limit: 10_000, calendar: 'day' },
    ]
    const limiter = limits({ rules, prices, store: memoryLimitStore() })
    onTestFinished(() => limiter.close())
    const standing: Handler = endpoint('standing', async (context, req, res) => {
      const target = { provider: 'p', model: String(req.headers['x-of']) }
      sendJson(res, 200, await limiter.standing(req, context, target))
    })
    const { url } = await host.start(as, ['/standing', standing], limiter, cost({ prices }), model)
    const headers = { 'x-as': 'ada', 'content-type': 'application/json' }
    const used = async (of: string) => {
      const response = await fetch(`${url}/standing`, { headers: { ...headers, 'x-of': of } })
      const all = (await response.json()) as Array<{ rule: string; used: number; held: number }>
      return all.map((each) => [each.rule, each.used, each.held])
    }
    await fetch(url, {
      method: 'POST',
      headers: { ...headers, 'x-model': 'small', 'x-fallback': 'large', 'x-spent': '100/0', 'x-usage': '3/4' },
      body: JSON.stringify(body),
    })
    await expect
      .poll(() => used('small'))
      .toEqual([
        ['tokens', 100, 0],
        ['money', 100_000, 0],
        ['all', 107, 0],
      ])
    expect(await used('large')).toEqual([
      ['tokens', 7, 0],
      ['money', 3 * 100_000 + 4 * 200_000, 0],
      ['all', 107, 0],
    ])
  })
})
