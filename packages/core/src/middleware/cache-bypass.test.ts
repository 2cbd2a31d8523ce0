import { describe, expect, it } from 'vitest'
import { type Asking, ask, counting, serve } from '../../test/cached-handler.js'
import type { CacheOptions } from './cache.js'

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
