import { beforeEach, describe, expect, it } from 'vitest'
import { addKey, basic, grant, login, minute, newStore, start, store } from '../../test/authorization-server.js'
import { drawApiKey } from '../stores/api-key.js'

beforeEach(newStore)

describe('refusals of the token endpoint', () => {
  const wrongs: Array<
    [string, (key: { id: string; key: string }) => [string | Record<string, string>, Record<string, string>?], string]
  > = [
    ['no grant_type', () => [{ username: 'ada' }], 'invalid_request'],
    ['another grant', () => [{ grant_type: 'authorization_code' }], 'unsupported_grant_type'],
    ['a field twice', () => ['grant_type=password&grant_type=password'], 'invalid_request'],
    ['JSON', () => ['{}', { 'content-type': 'application/json' }], 'invalid_request'],
    ['no password', () => [{ grant_type: 'password', username: 'ada' }], 'invalid_request'],
    ['no refresh_token', () => [{ grant_type: 'refresh_token' }], 'invalid_request'],
    ['a wrong refresh_token', () => [{ grant_type: 'refresh_token', refresh_token: 'x' }], 'invalid_grant'],
    [
      'an unknown refresh_token',
      () => [{ grant_type: 'refresh_token', refresh_token: drawApiKey('refresh') }],
      'invalid_grant',
    ],
    ['a wrong password', () => [{ ...login, password: 'wrong' }], 'invalid_grant'],
    ['a scope the user lacks', () => [{ ...login, scope: 'admin' }], 'invalid_scope'],
    [
      'both ways of a secret',
      ({ id, key }) => [{ ...grant, client_id: id, client_secret: key }, basic(id, key)],
      'invalid_request',
    ],
    ['two ids', ({ id, key }) => [{ ...grant, client_id: 'other' }, basic(id, key)], 'invalid_request'],
    ['a secret without an id', ({ key }) => [{ ...grant, client_secret: key }], 'invalid_request'],
    ['no client where one is needed', () => [grant], 'invalid_client'],
    ['an empty Basic where one is needed', () => [grant, { authorization: 'Basic Og==' }], 'invalid_client'],
    ['Bearer', () => [grant, { authorization: 'Bearer x' }], 'invalid_client'],
    ['Basic that is none', () => [grant, { authorization: 'Basic %%%' }], 'invalid_client'],
    ["a key's name without the key", ({ id }) => [{ ...login, client_id: id }], 'invalid_client'],
  ]
  it.each(wrongs)('%s', async (_name, make, error) => {
    const { post } = await start()
    const [form, headers] = make(await addKey())
    const answer = await post('token', form, headers)
    expect(answer.body['error']).toBe(error)
    expect(answer.status).toBe(error === 'invalid_client' ? 401 : 400)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    const challenged =
      error === 'invalid_client' &&
      headers?.['authorization'] !== undefined &&
      !headers['authorization'].endsWith('Og==')
    expect(answer.headers.get('www-authenticate')?.startsWith('Basic realm=') ?? false).toBe(challenged)
  })

  it('has no password grant unless it is switched on', async () => {
    const { post, url } = await start({ passwordGrant: false })
    expect((await post('token', login)).body['error']).toBe('unsupported_grant_type')
    expect((await fetch(`${url}/v1/token`)).status).toBe(405)
  })

  it('answers 503 with Retry-After when the store is down, never 401', async () => {
    const down = () => Promise.reject(new Error('down'))
    const { id, key } = await addKey()
    const running = await start()
    const token = String((await running.post('token', login)).body['refresh_token'])
    const broken = { ...store, findApiKey: down, findUser: down, findRefreshToken: down }
    const { post } = await start({ store: broken })
    for (const answer of [
      await post('token', grant, basic(id, key)),
      await post('token', login),
      await post('token', { grant_type: 'refresh_token', refresh_token: token }),
      await post('revoke', { token }, basic(id, key)),
      await post('introspect', { token }, basic(id, key)),
    ]) {
      expect([answer.status, answer.body['error']]).toEqual([503, 'temporarily_unavailable'])
      expect(answer.headers.get('retry-after')).toBe('1')
    }
  })

  it('keeps out an address that guesses, and lets the client in from elsewhere', async () => {
    const { post } = await start({ failuresPerClient: { limit: 3, windowMs: minute }, trustProxy: 1 })
    const { id, key } = await addKey()
    const from = (address: string, secret: string) =>
      post('token', grant, { ...basic(id, secret), 'x-forwarded-for': address })
    for (let count = 0; count < 3; count += 1) expect((await from('192.0.2.1', 'wrong')).status).toBe(401)
    const kept = await from('192.0.2.1', key)
    expect([kept.status, kept.body['error']]).toEqual([429, 'temporarily_unavailable'])
    expect(Number(kept.headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await from('192.0.2.2', key)).status).toBe(200)
  })

  it('does not count what is right, however many come at once', async () => {
    const { post } = await start({ failuresPerClient: { limit: 2, windowMs: minute } })
    const { id, key } = await addKey()
    const answers = await Promise.all(Array.from({ length: 12 }, () => post('token', grant, basic(id, key))))
    expect(answers.map(({ status }) => status)).toEqual(Array(12).fill(200))
  })

  it('limits wrong passwords of a user, and wrong refresh tokens of an address', async () => {
    const { post } = await start({ failuresPerUser: { limit: 2, windowMs: minute } })
    for (let count = 0; count < 2; count += 1)
      expect((await post('token', { ...login, password: 'x' })).status).toBe(400)
    expect((await post('token', login)).status).toBe(429)
    const other = await start({ failuresPerAddress: { limit: 2, windowMs: minute } })
    const guess = () => other.post('token', { grant_type: 'refresh_token', refresh_token: drawApiKey('refresh') })
    expect([(await guess()).status, (await guess()).status, (await guess()).status]).toEqual([400, 400, 429])
  })
})
