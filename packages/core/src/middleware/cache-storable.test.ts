import type { ServerResponse } from 'node:http'
import { describe, expect, it } from 'vitest'
import { ask, counting, serve } from '../../test/cached-handler.js'
import { middleware } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import type { CacheOptions } from './cache.js'

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
