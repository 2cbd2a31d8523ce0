import { describe, expect, it } from 'vitest'
import { type Answer, failure, json, problem, serve } from '../test/fixture-server.js'
import { type ApiKeyObject, createClient, responseOf } from './index.js'

const clientOf = (url: string) => createClient({ baseUrl: url, apiKey: 'k', backoffBaseMs: 1 })
const key = json({ object: 'api_key', id: 'k1', secret: 's1' })
const reset: Answer = (_, __, req) => req.socket.destroy()
const page = (ids: readonly string[], next_cursor: string | null) =>
  json({ object: 'list', data: ids.map((id) => ({ id })), has_more: next_cursor !== null, next_cursor })

describe('keys', () => {
  it('go to their routes', async () => {
    const { url, requests } = await serve(key)
    const { keys } = clientOf(url)
    const made = await keys.create({ name: 'website', scopes: ['chat'] })
    expect(made.secret).toBe('s1')
    expect(responseOf(made)?.attempts).toBe(1)
    await keys.get('a/b?c')
    await keys.update('k1', { tier: null })
    await keys.rotate('k1', { grace_seconds: 0 })
    await keys.rotate('k1')
    await keys.revoke('k1')
    expect(requests.map(({ method, path, body }) => [method, path, body])).toEqual([
      ['POST', '/v1/keys', '{"name":"website","scopes":["chat"]}'],
      ['GET', '/v1/keys/a%2Fb%3Fc', ''],
      ['PATCH', '/v1/keys/k1', '{"tier":null}'],
      ['POST', '/v1/keys/k1/rotate', '{"grace_seconds":0}'],
      ['POST', '/v1/keys/k1/rotate', '{}'],
      ['POST', '/v1/keys/k1/revoke', ''],
    ])
    const types = requests.map(({ headers }) => headers['content-type'])
    expect(types).toEqual([
      ...['POST', '', 'PATCH', 'POST', 'POST', ''].map((m) => (m ? 'application/json' : undefined)),
    ])
  })

  it('take an id and nothing else', async () => {
    const { url, requests } = await serve(key)
    const { keys } = clientOf(url)
    for (const id of ['', '.', '..', '\ud800', undefined]) {
      for (const call of [keys.get, keys.revoke, keys.rotate, (one: string) => keys.update(one, {})]) {
        expect(await failure(call(id as string))).toMatchObject({ code: 'request_invalid' })
      }
    }
    expect(requests).toHaveLength(0)
  })

  it('refuses an answer without the secret', async () => {
    const { url, requests } = await serve(json({ object: 'api_key', id: 'k1' }))
    expect(await failure(clientOf(url).keys.create({ name: 'a' }))).toMatchObject({ code: 'response_invalid' })
    expect(requests).toHaveLength(1)
  })
})

describe('what must not be done twice', () => {
  const calls = {
    create: (url: string) => clientOf(url).keys.create({ name: 'a' }),
    rotate: (url: string) => clientOf(url).keys.rotate('k1'),
    update: (url: string) => clientOf(url).keys.update('k1', { name: 'b' }),
    'create of a user': (url: string) => clientOf(url).users.create({ username: 'ada' }),
    disable: (url: string) => clientOf(url).users.disable('u1'),
  }
  const soon = { 'retry-after-ms': '1' }

  describe.each(Object.entries(calls))('%s', (_, call) => {
    it.each<[string, Answer]>([
      ['a lost connection', reset],
      [
        'an answer that broke off',
        (res) => void res.writeHead(200, { 'content-length': '99' }).write('{', () => res.destroy()),
      ],
      ['500', problem(500, 'internal')],
      ['500 that says to retry', problem(500, 'internal', {}, { 'x-should-retry': 'true', ...soon })],
      ['502', problem(502, 'upstream_error')],
      ['504', problem(504, 'timeout', {}, soon)],
      ['503 of a proxy', (res) => res.writeHead(503).end('<html>')],
      ['503 of a store that took too long', problem(503, 'store_unavailable', {}, soon)],
    ])('is not repeated after %s', async (_reason, answer) => {
      const { url, requests } = await serve(answer, key)
      await failure(call(url))
      expect(requests).toHaveLength(1)
      expect(requests[0]?.headers).not.toHaveProperty('idempotency-key')
    })

    it.each<[string, Answer]>([
      ['429', problem(429, 'rate_limited', {}, soon)],
      ['503', problem(503, 'overloaded', {}, soon)],
    ])('is repeated after %s that says when', async (_reason, answer) => {
      const { url, requests } = await serve(answer, key)
      await call(url)
      expect(requests).toHaveLength(2)
    })
  })

  it('is repeated when the connection was refused, for nothing was sent', async () => {
    let tries = 0
    const { url, requests } = await serve(key)
    const refused = Object.assign(new TypeError('fetch failed'), { cause: { code: 'ECONNREFUSED' } })
    const client = createClient({
      baseUrl: url,
      apiKey: 'k',
      backoffBaseMs: 1,
      fetch: async (...given) => {
        tries += 1
        if (tries === 1) throw refused
        return fetch(...given)
      },
    })
    await client.keys.create({ name: 'a' })
    expect([tries, requests.length]).toEqual([2, 1])
  })

  it('is not repeated under a key of the caller either, which is sent', async () => {
    const { url, requests } = await serve(problem(500, 'internal'), key)
    await failure(clientOf(url).keys.create({ name: 'a' }, { idempotencyKey: 'mine' }))
    expect(requests.map(({ headers }) => headers['idempotency-key'])).toEqual(['mine'])
  })

  it('is not what revoking is', async () => {
    const { url, requests } = await serve(reset, problem(500, 'internal'), key)
    await clientOf(url).keys.revoke('k1')
    expect(requests).toHaveLength(3)
  })
})

describe('lists', () => {
  it('are read a page at a time', async () => {
    const { url, requests } = await serve(page(['a', 'b'], 'c&1'))
    const list = await clientOf(url).keys.list({ limit: 2, cursor: 'x=y', tenant: 'acme' })
    expect(list.next_cursor).toBe('c&1')
    expect(list.data.map(({ id }) => id)).toEqual(['a', 'b'])
    expect(requests[0]?.path).toBe('/v1/keys?limit=2&cursor=x%3Dy&tenant=acme')
    expect(await failure(clientOf(url).keys.list({ cursor: null as never }))).toMatchObject({ code: 'request_invalid' })
    expect(requests).toHaveLength(1)
  })

  it('or to their end, each page when it is needed, past a page that is empty', async () => {
    const { url, requests } = await serve(page(['a', 'b'], 'c1'), page([], 'c2'), page(['c'], null))
    const seen: string[] = []
    const counts: number[] = []
    for await (const { id } of clientOf(url).keys.iterate({ limit: 2, tenant: 'acme' })) {
      seen.push(id)
      counts.push(requests.length)
    }
    expect([seen, counts]).toEqual([
      ['a', 'b', 'c'],
      [1, 1, 3],
    ])
    expect(requests.map(({ path }) => path)).toEqual([
      '/v1/keys?limit=2&tenant=acme',
      '/v1/keys?limit=2&cursor=c1&tenant=acme',
      '/v1/keys?limit=2&cursor=c2&tenant=acme',
    ])
  })

  it('ask for nothing before they are read, nor after they are left', async () => {
    const { url, requests } = await serve(page(['a'], 'c1'), page(['b'], null))
    const all: AsyncIterable<ApiKeyObject> = clientOf(url).keys.iterate()
    expect(requests).toHaveLength(0)
    for await (const _ of all) break
    expect(requests.map(({ path }) => path)).toEqual(['/v1/keys'])
  })

  it('end with an error where the server gives the same cursor again, and with that of a page that fails', async () => {
    const endless = await serve(page(['a'], 'c1'))
    const read = async (url: string) => {
      const seen: string[] = []
      const error = await failure(
        (async () => {
          for await (const { id } of clientOf(url).keys.iterate()) seen.push(id)
        })(),
      )
      return { seen, error }
    }
    expect(await read(endless.url)).toMatchObject({ seen: ['a', 'a'], error: { code: 'response_invalid' } })
    const failing = await serve(page(['a'], 'c1'), problem(403, 'insufficient_scope'))
    expect(await read(failing.url)).toMatchObject({ seen: ['a'], error: { code: 'insufficient_scope' } })
  })

  it.each([
    ['no items', { next_cursor: null }],
    ['no cursor', { data: [] }],
  ])('refuse a page with %s', async (_, body) => {
    const { url } = await serve(json(body))
    expect(await failure(clientOf(url).keys.list())).toMatchObject({ code: 'response_invalid' })
  })
})

describe('users', () => {
  it('go to their routes', async () => {
    const me = { tenant: 'acme', subject: 'ada', method: 'token', tier: null, scopes: [], expires_at: null }
    const user = json({ object: 'user', id: 'u1' })
    const { url, requests } = await serve(json(me), user, user, user, user, user, page(['u1'], null))
    const { users } = clientOf(url)
    expect(await users.me()).toEqual(me)
    await users.create({ username: 'ada' })
    await users.get('u/1')
    await users.update('u1', { team: null })
    await users.disable('u1')
    await users.enable('u1')
    expect((await users.list({ limit: 5 })).data).toHaveLength(1)
    for await (const { id } of users.iterate()) expect(id).toBe('u1')
    expect(requests.map(({ method, path, body }) => [method, path, body])).toEqual([
      ['GET', '/v1/users/me', ''],
      ['POST', '/v1/users', '{"username":"ada"}'],
      ['GET', '/v1/users/u%2F1', ''],
      ['PATCH', '/v1/users/u1', '{"team":null}'],
      ['PATCH', '/v1/users/u1', '{"disabled":true}'],
      ['PATCH', '/v1/users/u1', '{"disabled":false}'],
      ['GET', '/v1/users?limit=5', ''],
      ['GET', '/v1/users', ''],
    ])
    expect(await failure(users.get('me'))).toMatchObject({ code: 'request_invalid' })
    expect(requests).toHaveLength(8)
  })
})
