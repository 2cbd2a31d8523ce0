import { describe, expect, it, vi } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import type { Log, RequestContext } from '../http/context.js'
import { endpoint, type Handler, listener, middleware } from '../http/handler.js'
import { dispatching, recordUsage } from '../http/record-usage.js'
import { sendJson } from '../http/respond.js'
import { priceTable } from '../price-table.js'
import type { Target } from '../target.js'
import type { Usage } from '../usage.js'
import { type CostOptions, cost } from './cost.js'

const overrides = {
  'p/priced': { usdPerMillionTokens: { input: 1, output: '2.5' } },
  'p/free': { free: true },
} as const
const used: Usage = { inputTokens: 1_000, outputTokens: 100, estimated: false }

/** Dispatches, records, and answers with what the context then says. */
function calling(recorded: { model: string; provider?: string; usage?: Usage }, dispatched?: Target): Handler {
  return endpoint('calling', async (context, req, res) => {
    if (dispatched !== undefined) await dispatching(context, dispatched)
    recordUsage(req, { usage: used, ...recorded })
    sendJson(res, 200, { costNanoUsd: context.costNanoUsd ?? null })
  })
}

async function costOf(options: CostOptions, handler: Handler, ...before: Handler[]) {
  const { url } = await listen(listener(...before, cost(options), handler))
  const response = await fetch(url)
  const body = response.status === 200 ? await response.json() : undefined
  return { status: response.status, body, header: response.headers.get('x-tollgate-cost-usd') }
}

function logged(): { log: Handler; warn: ReturnType<typeof vi.fn> } {
  const warn = vi.fn()
  const log: Log = { debug() {}, info() {}, warn, error() {} }
  return {
    warn,
    log: middleware('log', (context: RequestContext) => {
      context.log = log
    }),
  }
}

eachHost((host) => {
  it('prices what is recorded at once, in the answer and in a header', async () => {
    const { url } = await host.start(cost({ overrides }), calling({ provider: 'p', model: 'priced' }))
    const response = await fetch(url)
    expect(await response.json()).toEqual({ costNanoUsd: 1_250_000 })
    expect(response.headers.get('x-tollgate-cost-usd')).toBe('0.00125')
  })

  it('refuses a target without a price before it is called', async () => {
    const called = vi.fn()
    const { url } = await host.start(
      cost({ overrides }),
      endpoint('calls', async (context, _req, res) => {
        await dispatching(context, { provider: 'p', model: 'unheard-of' })
        called()
        res.end()
      }),
    )
    expect((await fetch(url)).status).toBe(400)
    expect(called).not.toHaveBeenCalled()
  })
})

describe('a price that nobody knows', () => {
  const unheard = { provider: 'p', model: 'unheard-of' }

  it('refuses by default, also a model with a list price at a provider that is not its vendor', async () => {
    expect(await costOf({}, calling(unheard, unheard))).toMatchObject({ status: 400 })
    const local = { provider: 'ollama', model: 'gpt-4o' }
    expect(await costOf({}, calling(local, local))).toMatchObject({ status: 400 })
  })

  it('is no cost at all with allow: never 0, and warned of once a model', async () => {
    const { log, warn } = logged()
    const { url } = await listen(listener(log, cost({ unknownPrice: 'allow' }), calling(unheard, unheard)))
    for (let times = 0; times < 3; times += 1) {
      const response = await fetch(url)
      expect(await response.json()).toEqual({ costNanoUsd: null })
      expect(response.headers.has('x-tollgate-cost-usd')).toBe(false)
    }
    expect(warn).toHaveBeenCalledExactlyOnceWith(unheard, expect.stringContaining("'p/unheard-of'"))
  })

  it('is flat where that was asked for, and only for what has no price', async () => {
    const { log, warn } = logged()
    const flat = { overrides, unknownPrice: { flatUsd: '0.02' } }
    expect(await costOf(flat, calling(unheard, unheard), log)).toMatchObject({
      body: { costNanoUsd: 20_000_000 },
      header: '0.02',
    })
    expect(warn).toHaveBeenCalledOnce()
    expect(await costOf(flat, calling({ provider: 'p', model: 'priced' }))).toMatchObject({
      body: { costNanoUsd: 1_250_000 },
    })
  })

  it('of a call already made is no cost, also with reject: the answer is not lost', async () => {
    const { log, warn } = logged()
    expect(await costOf({}, calling(unheard), log)).toEqual({ status: 200, body: { costNanoUsd: null }, header: null })
    expect(warn).toHaveBeenCalledOnce()
  })

  it('of something used: output of a model that is priced by input', async () => {
    const embedding = { 'p/e': { usdPerMillionTokens: { input: 1 } } }
    expect(
      await costOf(
        { overrides: embedding, unknownPrice: 'allow' },
        calling({ provider: 'p', model: 'e' }),
        logged().log,
      ),
    ).toMatchObject({
      body: { costNanoUsd: null },
    })
  })
})

describe('which model is priced', () => {
  it('the one that answered, if its price is known', async () => {
    const dispatched = { provider: 'p', model: 'free' }
    expect(await costOf({ overrides }, calling({ provider: 'p', model: 'priced' }, dispatched))).toMatchObject({
      body: { costNanoUsd: 1_250_000 },
    })
  })

  it('else the one that was asked for, at the same provider', async () => {
    const dispatched = { provider: 'p', model: 'priced' }
    const dated = { provider: 'p', model: 'priced-2027-01-01' }
    expect(await costOf({ overrides }, calling(dated, dispatched))).toMatchObject({ body: { costNanoUsd: 1_250_000 } })
    const elsewhere = { provider: 'q', model: 'priced-2027-01-01' }
    expect(await costOf({ overrides }, calling(elsewhere, dispatched), logged().log)).toMatchObject({
      body: { costNanoUsd: null },
    })
  })

  it('of the provider that was dispatched, where the record names none', async () => {
    const local = { 'ollama/*': { free: true } } as const
    const dispatched = { provider: 'ollama', model: 'gpt-4o' }
    expect(await costOf({ overrides: local }, calling({ model: 'gpt-4o' }, dispatched))).toMatchObject({
      body: { costNanoUsd: 0 },
      header: '0',
    })
  })

  it('by name alone, for a handler that calls OpenAI by hand', async () => {
    expect(await costOf({}, calling({ model: 'gpt-4o-2024-11-20' }))).toMatchObject({
      body: { costNanoUsd: 3_500_000 },
    })
  })
})

describe('options', () => {
  it('headers: false tells the caller nothing', async () => {
    expect(await costOf({ overrides, headers: false }, calling({ provider: 'p', model: 'priced' }))).toMatchObject({
      body: { costNanoUsd: 1_250_000 },
      header: null,
    })
  })

  it('takes a table', async () => {
    const prices = priceTable({ overrides, list: false })
    expect(await costOf({ prices }, calling({ provider: 'p', model: 'free' }))).toMatchObject({
      body: { costNanoUsd: 0 },
    })
  })

  it('records after the headers went out without a throw', async () => {
    const late = endpoint('late', (_context, req, res) => {
      res.writeHead(200, { 'content-type': 'application/json' })
      recordUsage(req, { provider: 'p', model: 'priced', usage: used })
      res.end('{}')
    })
    expect(await costOf({ overrides }, late)).toEqual({ status: 200, body: {}, header: null })
  })

  it.each<[string, unknown, RegExp]>([
    ['unknown ones', { price: 1 }, /price/],
    ['prices and overrides', { prices: priceTable(), overrides: {} }, /not both/],
    ['a policy that is none', { unknownPrice: 'zero' }, /unknownPrice/],
    ['a flat price that is none', { unknownPrice: { flatUsd: 'x' } }, /x/],
    ['a table that is none', { prices: {} }, /prices/],
  ])('refuses %s', (_name, options, message) => {
    expect(() => cost(options as CostOptions)).toThrow(
      expect.objectContaining({ code: 'config_invalid', message: expect.stringMatching(message) }),
    )
  })
})
