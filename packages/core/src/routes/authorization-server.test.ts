import { decodeProtectedHeader } from 'jose'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import {
  addKey,
  audience,
  basic,
  by,
  claimsOf,
  clock,
  grant,
  introspect,
  issuer,
  login,
  newStore,
  plain,
  type Reply,
  refresh,
  reply,
  start,
  store,
} from '../../test/authorization-server.js'
import { auth } from '../middleware/auth.js'
import { errorHandler } from '../middleware/error-handler.js'
import { drawApiKey } from '../stores/api-key.js'
import {
  type AuthorizationServer,
  type AuthorizationServerOptions,
  authorizationServer,
} from './authorization-server.js'
import { usersMe } from './users-me.js'

beforeEach(newStore)

describe('revocation', () => {
  it('ends a login by its refresh token, which is all that a public client needs', async () => {
    const running = await start()
    const admin = await addKey({ scopes: ['introspect'] })
    const { body } = await running.post('token', login)
    const answer = await running.post('revoke', { token: String(body['refresh_token']) })
    expect([answer.status, answer.text]).toEqual([200, ''])
    const [line] = (await store.listAudit({ tenant: 'acme', limit: 1 })).items
    expect(line).toMatchObject({ action: 'token.revoke', actor: { subject: 'ada' }, address: '127.0.0.1' })
    expect((await refresh(running, body['refresh_token'])).body['error']).toBe('invalid_grant')
    expect(await introspect(running, body['access_token'], admin)).toEqual({ active: false })
  })

  it('ends one access token of the own tenant', async () => {
    const running = await start()
    const [own, foreign] = [await addKey({ scopes: ['introspect'] }), await addKey({ tenant: 'globex' })]
    const [one, two] = [await running.post('token', login), await running.post('token', login)]
    const revoke = (client: typeof own) =>
      running.post('revoke', { token: String(one.body['access_token']) }, basic(client.id, client.key))
    expect((await revoke(foreign)).body['error']).toBe('invalid_grant')
    expect(await introspect(running, one.body['access_token'], own)).toMatchObject({ active: true })
    expect((await revoke(own)).status).toBe(200)
    expect(await introspect(running, one.body['access_token'], own)).toEqual({ active: false })
    expect(await introspect(running, two.body['access_token'], own)).toMatchObject({ active: true })
  })

  it('does not mind what is unknown, and refuses what is no token', async () => {
    const { post } = await start()
    const { id, key } = await addKey()
    for (const token of ['x', 'a.b.c', drawApiKey('refresh')]) {
      expect((await post('revoke', { token }, basic(id, key))).status).toBe(200)
    }
    expect((await post('revoke', { token: key }, basic(id, key))).body['error']).toBe('unsupported_token_type')
    expect((await post('revoke', { token: 'x' })).body['error']).toBe('invalid_client')
    expect((await post('revoke', { token: 'x' }, basic(id, 'wrong'))).status).toBe(401)
    expect((await post('revoke', {}, basic(id, key))).body['error']).toBe('invalid_request')
  })
})

describe('introspection', () => {
  it('tells all of a token that is good', async () => {
    const running = await start()
    const admin = await addKey({ scopes: ['admin'] })
    const answer = await running.post('token', { ...login, client_id: 'app' })
    const { jti, iat, exp } = claimsOf(answer)
    expect(await introspect(running, answer.body['access_token'], admin)).toEqual({
      active: true,
      scope: 'chat embed',
      client_id: 'app',
      username: 'ada',
      token_type: 'Bearer',
      exp,
      iat,
      sub: 'ada',
      aud: audience,
      iss: issuer,
      jti,
      tenant: 'acme',
    })
    expect(await introspect(running, answer.body['refresh_token'], admin)).toMatchObject({ active: true, sub: 'ada' })
  })

  it('is for those who may, of their own tenant, and of all for operators', async () => {
    const running = await start()
    const [none, foreign] = [await addKey(), await addKey({ tenant: 'globex', scopes: ['introspect'] })]
    const operator = await addKey({ tenant: 'globex', scopes: ['*'] })
    const { body } = await running.post('token', login)
    const refused = await running.post('introspect', { token: 'x' }, basic(none.id, none.key))
    expect([refused.status, refused.body['error']]).toEqual([403, 'unauthorized_client'])
    expect((await running.post('introspect', { token: 'x' })).status).toBe(401)
    for (const name of ['access_token', 'refresh_token']) {
      expect(await introspect(running, body[name], foreign)).toEqual({ active: false })
      expect(await introspect(running, body[name], operator)).toMatchObject({ active: true })
    }
  })

  it('sees the end of a token, of a key and of a user', async () => {
    const running = await start()
    const admin = await addKey({ scopes: ['introspect'] })
    const client = await addKey()
    const ofKey = (await running.post('token', grant, basic(client.id, client.key))).body['access_token']
    const ofUser = (await running.post('token', login)).body['access_token']
    for (const token of [ofKey, ofUser]) expect(await introspect(running, token, admin)).toMatchObject({ active: true })
    await store.update('key', { id: client.id }, () => ({ scopes: ['chat'] }), by())
    expect(await introspect(running, ofKey, admin)).toMatchObject({ scope: 'chat' })
    await store.update('key', { id: client.id }, () => ({ revokedAt: clock.time }), by())
    await store.update('user', { id: 'u1' }, () => ({ disabled: true }), by())
    for (const token of [ofKey, ofUser, `${ofUser}x`, 'x']) {
      expect(await introspect(running, token, admin)).toEqual({ active: false })
    }
    await store.update('user', { id: 'u1' }, () => ({ disabled: false }), by())
    expect(await introspect(running, ofUser, admin)).toMatchObject({ active: true })
    clock.time += 900_000
    expect(await introspect(running, ofUser, admin)).toEqual({ active: false })
  })
})

describe('keys and metadata', () => {
  it('makes tokens that auth accepts, as long as their holder is there', async () => {
    const { server, post } = await start()
    const gate = await plain.start(auth({ directory: store, tokens: server }), usersMe(), errorHandler())
    const { id, key } = await addKey()
    const ofKey = await post('token', { ...grant, scope: 'chat' }, basic(id, key))
    const ofUser = await post('token', login)
    const me = async (answer: Reply) => {
      const authorization = `Bearer ${answer.body['access_token']}`
      const response = await fetch(gate.url, { headers: { authorization } })
      return reply(response)
    }
    expect((await me(ofKey)).body).toMatchObject({ tenant: 'acme', subject: `key:${id}`, key_id: id, scopes: ['chat'] })
    expect((await me(ofUser)).body).toMatchObject({ tenant: 'acme', subject: 'ada', scopes: ['chat', 'embed'] })
    await store.update('key', { id }, () => ({ revokedAt: clock.time }), by())
    expect((await me(ofKey)).status).toBe(401)
    await post('revoke', { token: String(ofUser.body['refresh_token']) })
    expect((await me(ofUser)).status).toBe(401)
  })

  it('publishes public halves only, and where everything is', async () => {
    const { url, server } = await start()
    await server.ready()
    const keys = await fetch(`${url}/.well-known/jwks.json`)
    expect(keys.headers.get('cache-control')).toBe('public, max-age=300')
    expect(keys.headers.get('content-type')).toBe('application/jwk-set+json')
    const set = (await keys.json()) as { keys: object[] }
    expect(set.keys.map((key) => Object.keys(key).toSorted())).toEqual([['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']])
    const metadata = await fetch(`${url}/.well-known/oauth-authorization-server`)
    expect(metadata.headers.get('cache-control')).toBe('public, max-age=300')
    expect(await metadata.json()).toMatchObject({
      issuer,
      token_endpoint: `${issuer}/v1/token`,
      revocation_endpoint: `${issuer}/v1/revoke`,
      introspection_endpoint: `${issuer}/v1/introspect`,
      jwks_uri: `${issuer}/.well-known/jwks.json`,
      grant_types_supported: ['client_credentials', 'refresh_token', 'password'],
    })
    expect((await fetch(`${url}/.well-known/jwks.json`, { method: 'POST' })).status).toBe(405)
  })

  it('keeps tokens of the key before good after a rotation, unless that key is retired', async () => {
    const { server, post, verify } = await start()
    const { id, key } = await addKey()
    const tokenOf = async () => (await post('token', grant, basic(id, key))).body['access_token']
    const kidOf = (token: unknown) => decodeProtectedHeader(String(token)).kid
    const old = await tokenOf()
    const next = await server.rotateSigningKey()
    expect((await server.keySet()).keys.map(({ kid }) => kid)).toEqual([kidOf(old), next])
    expect(kidOf(await tokenOf())).toBe(kidOf(old))
    await verify(old)
    const last = await server.rotateSigningKey(by('emergency'), { retireNow: true })
    expect((await server.keySet()).keys.map(({ kid }) => kid)).toEqual([last])
    const fresh = await tokenOf()
    expect(kidOf(fresh)).toBe(last)
    await verify(fresh)
    await expect(verify(old)).rejects.toThrow(/no applicable key/)
  })
})

it.each([
  ['plain http', { issuer: 'http://api.example' }, /issuer/],
  ['a query', { issuer: 'https://api.example/?a' }, /issuer/],
  ['no audience', { audience: [] }, /audience/],
  ['a long life', { accessTokenSeconds: 86_401 }, /accessTokenSeconds/],
  ['refresh tokens that end first', { refreshTokenSeconds: 899 }, /refreshTokenSeconds/],
  ['a store that is none', { store: {} }, /store/],
  ['trust in everyone', { trustProxy: true }, /trustProxy/],
  ['a wrong path', { basePath: 'v1/' }, /basePath/],
])('refuses %s', (_name, wrong, words) => {
  expect(() => authorizationServer({ store, issuer, audience, ...(wrong as object) })).toThrow(words)
})

it('warns of RFC 9700 once, and only if there are passwords', async () => {
  vi.resetModules()
  const fresh: { authorizationServer: (options: AuthorizationServerOptions) => AuthorizationServer } = await import(
    './authorization-server.js'
  )
  const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  fresh.authorizationServer({ store, issuer, audience })
  expect(warn).not.toHaveBeenCalled()
  fresh.authorizationServer({ store, issuer, audience, passwordGrant: true })
  fresh.authorizationServer({ store, issuer, audience, passwordGrant: true })
  expect(warn).toHaveBeenCalledTimes(1)
  warn.mockRestore()
})
