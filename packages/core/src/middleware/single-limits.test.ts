import { describe, expect, it, onTestFinished } from 'vitest'
import { eachHost } from '../../test/hosts.js'
import { endpoint } from '../http/handler.js'
import { dispatching, recordUsage } from '../http/record-usage.js'
import { sendJson } from '../http/respond.js'
import { priceTable } from '../price-table.js'
import { errorHandler } from './error-handler.js'
import { budget, concurrencyLimit, tokenLimit } from './single-limits.js'

const prices = priceTable({ list: false, overrides: { 'p/m': { usdPerMillionTokens: { input: '1', output: '1' } } } })
const call = endpoint('call', async (context, req, res) => {
  await dispatching(context, { provider: 'p', model: 'm' })
  recordUsage(req, { provider: 'p', model: 'm', usage: { inputTokens: 5, outputTokens: 5, estimated: false } })
  sendJson(res, 200, {})
})

eachHost((host) => {
  it.each([
    ['tokenLimit', () => tokenLimit({ limit: 10 }), 429, 'tokens'],
    ['budget', () => budget({ prices, limit: '0.00001' }), 402, 'budget'],
  ])('%s refuses when it is used up', async (_name, make, status, name) => {
    const limiter = make()
    onTestFinished(() => limiter.close())
    const { url } = await host.start(limiter, call, errorHandler({ log: { error() {}, warn() {} } }))
    const ask = () => {
      const body = JSON.stringify({ model: 'm', prompt: 'x', max_tokens: 1 })
      return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
    }
    expect((await ask()).status).toBe(200)
    await expect.poll(async () => (await ask()).status).toBe(status)
    expect(await (await ask()).json()).toMatchObject({ 'violated-policies': [name] })
  })

  it('concurrencyLimit refuses what would run beside', async () => {
    const limiter = concurrencyLimit({ limit: 1, name: 'places' })
    onTestFinished(() => limiter.close())
    const waiting: Array<() => void> = []
    const slow = endpoint('slow', async (_context, _req, res) => {
      await new Promise<void>((resolve) => waiting.push(resolve))
      sendJson(res, 200, {})
    })
    const { url } = await host.start(limiter, slow, errorHandler({ log: { error() {}, warn() {} } }))
    const first = fetch(url)
    await expect.poll(() => waiting.length).toBe(1)
    expect((await fetch(url)).status).toBe(429)
    waiting[0]?.()
    expect((await first).status).toBe(200)
  })
})

describe('options', () => {
  it('of both are checked', () => {
    expect(() => tokenLimit({ limit: -1 })).toThrow(/limit/)
    expect(() => tokenLimit({ limit: 1, strore: 5 } as never)).toThrow(/strore/)
  })
})
