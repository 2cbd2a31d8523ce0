import { beforeEach, describe, expect, it } from 'vitest'
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
  minute,
  newStore,
  refresh,
  start,
  store,
} from '../../test/authorization-server.js'
import { drawApiKey, drawKeyId } from '../stores/api-key.js'

beforeEach(newStore)

describe('client_credentials', () => {
  it.each(['basic', 'form'])('gives a key a token that its key set proves (%s)', async (how) => {
    const { post, verify } = await start()
    const { id, key } = await addKey()
    const answer =
      how === 'basic'
        ? await post('token', grant, basic(id, key))
        : await post('token', { ...grant, client_id: id, client_secret: key })
    expect(answer.status).toBe(200)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.headers.get('pragma')).toBe('no-cache')
    expect(answer.body).toEqual({
      access_token: expect.any(String),
      token_type: 'Bearer',
      expires_in: 900,
      scope: 'chat usage:*',
    })
    const { payload, protectedHeader } = await verify(answer.body['access_token'])
    const iat = Math.floor(clock.time / 1000)
    expect(protectedHeader).toEqual({ alg: 'ES256', typ: 'at+jwt', kid: expect.any(String) })
    expect(payload).toEqual({
      iss: issuer,
      sub: `key:${id}`,
      aud: audience,
      iat,
      exp: iat + 900,
      jti: expect.any(String),
      client_id: id,
      key_id: id,
      key_version: expect.stringMatching(/^[\da-f]{16}$/),
      tenant: 'acme',
      scope: 'chat usage:*',
    })
    expect((await store.find('key', { id }))?.lastUsedAt).toBe(clock.time)
  })

  it('gives what was asked for and a wildcard covers, and no more', async () => {
    const { post } = await start()
    const { id, key } = await addKey()
    const ask = (scope: string) => post('token', { ...grant, scope }, basic(id, key))
    expect((await ask('usage:read')).body['scope']).toBe('usage:read')
    for (const scope of ['admin', 'chat admin', '*', 'chat  usage:read', 'a"b']) {
      expect((await ask(scope)).body['error']).toBe('invalid_scope')
    }
  })

  it('does not outlive the key', async () => {
    const { post } = await start()
    const { id, key } = await addKey({ expiresAt: clock.time + 60_500 })
    const answer = await post('token', grant, basic(id, key))
    expect(Number(answer.body['expires_in'])).toBeLessThanOrEqual(61)
    expect((claimsOf(answer).exp ?? 0) * 1000).toBeLessThanOrEqual(clock.time + 60_500)
  })

  it('answers the same bytes to every key that is not good', async () => {
    const { post } = await start({ failuresPerClient: { limit: 100, windowMs: minute } })
    const good = await addKey()
    const revoked = await addKey({ revokedAt: clock.time })
    const expired = await addKey({ expiresAt: clock.time })
    const test = await addKey({ environment: 'test' })
    const elsewhere = await addKey({ addresses: ['10.0.0.0/8'] })
    const unknown = drawKeyId()
    const tries = [
      [good.id, drawApiKey('live', good.id)],
      [good.id, 'nonsense'],
      [good.id, revoked.key],
      [unknown, drawApiKey('live', unknown)],
      [revoked.id, revoked.key],
      [expired.id, expired.key],
      [test.id, test.key],
      [elsewhere.id, elsewhere.key],
    ] as const
    const answers = await Promise.all(tries.map(([id, key]) => post('token', grant, basic(id, key))))
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1)
    for (const { status, headers, body } of answers) {
      expect(status).toBe(401)
      expect(body['error']).toBe('invalid_client')
      expect(headers.get('www-authenticate')).toBe('Basic realm="token", charset="UTF-8"')
    }
    const inForm = await post('token', { ...grant, client_id: good.id, client_secret: 'nonsense' })
    expect([inForm.status, inForm.headers.get('www-authenticate')]).toEqual([401, null])
    const here = await addKey({ addresses: ['127.0.0.0/8'] })
    expect((await post('token', grant, basic(here.id, here.key))).status).toBe(200)
  })

  it('ends a secret that another has replaced', async () => {
    const { post } = await start()
    const { id, key } = await addKey()
    await store.update(
      'key',
      { id },
      ({ secrets }) => ({ secrets: secrets.map((each) => ({ ...each, expiresAt: clock.time + 1000 })) }),
      by(),
    )
    expect((await post('token', grant, basic(id, key))).status).toBe(200)
    clock.time += 1000
    expect((await post('token', grant, basic(id, key))).status).toBe(401)
  })
})

describe('logins', () => {
  it('gives a refresh token that is good once; a second use ends the whole login', async () => {
    const running = await start()
    const admin = await addKey({ scopes: ['introspect'] })
    const first = await running.post('token', { ...login, client_id: 'app' })
    expect(claimsOf(first)).toMatchObject({ sub: 'ada', client_id: 'app', tenant: 'acme', scope: 'chat embed' })
    expect(claimsOf(first)['key_id']).toBeUndefined()
    expect((await refresh(running, first.body['refresh_token'])).body['error']).toBe('invalid_grant')
    const second = await refresh(running, first.body['refresh_token'], { client_id: 'app' })
    expect(second.status).toBe(200)
    expect(claimsOf(second)['sid']).toBe(claimsOf(first)['sid'])
    expect(second.body['refresh_token']).not.toBe(first.body['refresh_token'])
    expect(await introspect(running, second.body['access_token'], admin)).toMatchObject({ active: true })

    expect((await refresh(running, first.body['refresh_token'], { client_id: 'app' })).body['error']).toBe(
      'invalid_grant',
    )
    expect((await refresh(running, second.body['refresh_token'], { client_id: 'app' })).body['error']).toBe(
      'invalid_grant',
    )
    expect(await introspect(running, second.body['access_token'], admin)).toEqual({ active: false })
  })

  it('narrows scopes, never widens them, and a refused wish costs nothing', async () => {
    const running = await start()
    const first = await running.post('token', { ...login, scope: 'chat' })
    const token = first.body['refresh_token']
    expect((await refresh(running, token, { scope: 'embed' })).body['error']).toBe('invalid_scope')
    expect((await refresh(running, token, { scope: 'chat' })).body['scope']).toBe('chat')
    const both = (await running.post('token', login)).body['refresh_token']
    const narrow = await refresh(running, both, { scope: 'embed' })
    expect(narrow.body['scope']).toBe('embed')
    await store.update('user', { id: 'u1' }, () => ({ scopes: ['chat'] }), by())
    expect((await refresh(running, narrow.body['refresh_token'])).body['scope']).toBe('chat')
  })

  it('ends with the user, and with the time', async () => {
    const running = await start({ accessTokenSeconds: 60, refreshTokenSeconds: 60 })
    const [one, two] = [await running.post('token', login), await running.post('token', login)]
    await store.update('user', { id: 'u1' }, () => ({ disabled: true }), by())
    expect((await refresh(running, one.body['refresh_token'])).body['error']).toBe('invalid_grant')
    expect((await running.post('token', login)).body['error']).toBe('invalid_grant')
    await store.update('user', { id: 'u1' }, () => ({ disabled: false }), by())
    clock.time += 60_000
    expect((await refresh(running, two.body['refresh_token'])).body['error']).toBe('invalid_grant')
  })

  it('belongs to the client that logged in, and that to the tenant of the user', async () => {
    const running = await start()
    const [own, other, foreign] = [await addKey(), await addKey(), await addKey({ tenant: 'globex' })]
    const first = await running.post('token', login, basic(own.id, own.key))
    const form = { grant_type: 'refresh_token', refresh_token: String(first.body['refresh_token']) }
    expect((await running.post('token', form)).body['error']).toBe('invalid_grant')
    expect((await running.post('token', form, basic(other.id, other.key))).body['error']).toBe('invalid_grant')
    expect((await running.post('token', form, basic(own.id, own.key))).status).toBe(200)
    const wrong = await running.post('token', { ...login, password: 'x' })
    expect((await running.post('token', login, basic(foreign.id, foreign.key))).text).toBe(wrong.text)
  })
})
