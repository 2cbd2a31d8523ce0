import { beforeAll, describe, expect, it, vi } from 'vitest'
import { eachHost, type Host, hosts } from '../../test/hosts.js'
import { auth } from '../middleware/auth.js'
import { errorHandler } from '../middleware/error-handler.js'
import type { UserRecord } from '../stores/directory.js'
import type { Change, IdentityStore } from '../stores/identity-store.js'
import type { LimitStore } from '../stores/limit-store.js'
import { memoryIdentityStore } from '../stores/memory-identity-store.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import { decoyPasswordHash, hashPassword } from '../stores/password-hash.js'
import { type AuthorizationServerOptions, authorizationServer } from './authorization-server.js'
import { usersMe } from './users-me.js'

const cheap = { cost: 1024, blockSize: 8, parallelization: 1 }
const plain = hosts[3] as Host
const login = { grant_type: 'password', username: 'ada', password: 'correct horse' }
const by: Change = { action: 'set-up', at: 0, actor: { tenant: 'acme', subject: 'test', method: 'test' } }

let store: IdentityStore
const options = (): AuthorizationServerOptions => ({
  store,
  issuer: 'https://api.example',
  audience: 'tollgate',
  passwordGrant: true,
  decoyHash: decoyPasswordHash(cheap),
})

beforeAll(async () => {
  store = memoryIdentityStore()
  // A login would make a weak hash anew: none of these tests is about that.
  store.update = async () => undefined
  const passwordHash = await hashPassword('correct horse', cheap)
  const user = { roles: [], disabled: false, passwordHash }
  for (const id of ['acme', 'globex']) await store.create('tenant', { id, name: id, disabled: false }, by)
  for (const more of [
    { id: 'u1', username: 'ada', tenant: 'acme', tier: 'pro', scopes: ['chat', 'embed'] },
    { id: 'u2', username: 'bob', tenant: 'globex', scopes: [] },
    { id: 'u3', username: 'carol', tenant: 'acme', scopes: [], disabled: true },
  ]) {
    await store.create('user', { ...user, ...more }, by)
  }
})

type Form = string | Record<string, string> | Array<[string, string]>

async function post(url: string, form: Form, headers: Record<string, string> = {}) {
  const body = typeof form === 'string' ? form : new URLSearchParams(form).toString()
  const response = await fetch(url, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, text, body: JSON.parse(text) as Record<string, unknown> }
}

const start = async (more: Partial<AuthorizationServerOptions> = {}) =>
  (await plain.start(authorizationServer({ ...options(), ...more }).token)).url

eachHost((host) => {
  it('exchanges a password for a token that auth accepts', async () => {
    const tokens = authorizationServer(options())
    const { url } = await host.start(
      ['/v1/token', tokens.token],
      ['/v1/users/me', auth({ directory: store, tokens }), usersMe()],
    )
    const granted = await post(`${url}/v1/token`, login)
    expect(granted).toMatchObject({
      status: 200,
      body: { token_type: 'Bearer', expires_in: 900, scope: 'chat embed', access_token: expect.any(String) },
    })
    const headers = { authorization: `Bearer ${granted.body['access_token']}` }
    const me = await (await fetch(`${url}/v1/users/me`, { headers })).json()
    expect(me).toMatchObject({ tenant: 'acme', subject: 'ada', method: 'jwt', tier: 'pro', scopes: ['chat', 'embed'] })
  })

  it('refuses a wrong password in OAuth words, not to be cached', async () => {
    const { url } = await host.start(['/v1/token', authorizationServer(options()).token], errorHandler())
    const refused = await post(`${url}/v1/token`, { ...login, password: 'wrong' })
    expect(refused).toMatchObject({
      status: 400,
      body: { error: 'invalid_grant', error_description: 'The username or the password is wrong.' },
    })
    expect(refused.headers.get('content-type')).toMatch(/^application\/json/)
    expect(refused.headers.get('cache-control')).toBe('no-store')
    expect(refused.headers.get('pragma')).toBe('no-cache')
    expect(refused.headers.get('www-authenticate')).toBeNull()
  })
})

describe('a token', () => {
  it('has the scopes that were asked for and no more', async () => {
    const url = await start()
    expect((await post(url, { ...login, scope: 'chat' })).body).toMatchObject({ scope: 'chat' })
    expect((await post(url, { ...login, scope: 'chat chat' })).body).toMatchObject({ scope: 'chat' })
    expect((await post(url, { ...login, scope: '' })).body).toMatchObject({ scope: 'chat embed' })
    for (const scope of ['admin', 'chat admin', 'chat  embed', ' chat', 'chat\n', 'ch"at']) {
      expect(await post(url, { ...login, scope })).toMatchObject({ status: 400, body: { error: 'invalid_scope' } })
    }
  })

  it('tells nothing of scopes to who does not know the password', async () => {
    const url = await start()
    const refused = await post(url, { ...login, password: 'wrong', scope: 'admin' })
    expect(refused.body['error']).toBe('invalid_grant')
  })
})

describe('a request', () => {
  it.each<[string, Form, string]>([
    ['no grant_type', { username: 'ada', password: 'x' }, 'invalid_request'],
    [
      'another grant_type',
      { username: 'ada', password: 'x', grant_type: 'authorization_code' },
      'unsupported_grant_type',
    ],
    ['no username', { grant_type: 'password', password: 'x' }, 'invalid_request'],
    ['no password', { grant_type: 'password', username: 'ada' }, 'invalid_request'],
    ['an empty password', { grant_type: 'password', username: 'ada', password: '' }, 'invalid_request'],
    ['an over-long password', { ...login, password: 'x'.repeat(1025) }, 'invalid_request'],
    ['an over-long username', { ...login, username: 'x'.repeat(257) }, 'invalid_request'],
    ['username twice', [...Object.entries(login), ['username', 'bob']], 'invalid_request'],
    ['scope twice', [...Object.entries(login), ['scope', 'a'], ['scope', 'b']], 'invalid_request'],
    ['an unknown parameter twice', [...Object.entries(login), ['x', 'a'], ['x', 'b']], 'invalid_request'],
    ['broken percent encoding', 'grant_type=password&username=ada&password=%zz', 'invalid_request'],
    ['no UTF-8', 'grant_type=password&username=ada&password=%ff', 'invalid_request'],
    ['nothing', '', 'invalid_request'],
    ['a client_id with a control character', { ...login, client_id: 'a\u0000' }, 'invalid_request'],
  ])('with %s is refused with 400', async (_name, form, error) => {
    const findUser = vi.fn(store.findUser)
    const url = await start({ store: { ...store, findUser } })
    const refused = await post(url, form)
    expect(refused).toMatchObject({ status: 400, body: { error } })
    expect(refused.headers.get('cache-control')).toBe('no-store')
    expect(String(refused.body['error_description'])).toMatch(/^[\x20\x21\x23-\x5b\x5d-\x7e]+$/)
    expect(findUser).not.toHaveBeenCalled()
  })

  it('with + and percent encoding is read as forms are', async () => {
    const url = await start()
    expect((await post(url, 'grant_type=password&username=%61da&password=correct+horse')).status).toBe(200)
    expect((await post(url, 'grant_type=password&username=ada&password=correct%20horse&&')).status).toBe(200)
  })

  it.each([
    ['JSON', 'application/json', 400],
    ['multipart', 'multipart/form-data; boundary=x', 400],
    ['a form with a charset', 'application/x-www-form-urlencoded; charset=UTF-8', 200],
    ['a form in capitals', 'Application/X-WWW-Form-Urlencoded', 200],
  ])('as %s', async (_name, contentType, status) => {
    const url = await start()
    expect((await post(url, login, { 'content-type': contentType })).status).toBe(status)
  })

  it.each(['GET', 'PUT', 'DELETE', 'OPTIONS'])('by %s is 405 with Allow', async (method) => {
    const url = await start()
    const response = await fetch(`${url}/?username=ada&password=x`, { method })
    expect(response.status).toBe(405)
    expect(response.headers.get('allow')).toBe('POST')
    expect(response.headers.get('cache-control')).toBe('no-store')
  })

  it('with credentials in the URL has none', async () => {
    const url = await start()
    expect((await post(`${url}/?${new URLSearchParams(login)}`, '')).status).toBe(400)
  })

  it('that is too large, or compressed, is refused in OAuth words with its status', async () => {
    const url = await start({ maxBodyBytes: 100 })
    const large = await post(url, { ...login, x: 'x'.repeat(100) })
    expect(large).toMatchObject({ status: 413, body: { error: 'invalid_request' } })
    expect(large.headers.get('cache-control')).toBe('no-store')
    const packed = await post(url, login, { 'content-encoding': 'gzip' })
    expect(packed).toMatchObject({ status: 415, body: { error: 'invalid_request' } })
  })

  it('of a client with wrong credentials is 401 invalid_client, with a Basic challenge if they came by header; empty ones are none', async () => {
    const url = await start()
    const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` })
    for (const [refused, challenge] of [
      [await post(url, login, basic('app:secret')), 'Basic realm="token", charset="UTF-8"'],
      [await post(url, login, { authorization: 'Bearer x' }), 'Basic realm="token", charset="UTF-8"'],
      [await post(url, { ...login, client_id: 'app', client_secret: 'x' }), null],
    ] as const) {
      expect(refused).toMatchObject({ status: 401, body: { error: 'invalid_client' } })
      expect(refused.headers.get('www-authenticate')).toBe(challenge)
    }
    expect((await post(url, login, basic(':'))).status).toBe(200)
    expect((await post(url, { ...login, client_secret: '' })).status).toBe(200)
  })

  it("may have been parsed by the host's own parser", async () => {
    const express = (await import('express')).default
    for (const parser of [
      express.urlencoded({ extended: false }),
      express.urlencoded({ extended: true }),
      express.text({ type: '*/*' }),
      express.raw({ type: '*/*' }),
    ]) {
      const { url } = await (hosts[0] as Host).start(parser as never, authorizationServer(options()).token)
      expect((await post(url, login)).status).toBe(200)
      expect((await post(url, [...Object.entries(login), ['username', 'bob']])).body['error']).toBe('invalid_request')
    }
    const { url } = await (hosts[0] as Host).start(
      express.urlencoded({ extended: true }) as never,
      authorizationServer(options()).token,
    )
    const nested = await post(url, 'grant_type=password&username[x]=ada&password=correct+horse')
    expect(nested.body['error']).toBe('invalid_request')
    const twice = await post(url, [...Object.entries(login), ['scope', 'chat'], ['scope', 'embed']])
    expect(twice.body['error']).toBe('invalid_request')
  })
})

describe('users', () => {
  it('that are unknown or disabled get the bytes of a wrong password, after a hash as costly', async () => {
    const url = await start()
    const ask = async (form: Form) => {
      const { status, headers, text } = await post(url, form, { 'x-request-id': 'same' })
      return JSON.stringify([status, [...headers].filter(([name]) => name !== 'date'), text])
    }
    const answers = await Promise.all([
      ask({ ...login, password: 'wrong' }),
      ask({ ...login, username: 'nobody' }),
      ask({ ...login, username: '__proto__' }),
      ask({ ...login, username: 'carol' }),
      ask({ ...login, password: 'é'.repeat(1000) }),
      ask({ ...login, username: 'nobody', password: 'é'.repeat(1000) }),
    ])
    expect(new Set(answers).size).toBe(1)
  })

  it('with a hash that cannot be read cannot log in, and are not told apart', async () => {
    const ada = await store.findUser('ada')
    const broken = { ...ada, passwordHash: 'plain:correct horse' } as UserRecord
    const url = await start({ store: { ...store, findUser: () => broken } })
    expect(await post(url, login)).toMatchObject({ status: 400, body: { error: 'invalid_grant' } })
  })

  it.each([
    ['rejects', async () => Promise.reject(new Error('db.internal is down'))],
    [
      'throws',
      () => {
        throw new Error('db.internal is down')
      },
    ],
    ['never answers', () => new Promise<never>(() => {})],
    ['has users without a tenant', () => ({ username: 'ada', scopes: [] }) as never],
  ])('of a store that %s: 503 with Retry-After and no reason', async (_name, findUser) => {
    const url = await start({ store: { ...store, findUser }, directoryTimeoutMs: 20 })
    const refused = await post(url, login)
    expect(refused).toMatchObject({ status: 503, body: { error: 'temporarily_unavailable' } })
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(refused.text).not.toContain('db.internal')
  })
})

describe('hashes', () => {
  it('wait in a bounded queue; beyond it 503 with Retry-After; an unknown user takes a place like any other', async () => {
    const usual = decoyPasswordHash()
    let asked = 0
    let allAsked: () => void = () => {}
    const together = new Promise<void>((resolve) => (allAsked = resolve))
    const findUser = async (username: string) => {
      asked += 1
      if (asked === 4) allAsked()
      await together
      return username === 'nobody' ? undefined : store.findUser(username)
    }
    const url = await start({
      store: { ...store, findUser },
      decoyHash: usual,
      maxConcurrentHashes: 1,
      maxQueuedHashes: 1,
    })
    const answers = await Promise.all(Array.from({ length: 4 }, () => post(url, { ...login, username: 'nobody' })))
    expect(answers.map(({ status }) => status).sort()).toEqual([400, 400, 503, 503])
    const refused = answers.find(({ status }) => status === 503)
    expect(refused?.body['error']).toBe('temporarily_unavailable')
    expect(refused?.headers.get('retry-after')).toBe('5')
    expect((await post(url, login)).status).toBe(200)
  })
})

describe('failures', () => {
  const limited = (more: Partial<AuthorizationServerOptions> = {}) => {
    const limits = memoryLimitStore()
    return start({
      limits,
      failuresPerUser: { limit: 3, windowMs: 60_000 },
      failuresPerAddress: { limit: 5, windowMs: 60_000 },
      ...more,
    })
  }
  const fail = (url: string, username = 'ada', headers = {}) =>
    post(url, { ...login, username, password: 'wrong' }, headers)

  it('by user are limited: then even the right password is 429 with Retry-After', async () => {
    const url = await limited()
    for (const _ of [1, 2, 3]) expect((await fail(url)).status).toBe(400)
    const refused = await post(url, login)
    expect(refused).toMatchObject({ status: 429, body: { error: 'temporarily_unavailable' } })
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(60)
    expect((await post(url, { ...login, username: 'bob' })).status).toBe(200)
  })

  it('count for a name however it is written', async () => {
    const url = await limited()
    for (const name of ['ada', 'ADA', ' Ada ']) expect((await fail(url, name)).status).toBe(400)
    expect((await fail(url, 'aDa')).status).toBe(429)
  })

  it('by address are limited, over all names', async () => {
    const url = await limited()
    for (const name of ['a', 'b', 'c', 'd', 'e']) expect((await fail(url, name)).status).toBe(400)
    expect((await post(url, login)).status).toBe(429)
  })

  it('by address count per caller behind a trusted proxy, and a caller cannot choose its address', async () => {
    const spoofing = await limited()
    for (const name of ['a', 'b', 'c', 'd', 'e'])
      await fail(spoofing, name, { 'x-forwarded-for': `192.0.2.${name.charCodeAt(0)}` })
    expect((await fail(spoofing, 'f', { 'x-forwarded-for': '192.0.2.200' })).status).toBe(429)
    const trusting = await limited({ trustProxy: 'loopback' })
    for (const name of ['a', 'b', 'c', 'd', 'e']) await fail(trusting, name, { 'x-forwarded-for': '192.0.2.1' })
    expect((await fail(trusting, 'f', { 'x-forwarded-for': '192.0.2.1' })).status).toBe(429)
    expect((await fail(trusting, 'f', { 'x-forwarded-for': '192.0.2.2' })).status).toBe(400)
  })

  it('do not include right passwords', async () => {
    const url = await limited()
    for (let time = 0; time < 10; time += 1) expect((await post(url, login)).status).toBe(200)
  })

  it('at once are not let through together', async () => {
    const url = await limited()
    const statuses = (await Promise.all(Array.from({ length: 20 }, () => fail(url)))).map(({ status }) => status)
    expect(statuses.filter((status) => status === 400)).toHaveLength(3)
  })

  it.each([
    ['its store is down', async () => Promise.reject(new Error('redis.internal'))],
    ['its store never answers', () => new Promise<never>(() => {})],
  ])('that cannot be counted are not allowed: 503, when %s', async (_name, take) => {
    const url = await start({ limits: { ...memoryLimitStore(), take } as LimitStore })
    const refused = await post(url, login)
    expect(refused).toMatchObject({ status: 503, body: { error: 'temporarily_unavailable' } })
    expect(refused.text).not.toContain('redis')
  })
})

describe('the factory', () => {
  it.each([
    ['an unknown option', { lifetime: 1 }, /lifetime/],
    ['a lifetime of a year', { accessTokenSeconds: 31_536_000 }, /accessTokenSeconds/],
    ['a store that is none', { store: {} }, /store/],
    ['a decoy that is no hash', { decoyHash: 'x' }, /decoyHash/],
    ['trust in everyone', { trustProxy: true }, /trustProxy/],
  ])('refuses %s', (_name, wrong, words) => {
    expect(() => authorizationServer({ ...options(), ...(wrong as object) })).toThrow(words)
  })

  it('warns of RFC 9700 once', async () => {
    vi.resetModules()
    const fresh = await import('./authorization-server.js')
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    fresh.authorizationServer(options())
    fresh.authorizationServer(options())
    expect(warn).toHaveBeenCalledTimes(1)
    expect(warn).toHaveBeenCalledWith(expect.stringContaining('RFC 9700'), { code: 'TOLLGATE_PASSWORD_GRANT' })
    warn.mockRestore()
  })
})
