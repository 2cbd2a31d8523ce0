import express from 'express'
import { describe, expect, it } from 'vitest'
import { type Asking, ask, counting, serve, who } from '../../test/cached-handler.js'
import { listen } from '../../test/hosts.js'
import { sendJson } from '../http/respond.js'
import { memoryCacheStore } from '../stores/memory-cache-store.js'
import { cache } from './cache.js'

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
