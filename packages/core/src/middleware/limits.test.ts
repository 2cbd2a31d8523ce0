import { describe, expect, it, onTestFinished } from 'vitest'
import { eachHost } from '../../test/hosts.js'
import { as, host, prompt, start } from '../../test/limited-model.js'
import { jsonBody } from '../http/body.js'
import { endpoint } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import { errorHandler } from './error-handler.js'
import { type LimitRule, limits } from './limits.js'

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
