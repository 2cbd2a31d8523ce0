import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect } from 'node:net'
import compression from 'compression'
import express from 'express'
import { describe, expect, it, vi } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { isTollgateError } from '../errors.js'
import { contextOf, type RequestContext } from '../http/context.js'
import { endpoint, type Handler, listener, middleware } from '../http/handler.js'
import { onEnd } from '../http/observe.js'
import { recordUsage } from '../http/record-usage.js'
import { sendJson } from '../http/respond.js'
import type { Principal } from '../principal.js'
import type { CacheStore } from '../stores/cache-store.js'
import { memoryCacheStore } from '../stores/memory-cache-store.js'
import { type CacheOptions, cache } from './cache.js'
import { cost } from './cost.js'

/** `x-who: tenant/subject/tier/scopes` stands for what `auth` finds. */
const who = middleware('who', (context, req) => {
  const given = req.headers['x-who']
  if (typeof given !== 'string') return
  const [tenant = '', subject = '', tier, scopes = ''] = given.split('/')
  const principal: Principal = {
    tenant,
    subject,
    method: 'test',
    scopes: scopes.split(' ').filter((scope) => scope !== ''),
    ...(tier === undefined || tier === '' ? {} : { tier }),
  }
  context.principal = principal
})

interface Asking {
  body?: unknown
  who?: string | undefined
  path?: string
  headers?: Record<string, string>
  method?: string
  signal?: AbortSignal
}

interface Told {
  status: number
  body: { run?: number; [name: string]: unknown }
  cacheStatus: string | null
  headers: Headers
}

async function ask(url: string, asking: Asking = {}): Promise<Told> {
  const { body = { prompt: 'hi' }, who: caller = 'acme/ann', path = '/ask', headers, method = 'POST', signal } = asking
  const response = await fetch(url + path, {
    method,
    headers: {
      ...(method === 'GET' ? {} : { 'content-type': 'application/json' }),
      ...(caller === '' ? {} : { 'x-who': caller }),
      ...headers,
    },
    ...(method === 'GET' ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  })
  const text = await response.text()
  return {
    status: response.status,
    body: response.headers.get('content-type')?.includes('json') ? JSON.parse(text) : {},
    cacheStatus: response.headers.get('cache-status'),
    headers: response.headers,
  }
}

/** Answers with how often it has run. */
function counting(answer?: (req: IncomingMessage, res: ServerResponse, run: number) => void | Promise<void>) {
  let runs = 0
  const handler = endpoint('counting', (_context, req, res) => {
    runs += 1
    if (answer !== undefined) return answer(req, res, runs)
    sendJson(res, 200, { run: runs })
  })
  return { handler, runs: () => runs }
}

async function serve(options: CacheOptions, handler: Handler, ...before: Handler[]) {
  return (await listen(listener(who, ...before, cache(options), handler))).url
}

/** A door that handlers wait at. */
function gate() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

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

describe('who shares', () => {
  it.each([
    ['another subject', 'acme/bob'],
    ['another tenant', 'other/ann'],
    ['names that join to the same text', 'acme%2Fann/'],
    ['another tier', 'acme/ann/pro'],
    ['other scopes', 'acme/ann//read'],
    ['nobody', ''],
  ])('never the answer of one caller with %s', async (_name, other) => {
    const { handler, runs } = counting()
    const url = await serve({ anonymous: 'share' }, handler)
    await ask(url, { who: 'acme/ann' })
    await ask(url, { who: other })
    expect(runs()).toBe(2)
    expect((await ask(url, { who: 'acme/ann' })).body).toEqual({ run: 1 })
    expect((await ask(url, { who: other })).body).toEqual({ run: 2 })
  })

  it('the tenant, where that was asked for, and no other tenant', async () => {
    const { handler } = counting()
    const url = await serve({ scope: 'tenant' }, handler)
    await ask(url, { who: 'acme/ann' })
    expect((await ask(url, { who: 'acme/bob' })).body).toEqual({ run: 1 })
    expect((await ask(url, { who: 'other/bob' })).body).toEqual({ run: 2 })
  })

  it('what a function says, or nobody', async () => {
    const { handler } = counting()
    const url = await serve({ scope: (context) => context.principal?.subject }, handler)
    await ask(url, { who: 'acme/ann' })
    expect((await ask(url, { who: 'other/ann' })).body).toEqual({ run: 1 })
    expect((await ask(url, { who: '' })).cacheStatus).toBe('tollgate; fwd=bypass; detail=no-principal')
    // A function's word cannot be made to look like another kind of scope.
    const posing = await serve({ scope: () => 'acme/ann', store: memoryCacheStore() }, handler)
    await ask(posing)
    expect((await ask(posing)).cacheStatus).toContain('hit')
  })

  it('not callers without a principal, unless told so, and never ones with credentials', async () => {
    const { handler, runs } = counting()
    const closed = await serve({}, handler)
    await ask(closed, { who: '' })
    expect((await ask(closed, { who: '' })).cacheStatus).toBe('tollgate; fwd=bypass; detail=no-principal')
    expect(runs()).toBe(2)
    const open = await serve({ anonymous: 'share' }, handler)
    await ask(open, { who: '' })
    expect((await ask(open, { who: '' })).cacheStatus).toContain('hit')
    for (const headers of [{ authorization: 'Bearer x' }, { cookie: 'a=b' }, { 'x-api-key': 'k' }]) {
      expect((await ask(open, { who: '', headers })).cacheStatus).toContain('fwd=bypass')
    }
  })
})

describe('what is the same request', () => {
  it.each<[string, Asking, Asking]>([
    ['keys in another order', { body: '{"a":1,"b":{"c":1,"d":2}}' }, { body: '{"b":{"d":2,"c":1},"a":1}' }],
    ['numbers written differently', { body: '{"a":1.0,"b":100}' }, { body: '{"a":1,"b":1e2}' }],
    ['texts escaped differently', { body: '{"a":"\\u00e9"}' }, { body: '{"a":"é"}' }],
    ['white space', { body: '{"a": 1}' }, { body: '{"a":1}' }],
  ])('%s', async (_name, left, right) => {
    const { handler, runs } = counting()
    const url = await serve({}, handler)
    await ask(url, left)
    await ask(url, right)
    expect(runs()).toBe(1)
  })

  it.each<[string, Asking, Asking]>([
    ['the model', { body: { model: 'a', prompt: 'x' } }, { body: { model: 'b', prompt: 'x' } }],
    ['the version', { body: { version: '1' } }, { body: { version: '2' } }],
    ['a number and its text', { body: { a: 1 } }, { body: { a: '1' } }],
    ['null and nothing', { body: { a: null } }, { body: {} }],
    ['structure in a text', { body: ['a', 'b'] }, { body: ['a1:b'] }],
    ['nesting', { body: [[1], 2] }, { body: [[1, 2]] }],
    ['order in a list', { body: [1, 2] }, { body: [2, 1] }],
    ['__proto__', { body: '{"__proto__":{"a":1}}' }, { body: '{"__proto__":{"a":2}}' }],
    ['__proto__ and nothing', { body: '{"__proto__":{"a":1}}' }, { body: '{}' }],
    ['the path', { path: '/ask' }, { path: '/other' }],
    ['the query', { path: '/ask?a=1' }, { path: '/ask?a=2' }],
    ['Accept', { headers: { accept: 'application/json' } }, { headers: { accept: 'text/plain' } }],
  ])('not when they differ in %s', async (_name, left, right) => {
    const { handler, runs } = counting()
    const url = await serve({}, handler)
    await ask(url, left)
    await ask(url, right)
    expect(runs()).toBe(2)
  })

  it('tells headers apart that it is told of', async () => {
    const { handler, runs } = counting((_req, res, run) => sendJson(res, 200, { run }, { vary: 'X-Flavour' }))
    const url = await serve({ keyHeaders: ['X-Flavour'] }, handler)
    await ask(url, { headers: { 'x-flavour': 'mint' } })
    await ask(url, { headers: { 'x-flavour': 'lemon' } })
    await ask(url, { headers: { 'x-flavour': 'mint' } })
    expect(runs()).toBe(2)
  })

  it('under a mounted path, by the whole path', async () => {
    const { handler, runs } = counting()
    const shared = cache()
    const app = express()
    app.use(who)
    app.use('/a', shared, handler)
    app.use('/b', shared, handler)
    const { url } = await listen(app)
    await ask(url, { path: '/a/x' })
    await ask(url, { path: '/b/x' })
    expect(runs()).toBe(2)
  })
})

describe('what is let through', () => {
  it.each<[string, Asking, string, CacheOptions?]>([
    ['a stream', { body: { stream: true } }, 'fwd=bypass; detail=stream'],
    ['an Accept of events', { headers: { accept: 'text/event-stream' } }, 'fwd=bypass'],
    ['a temperature', { body: { temperature: 0.2 } }, 'fwd=bypass; detail=temperature'],
    ['a body that is not JSON', { headers: { 'content-type': 'text/plain' } }, 'fwd=bypass; detail=not-json'],
    ['a body nested too deeply', { body: `${'['.repeat(80)}${']'.repeat(80)}` }, 'fwd=bypass; detail=body'],
    ['a lone surrogate', { body: '{"a":"\\ud800"}' }, 'fwd=bypass; detail=body'],
    ['another method', { method: 'GET' }, 'fwd=method'],
    ['no-store', { headers: { 'cache-control': 'max-age=5, No-Store' } }, 'fwd=request'],
    ['a Range', { headers: { range: 'bytes=0-1' } }, 'fwd=bypass'],
    [
      'what cacheable refuses',
      {},
      'fwd=bypass',
      { cacheable: (_req, body) => (body as { keep?: true }).keep === true },
    ],
  ])('%s', async (_name, asking, why, options = {}) => {
    const { handler, runs } = counting()
    const url = await serve(options, handler)
    expect((await ask(url, asking)).cacheStatus).toBe(`tollgate; ${why}`)
    expect((await ask(url, asking)).cacheStatus).toBe(`tollgate; ${why}`)
    expect(runs()).toBe(2)
  })

  it('not a temperature of 0, nor one over 0 where that was asked for', async () => {
    const { handler } = counting()
    const url = await serve({ nondeterministic: true }, handler)
    for (const temperature of [0, 0.7]) {
      await ask(url, { body: { temperature } })
      expect((await ask(url, { body: { temperature } })).cacheStatus).toContain('hit')
    }
  })

  it('caches GET where that was asked for', async () => {
    const { handler } = counting()
    const url = await serve({ methods: ['GET'] }, handler)
    await ask(url, { method: 'GET' })
    expect((await ask(url, { method: 'GET' })).body).toEqual({ run: 1 })
    expect((await ask(url)).cacheStatus).toBe('tollgate; fwd=method')
  })

  it('answers invalid JSON with the error of the body', async () => {
    const { handler, runs } = counting()
    const url = await serve({}, handler)
    const response = await fetch(`${url}/ask`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{',
    })
    expect(response.status).toBe(400)
    expect(runs()).toBe(0)
  })
})

describe('Cache-Control of a request', () => {
  it('no-cache and max-age=0 run the handler and renew what is kept', async () => {
    const { handler } = counting()
    const url = await serve({}, handler)
    await ask(url)
    for (const [directive, run] of [
      ['no-cache', 2],
      ['max-age=0', 3],
    ] as const) {
      const told = await ask(url, { headers: { 'cache-control': directive } })
      expect(told).toMatchObject({ body: { run }, cacheStatus: 'tollgate; fwd=request; fwd-status=200; stored' })
    }
    expect((await ask(url)).body).toEqual({ run: 3 })
  })

  it('max-age and min-fresh choose by age; only-if-cached takes what is kept', async () => {
    let nowMs = 1_000_000
    const { handler, runs } = counting()
    const url = await serve({ now: () => nowMs, ttlMs: 60_000 }, handler)
    await ask(url)
    nowMs += 20_000
    const kept = await ask(url, { headers: { 'cache-control': 'max-age=30, min-fresh=30, only-if-cached' } })
    expect(kept.cacheStatus).toBe('tollgate; hit; ttl=40')
    expect(kept.headers.get('age')).toBe('20')
    expect((await ask(url, { headers: { 'cache-control': 'min-fresh=50' } })).body).toEqual({ run: 2 })
    nowMs += 20_000
    expect((await ask(url, { headers: { 'cache-control': 'max-age=10' } })).body).toEqual({ run: 3 })
    expect(runs()).toBe(3)
    nowMs += 60_000
    expect((await ask(url)).body).toEqual({ run: 4 })
  })
})

describe('what is not kept', () => {
  it.each<[string, (res: ServerResponse) => void, CacheOptions?]>([
    ['a 500', (res) => sendJson(res, 500, {})],
    ['a 404', (res) => sendJson(res, 404, {})],
    ['a 201', (res) => sendJson(res, 201, {})],
    ['text', (res) => void res.setHeader('content-type', 'text/plain').end('{}')],
    ['an answer without a type', (res) => void res.end('{}')],
    ['cookies', (res) => sendJson(res, 200, {}, { 'set-cookie': 'a=b' })],
    [
      'cookies in a list',
      (res) => void res.writeHead(200, ['content-type', 'application/json', 'set-cookie', 'a']).end('{}'),
    ],
    ['no-store', (res) => sendJson(res, 200, {}, { 'cache-control': 'private, no-store' })],
    ['no-cache', (res) => sendJson(res, 200, {}, { 'cache-control': 'no-cache' })],
    ['max-age=0', (res) => sendJson(res, 200, {}, { 'cache-control': 'max-age=0' })],
    ['private in a shared scope', (res) => sendJson(res, 200, {}, { 'cache-control': 'private' }), { scope: 'tenant' }],
    ['Vary: *', (res) => sendJson(res, 200, {}, { vary: '*' })],
    ['Vary by what is not in the key', (res) => sendJson(res, 200, {}, { vary: 'Accept, X-Flavour' })],
    ['an encoding', (res) => sendJson(res, 200, {}, { 'content-encoding': 'gzip' })],
    ['too large', (res) => sendJson(res, 200, { a: 'x'.repeat(100) }), { maxEntryBytes: 64 }],
    [
      'too large, in chunks',
      (res) => {
        res.setHeader('content-type', 'application/json').write(`"${'x'.repeat(40)}`)
        res.end(`${'x'.repeat(40)}"`)
      },
      { maxEntryBytes: 64 },
    ],
    [
      'not JSON though it says so, where somebody will read it',
      (res) => {
        res.setHeader('content-type', 'application/json').end('{')
      },
      { onHit: (stored) => stored },
    ],
  ])('%s', async (_name, answer, options = {}) => {
    let runs = 0
    const url = await serve(options, (_req, res) => {
      runs += 1
      answer(res)
    })
    const send = () =>
      fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', 'x-who': 'a/b' }, body: '{}' }).then(
        (response) => response.text().catch(() => ''),
      )
    await send()
    await send()
    expect(runs).toBe(2)
  })

  it("says so, and keeps the rest of the handler's headers", async () => {
    const { handler } = counting((_req, res) => sendJson(res, 429, {}, { 'retry-after': '1' }))
    const url = await serve({}, handler)
    const told = await ask(url)
    expect(told.cacheStatus).toBe('tollgate; fwd=uri-miss; fwd-status=429')
    expect(told.headers.get('retry-after')).toBe('1')
  })

  it('a max-age of the handler shortens the time', async () => {
    let nowMs = 5_000
    const { handler } = counting((_req, res, run) =>
      sendJson(res, 200, { run }, { 'cache-control': 'private, max-age=10' }),
    )
    const url = await serve({ now: () => nowMs }, handler)
    expect((await ask(url)).headers.get('cache-control')).toBe('private, max-age=10')
    expect((await ask(url)).cacheStatus).toBe('tollgate; hit; ttl=10')
    nowMs += 10_000
    expect((await ask(url)).body).toEqual({ run: 2 })
  })

  it('a Cache-Control preset for all answers forbids nothing and is kept', async () => {
    const { handler } = counting()
    const preset = middleware('preset', (_context, _req, res) => void res.setHeader('cache-control', 'no-store'))
    const url = await serve({}, handler, preset)
    expect((await ask(url)).headers.get('cache-control')).toBe('no-store')
    const hit = await ask(url)
    expect(hit.cacheStatus).toContain('hit')
    expect(hit.headers.get('cache-control')).toBe('no-store')
  })

  it('an answer that broke off', async () => {
    let runs = 0
    const url = await serve({}, (_req, res) => {
      runs += 1
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
      res.write('{"half":', () => res.destroy())
    })
    await expect(ask(url)).rejects.toThrow()
    await expect(ask(url)).rejects.toThrow()
    expect(runs).toBe(2)
  })
})

describe('identical requests in flight', () => {
  it('run the handler once', async () => {
    const door = gate()
    const outcomes: Array<RequestContext['cache']> = []
    const { handler, runs } = counting(async (_req, res, run) => {
      await door.opened
      sendJson(res, 200, { run })
    })
    let arrived = 0
    const all = gate()
    const count = middleware('count', (context, req, res) => {
      arrived += 1
      onEnd(req, res, () => outcomes.push(context.cache))
      if (arrived === 100) setImmediate(() => setImmediate(all.open))
    })
    const url = await serve({}, handler, count)
    const asked = Array.from({ length: 100 }, () => ask(url))
    await all.opened
    door.open()
    const told = await Promise.all(asked)
    expect(runs()).toBe(1)
    expect(told.every(({ body }) => body.run === 1)).toBe(true)
    expect(told.filter(({ cacheStatus }) => cacheStatus?.includes('stored'))).toHaveLength(1)
    const shared = told.filter(({ cacheStatus }) => cacheStatus === 'tollgate; fwd=uri-miss; collapsed')
    expect(shared.length).toBeGreaterThan(90)
    await vi.waitFor(() => expect(outcomes).toHaveLength(100), 10_000)
    expect(outcomes.filter((outcome) => outcome === 'miss')).toHaveLength(1)
  })

  it('of different callers do not wait for each other', async () => {
    const door = gate()
    const { handler, runs } = counting(async (req, res, run) => {
      if (req.headers['x-who'] === 'acme/ann') await door.opened
      sendJson(res, 200, { run })
    })
    const url = await serve({}, handler)
    const slow = ask(url, { who: 'acme/ann' })
    await vi.waitFor(() => expect(runs()).toBe(1), 10_000)
    expect((await ask(url, { who: 'acme/bob' })).body).toEqual({ run: 2 })
    door.open()
    expect((await slow).body).toEqual({ run: 1 })
  })

  it('after an error take the lead one at a time', async () => {
    const doors = [gate(), gate()]
    let together = 0
    let most = 0
    const { handler, runs } = counting(async (_req, res, run) => {
      together += 1
      most = Math.max(most, together)
      await doors[Math.min(run, 2) - 1]?.opened
      together -= 1
      sendJson(res, run === 1 ? 500 : 200, { run })
    })
    const arrivals = vi.fn()
    const url = await serve({}, handler, middleware('arrivals', arrivals))
    const asked = Array.from({ length: 5 }, () => ask(url))
    await vi.waitFor(() => expect(arrivals).toHaveBeenCalledTimes(5), 10_000)
    await new Promise(setImmediate)
    doors[0]?.open()
    await vi.waitFor(() => expect(runs()).toBe(2), 10_000)
    doors[1]?.open()
    const told = await Promise.all(asked)
    expect(told.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, 500])
    expect(runs()).toBe(2)
    expect(most).toBe(1)
  })

  it('run at once when the answer is good but not to be kept', async () => {
    const door = gate()
    const { handler, runs } = counting(async (_req, res, run) => {
      if (run === 1) await door.opened
      sendJson(res, 200, { run }, { 'set-cookie': `run=${run}` })
    })
    const arrivals = vi.fn()
    const url = await serve({}, handler, middleware('arrivals', arrivals))
    const asked = Array.from({ length: 4 }, () => ask(url))
    await vi.waitFor(() => expect(arrivals).toHaveBeenCalledTimes(4), 10_000)
    await new Promise(setImmediate)
    door.open()
    const told = await Promise.all(asked)
    expect(new Set(told.map(({ body }) => body.run)).size).toBe(4)
    expect(runs()).toBe(4)
  })

  it('go on when the first caller leaves and its handler stops', async () => {
    const leaving = new AbortController()
    const { handler, runs } = counting(async (req, res, run) => {
      if (run === 1) {
        const { signal } = contextOf(req, res)
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        throw signal.reason
      }
      sendJson(res, 200, { run })
    })
    const arrivals = vi.fn()
    const url = await serve({}, handler, middleware('arrivals', arrivals))
    const first = ask(url, { signal: leaving.signal }).catch(() => 'left')
    await vi.waitFor(() => expect(runs()).toBe(1), 10_000)
    const others = [ask(url), ask(url)]
    await vi.waitFor(() => expect(arrivals).toHaveBeenCalledTimes(3), 10_000)
    await new Promise(setImmediate)
    leaving.abort()
    expect(await first).toBe('left')
    expect((await Promise.all(others)).map(({ body }) => body)).toEqual([{ run: 2 }, { run: 2 }])
    expect(runs()).toBe(2)
  })

  it('get the answer of a handler that finishes though its caller has left', async () => {
    const leaving = new AbortController()
    const doors = [gate(), gate()]
    const closed = gate()
    const { handler, runs } = counting(async (_req, res, run) => {
      if (run === 1) res.once('close', closed.open)
      await doors[run - 1]?.opened
      sendJson(res, 200, { run })
    })
    const arrivals = vi.fn()
    const url = await serve({}, handler, middleware('arrivals', arrivals))
    const first = ask(url, { signal: leaving.signal }).catch(() => 'left')
    await vi.waitFor(() => expect(runs()).toBe(1), 10_000)
    const others = [ask(url), ask(url)]
    await vi.waitFor(() => expect(arrivals).toHaveBeenCalledTimes(3), 10_000)
    await new Promise(setImmediate)
    leaving.abort()
    await Promise.all([first, closed.opened])
    // One of the two leads now; the old leader finishes first, and the one that still waits has its answer.
    await vi.waitFor(() => expect(runs()).toBe(2), 10_000)
    doors[0]?.open()
    expect((await Promise.race(others)).body).toEqual({ run: 1 })
    doors[1]?.open()
    expect((await Promise.all(others)).map(({ body }) => body.run).sort()).toEqual([1, 2])
  })

  it('stop waiting when their caller leaves, without a run', async () => {
    const door = gate()
    const { handler, runs } = counting(async (_req, res, run) => {
      await door.opened
      sendJson(res, 200, { run })
    })
    const left = gate()
    let arrived = 0
    const arrivals = middleware('arrivals', (_context, _req, res) => {
      arrived += 1
      if (arrived === 2) res.once('close', left.open)
    })
    const url = await serve({}, handler, arrivals)
    const first = ask(url)
    await vi.waitFor(() => expect(runs()).toBe(1), 10_000)
    const leaving = new AbortController()
    const second = ask(url, { signal: leaving.signal }).catch(() => 'left')
    await vi.waitFor(() => expect(arrived).toBe(2), 10_000)
    leaving.abort()
    expect(await second).toBe('left')
    await left.opened
    door.open()
    expect((await first).body).toEqual({ run: 1 })
    expect(runs()).toBe(1)
  })

  it('wait no longer than they may, and no more of them than may', async () => {
    const door = gate()
    const { handler, runs } = counting(async (_req, res, run) => {
      if (run === 1) await door.opened
      sendJson(res, 200, { run })
    })
    const url = await serve({ maxWaitMs: 20, maxWaiters: 1 }, handler)
    const first = ask(url)
    await vi.waitFor(() => expect(runs()).toBe(1), 10_000)
    const told = await Promise.all([ask(url), ask(url)])
    expect(told.every(({ body }) => (body.run ?? 0) > 1)).toBe(true)
    door.open()
    expect((await first).body).toEqual({ run: 1 })
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

it('holds nothing for pipelined requests whose connection breaks', async () => {
  const door = gate()
  const { handler, runs } = counting(async (_req, res, run) => {
    await door.opened
    sendJson(res, 200, { run })
  })
  const closed = vi.fn()
  const watch = middleware('watch', (_context, req, res) => onEnd(req, res, closed))
  const url = await serve({}, handler, watch)
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  await once(socket, 'connect')
  const body = '{"prompt":"hi"}'
  const raw = `POST /ask HTTP/1.1\r\nhost: x\r\nx-who: acme/ann\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
  socket.write(raw + raw)
  await vi.waitFor(() => expect(runs()).toBe(1), 10_000)
  socket.destroy()
  await vi.waitFor(() => expect(closed).toHaveBeenCalled(), 10_000)
  door.open()
  expect((await ask(url)).status).toBe(200)
})
