import type { ServerResponse } from 'node:http'
import compression from 'compression'
import express from 'express'
import { describe, expect, it, vi } from 'vitest'
import { ask, counting, serve, who } from '../../test/cached-handler.js'
import { eachHost, listen } from '../../test/hosts.js'
import { isTollgateError } from '../errors.js'
import type { RequestContext } from '../http/context.js'
import { endpoint, type Handler, middleware } from '../http/handler.js'
import { onEnd } from '../http/observe.js'
import { recordUsage } from '../http/record-usage.js'
import { sendJson } from '../http/respond.js'
import type { CacheStore } from '../stores/cache-store.js'
import { memoryCacheStore } from '../stores/memory-cache-store.js'
import { type CacheOptions, cache } from './cache.js'
import { cost } from './cost.js'

eachHost((host) => {
  it('answers the second request from the store: same bytes, Age, Cache-Status', async () => {
    const { handler, runs } = counting((_req, res, run) => sendJson(res, 200, { run, text: 'é' }))
    const { url } = await host.start(who, cache(), handler)
    const first = await ask(url)
    expect(first).toMatchObject({ status: 200, cacheStatus: 'tollgate; fwd=uri-miss; fwd-status=200; stored' })
    expect(first.headers.get('cache-control')).toBe('private, no-store')
    expect(first.headers.has('age')).toBe(false)
    const second = await ask(url)
    expect(second.body).toEqual(first.body)
    expect(second.cacheStatus).toMatch(/^tollgate; hit; ttl=(59|60)$/)
    expect(second.headers.get('age')).toBe('0')
    expect(second.headers.get('cache-control')).toBe('private, no-store')
    expect(second.headers.get('content-type')).toBe('application/json; charset=utf-8')
    expect(second.headers.get('content-length')).toBe(first.headers.get('content-length'))
    expect(second.headers.get('x-request-id')).not.toBe(first.headers.get('x-request-id'))
    expect(runs()).toBe(1)
  })

  it('refuses only-if-cached without an answer', async () => {
    const { handler, runs } = counting()
    const { url } = await host.start(who, cache(), handler)
    expect((await ask(url, { headers: { 'cache-control': 'only-if-cached' } })).status).toBe(504)
    expect(runs()).toBe(0)
  })

  it('passes the body on to the handler', async () => {
    const { url } = await host.start(
      who,
      cache(),
      endpoint('echo', (_context, req, res) => sendJson(res, 200, { got: (req as { body?: unknown }).body })),
    )
    expect((await ask(url, { body: { prompt: 'x' } })).body).toEqual({ got: { prompt: 'x' } })
  })
})

describe('with the parsers and answers of a host', () => {
  it('works behind express.json and with res.json', async () => {
    let runs = 0
    const app = express()
    app.use(express.json(), who)
    app.post('/ask', cache(), (_req, res) => {
      runs += 1
      res.json({ run: runs })
    })
    const { url } = await listen(app)
    expect((await ask(url)).cacheStatus).toBe('tollgate; fwd=uri-miss; fwd-status=200; stored')
    expect((await ask(url)).body).toEqual({ run: 1 })
  })

  it('keeps what the handler wrote, not what compression made of it', async () => {
    const text = 'compressible '.repeat(200)
    const app = express()
    app.use(compression({ threshold: 0 }), who, cache())
    app.post('/ask', (_req, res) => void res.json({ text }))
    const { url } = await listen(app)
    const miss = await ask(url)
    const hit = await ask(url, { headers: { 'accept-encoding': 'identity' } })
    expect(miss.headers.get('content-encoding')).not.toBeNull()
    expect(hit.headers.get('content-encoding')).toBeNull()
    expect(hit.cacheStatus).toContain('hit')
    expect([miss.body, hit.body]).toEqual([{ text }, { text }])
  })

  it('works before express.json', async () => {
    const app = express()
    app.use(who, cache(), express.json())
    app.post('/ask', (req, res) => void res.json({ got: req.body }))
    const { url } = await listen(app)
    await ask(url)
    expect((await ask(url)).body).toEqual({ got: { prompt: 'hi' } })
  })

  it.each<[string, (res: ServerResponse) => void]>([
    ['chunks', (res) => void res.setHeader('content-type', 'application/json').write('{"a":')],
    ['writeHead with a list', (res) => void res.writeHead(200, ['content-type', 'application/json']).write('{"a":')],
    [
      'writeHead with a reason',
      (res) => void res.writeHead(200, 'Fine', { 'content-type': 'application/json' }).write('{"a":'),
    ],
    [
      'a buffer used again',
      (res) => {
        res.setHeader('content-type', 'application/json')
        const buffer = Buffer.from('{"a":')
        res.write(buffer, () => buffer.fill(0x20))
      },
    ],
  ])('keeps an answer written as %s', async (_name, begin) => {
    let runs = 0
    const handler: Handler = (_req, res) => {
      runs += 1
      begin(res)
      setImmediate(() => res.end('1}'))
    }
    const url = await serve({}, handler)
    const first = await ask(url)
    expect(first.cacheStatus).toContain('stored')
    expect((await ask(url)).body).toEqual({ a: 1 })
    expect(runs).toBe(1)
  })
})

describe('a hit', () => {
  it('costs nothing, says so, and names the model that answered', async () => {
    const ends: Array<Pick<RequestContext, 'cache' | 'costNanoUsd' | 'usage' | 'target'>> = []
    const watch = middleware('watch', (context, req, res) => {
      onEnd(req, res, () => ends.push({ ...context }))
    })
    const handler = endpoint('priced', (context, req, res) => {
      recordUsage(req, {
        provider: 'p',
        model: 'm-1',
        usage: { inputTokens: 1_000, outputTokens: 0, estimated: false },
      })
      sendJson(res, 200, { id: context.id, cost: context.costNanoUsd, cached: false })
    })
    const pricing = cost({ overrides: { 'p/m-1': { usdPerMillionTokens: { input: 1 }, usdPerRequest: '0.5' } } })
    const onHit: CacheOptions['onHit'] = (stored, context) => ({
      ...(stored as object),
      id: context.id,
      cost: context.costNanoUsd,
      cached: true,
    })
    const url = await serve({ onHit }, handler, watch, pricing)
    const miss = await ask(url, { headers: { 'x-request-id': 'one' } })
    const hit = await ask(url, { headers: { 'x-request-id': 'two' } })
    expect(miss.body).toEqual({ id: 'one', cost: 501_000_000, cached: false })
    expect(hit.body).toEqual({ id: 'two', cost: 0, cached: true })
    expect(miss.headers.get('x-tollgate-cost-usd')).toBe('0.501')
    expect(hit.headers.get('x-tollgate-cost-usd')).toBe('0')
    await vi.waitFor(() => expect(ends).toHaveLength(2), 10_000)
    expect(ends.map(({ cache: outcome, costNanoUsd }) => [outcome, costNanoUsd])).toEqual([
      ['miss', 501_000_000],
      ['hit', 0],
    ])
    expect(ends[1]).toMatchObject({
      target: { provider: 'p', model: 'm-1' },
      usage: { inputTokens: 0, outputTokens: 0 },
    })
  })

  it('gives an error of onHit to the error handler', async () => {
    const { handler } = counting()
    const url = await serve(
      {
        onHit: () => {
          throw new Error('no')
        },
      },
      handler,
    )
    await ask(url)
    expect((await ask(url)).status).toBe(500)
  })

  it('keeps the headers that it is told to keep, and no others', async () => {
    const { handler } = counting((_req, res, run) =>
      sendJson(res, 200, { run }, { 'content-language': 'en', 'x-model': 'm', 'x-secret': 's' }),
    )
    const url = await serve({ keepHeaders: ['X-Model'] }, handler)
    await ask(url)
    const { headers } = await ask(url)
    expect([headers.get('content-language'), headers.get('x-model'), headers.get('x-secret')]).toEqual([
      'en',
      'm',
      null,
    ])
  })

  it('adds itself behind the Cache-Status of others', async () => {
    const { handler } = counting()
    const outer = middleware('outer', (_context, _req, res) => void res.setHeader('cache-status', 'edge; fwd=miss'))
    const url = await serve({ name: 'ours' }, handler, outer)
    expect((await ask(url)).cacheStatus).toBe('edge; fwd=miss, ours; fwd=uri-miss; fwd-status=200; stored')
    expect((await ask(url)).cacheStatus).toMatch(/^edge; fwd=miss, ours; hit; ttl=\d+$/)
  })
})

describe('a store that fails', () => {
  const failing = (over: Partial<CacheStore>): CacheStore => ({
    get: () => undefined,
    set: () => {},
    delete: () => {},
    close: () => {},
    ...over,
  })
  const broken = () => {
    throw new Error('store is down')
  }

  it.each<[string, Partial<CacheStore>, string]>([
    ['get throws', { get: broken }, 'tollgate; fwd=bypass; detail=store'],
    ['get rejects', { get: async () => broken() }, 'tollgate; fwd=bypass; detail=store'],
    ['get never answers', { get: () => new Promise(() => {}) }, 'tollgate; fwd=bypass; detail=store'],
    ['set throws', { set: broken }, 'tollgate; fwd=uri-miss; fwd-status=200; stored'],
    ['set rejects', { set: async () => broken() }, 'tollgate; fwd=uri-miss; fwd-status=200; stored'],
  ])('fails no request and is warned of once: %s', async (_name, over, status) => {
    const warn = vi.fn()
    const log = { debug() {}, info() {}, warn, error() {} }
    const { handler, runs } = counting()
    const url = await serve(
      { store: failing(over), storeTimeoutMs: 10 },
      handler,
      middleware('log', (context) => {
        context.log = log
      }),
    )
    expect(await ask(url)).toMatchObject({ status: 200, cacheStatus: status })
    expect(await ask(url)).toMatchObject({ status: 200, cacheStatus: status })
    expect(runs()).toBe(2)
    await vi.waitFor(() => expect(warn).toHaveBeenCalledOnce(), 10_000)
  })

  it('works with a store that answers later', async () => {
    const memory = memoryCacheStore()
    const { handler } = counting()
    const url = await serve(
      { store: failing({ get: async (key) => memory.get(key), set: async (key, entry) => memory.set(key, entry) }) },
      handler,
    )
    await ask(url)
    await vi.waitFor(async () => expect((await ask(url)).cacheStatus).toContain('hit'), 10_000)
  })
})

describe('options', () => {
  it.each<[string, unknown, RegExp]>([
    ['unknown', { ttl: 5 }, /ttl/],
    ['a wrong scope', { scope: 'everyone' }, /scope/],
    ['a name that is no token', { name: 'a b' }, /name/],
    ['no methods', { methods: [] }, /methods/],
    ['a store that is none', { store: {} }, /store/],
  ])('refuses %s', (_name, options, message) => {
    expect(() => cache(options as CacheOptions)).toThrow(message)
    try {
      cache(options as CacheOptions)
    } catch (error) {
      expect(isTollgateError(error, 'config_invalid')).toBe(true)
    }
  })
})
