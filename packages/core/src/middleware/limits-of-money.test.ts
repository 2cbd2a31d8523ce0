import { request } from 'node:http'
import { describe, expect, it, onTestFinished } from 'vitest'
import { as, host, model, prices, prompt, start } from '../../test/limited-model.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import { markedUp } from '../marked-up-prices.js'
import { priceTable } from '../price-table.js'
import type { Principal } from '../principal.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import { cost } from './cost.js'
import { errorHandler } from './error-handler.js'
import { type LimitRule, limits } from './limits.js'

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
