import { describe, expect, it } from 'vitest'
import { type Host, hosts } from '../../test/hosts.js'
import { contextOf } from '../http/context.js'
import type { Handler } from '../http/handler.js'
import { auth } from '../middleware/auth.js'
import { errorHandler } from '../middleware/error-handler.js'
import type { Principal } from '../principal.js'
import type { Change, IdentityStore } from '../stores/identity-store.js'
import { memoryIdentityStore } from '../stores/memory-identity-store.js'
import type { ApiKeyWithSecret } from '../wire/identity.js'
import { auditRoute } from './audit.js'
import { keysRoute } from './keys.js'
import { usersMe } from './users-me.js'

const host = hosts[0] as Host
const quiet = { log: { error() {}, warn() {} } }
const setUp: Change = { action: 'set-up', at: 0, actor: { tenant: 'root', subject: 'test', method: 'test' } }
const member = ['predict', 'batch', 'chat', 'embed']
const people: Record<string, Principal> = {
  operator: { tenant: 'root', subject: 'operator', method: 'api-key', keyId: 'k0', scopes: ['*'] },
  acme: { tenant: 'acme', subject: 'ada', method: 'jwt', scopes: [...member, 'admin'] },
  globex: { tenant: 'globex', subject: 'eve', method: 'jwt', scopes: [...member, 'admin'] },
  nobody: { tenant: 'acme', subject: 'bob', method: 'jwt', scopes: member },
}

async function start(store: IdentityStore = memoryIdentityStore(), options: { now?: () => number } = {}) {
  for (const id of ['acme', 'globex']) await store.create('tenant', { id, name: id, disabled: false }, setUp)
  await store.create(
    'user',
    { id: 'u-eve', tenant: 'globex', username: 'eve', scopes: member, roles: [], disabled: false },
    setUp,
  )
  const as: Handler = (req, res, next) => {
    contextOf(req, res).principal = people[String(req.headers['x-as'])]
    next()
  }
  const { url } = await host.start(
    ['/v1/keys', as, keysRoute({ store, ...options })],
    ['/v1/audit', as, auditRoute({ store })],
    ['/v1/users/me', auth({ directory: store }), usersMe()],
    errorHandler(quiet),
  )
  const ask = async (who: string, method: string, path: string, body?: unknown) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { 'x-as': who, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const json = (await response.json()) as ApiKeyWithSecret & Record<string, unknown>
    return { status: response.status, body: json, headers: response.headers }
  }
  const me = async (key: string) => (await fetch(`${url}/v1/users/me`, { headers: { 'x-api-key': key } })).status
  return { ask, me, store, url }
}

describe('keysRoute', () => {
  it('makes a key that works, shows it once, and shows the rest of it after', async () => {
    const { ask, me } = await start()
    const made = await ask('acme', 'POST', '/v1/keys', { name: ' website ', models: ['gpt-*'] })
    expect(made.status).toBe(201)
    expect(made.headers.get('cache-control')).toBe('no-store')
    expect(made.body).toMatchObject({
      object: 'api_key',
      tenant: 'acme',
      environment: 'live',
      name: 'website',
      owner: { type: 'tenant', id: 'acme' },
      scopes: member,
      models: ['gpt-*'],
      tier: null,
      status: 'active',
      secrets: [{ hint: made.body.secret.slice(-4), expires_at: null }],
    })
    expect(made.body.secret).toMatch(new RegExp(`^tg_live_${made.body.id}_[0-9A-Za-z]{38}$`))
    expect(await me(made.body.secret)).toBe(200)
    const { secret, ...rest } = made.body
    const shown = await ask('acme', 'GET', `/v1/keys/${made.body.id}`)
    expect(shown.body).toEqual({ ...rest, last_used_at: expect.stringMatching(/Z$/) })
    expect(JSON.stringify([shown.body, (await ask('acme', 'GET', '/v1/keys')).body])).not.toContain(
      secret.slice(21, -4),
    )
  })

  it('rotates: both secrets work through the grace time, and with 0 the new one only', async () => {
    let now = Date.now()
    const store = memoryIdentityStore({ now: () => now })
    const { ask, me } = await start(store, { now: () => now })
    const { body: first } = await ask('acme', 'POST', '/v1/keys', { name: 'x' })
    const second = await ask('acme', 'POST', `/v1/keys/${first.id}/rotate`, { grace_seconds: 60 })
    expect(second.status).toBe(200)
    expect(second.body.id).toBe(first.id)
    expect(second.body.secrets).toHaveLength(2)
    expect([await me(first.secret), await me(second.body.secret)]).toEqual([200, 200])
    const third = await ask('acme', 'POST', `/v1/keys/${first.id}/rotate`, { grace_seconds: 0 })
    expect([await me(first.secret), await me(second.body.secret), await me(third.body.secret)]).toEqual([401, 401, 200])
    for (let index = 0; index < 4; index += 1) {
      expect((await ask('acme', 'POST', `/v1/keys/${first.id}/rotate`)).status).toBe(200)
    }
    const full = await ask('acme', 'POST', `/v1/keys/${first.id}/rotate`)
    expect(full).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect(JSON.stringify(full.body)).toContain('grace_seconds: 0')
    now += 86_400_000
    expect((await ask('acme', 'POST', `/v1/keys/${first.id}/rotate`)).body.secrets).toHaveLength(2)
  })

  it.each([
    ['POST', '/revoke'],
    ['DELETE', ''],
  ])('revokes by %s, at once, for good, and again without complaint', async (method, path) => {
    const { ask, me } = await start()
    const { body: key } = await ask('acme', 'POST', '/v1/keys', { name: 'x' })
    expect(await me(key.secret)).toBe(200)
    const revoked = await ask('acme', method, `/v1/keys/${key.id}${path}`)
    expect(revoked).toMatchObject({ status: 200, body: { status: 'revoked', revoked_at: expect.any(String) } })
    expect(await me(key.secret)).toBe(401)
    const again = await ask('acme', method, `/v1/keys/${key.id}${path}`)
    expect(again.body['revoked_at']).toBe(revoked.body['revoked_at'])
    expect((await ask('acme', 'PATCH', `/v1/keys/${key.id}`, { name: 'y' })).status).toBe(409)
    expect((await ask('acme', 'POST', `/v1/keys/${key.id}/rotate`)).status).toBe(409)
  })

  it('changes what is given, takes away what is null, leaves the rest', async () => {
    const { ask } = await start()
    const { body: key } = await ask('operator', 'POST', '/v1/keys', {
      name: 'x',
      tenant: 'acme',
      tier: 'pro',
      models: ['a'],
      limits: { rpm: 5, month: '9.50' },
    })
    expect(key['limits']).toEqual({ rpm: 5, month: '9.50' })
    const changed = await ask('operator', 'PATCH', `/v1/keys/${key.id}`, { models: null, scopes: ['chat'] })
    expect(changed.body).toMatchObject({ name: 'x', tier: 'pro', models: null, scopes: ['chat'] })
  })

  it('pages through all, newest first', async () => {
    const { ask } = await start()
    for (let index = 0; index < 25; index += 1) await ask('acme', 'POST', '/v1/keys', { name: `n${index}` })
    await ask('globex', 'POST', '/v1/keys', { name: 'theirs' })
    const names: unknown[] = []
    for (let cursor = ''; ; ) {
      const { body } = await ask('acme', 'GET', `/v1/keys?limit=10${cursor}`)
      names.push(...(body['data'] as Array<{ name: string }>).map(({ name }) => name))
      expect(body['has_more']).toBe(body['next_cursor'] !== null)
      if (body['next_cursor'] === null) break
      cursor = `&cursor=${String(body['next_cursor'])}`
    }
    expect(names).toEqual(Array.from({ length: 25 }, (_, index) => `n${24 - index}`))
    expect(((await ask('operator', 'GET', '/v1/keys?limit=100')).body['data'] as unknown[]).length).toBe(26)
    expect(((await ask('operator', 'GET', '/v1/keys?tenant=globex')).body['data'] as unknown[]).length).toBe(1)
  })

  it('answers for a key of another tenant as for one that is not there, on every route, and does nothing', async () => {
    const { ask, me } = await start()
    const { body: key } = await ask('acme', 'POST', '/v1/keys', { name: 'x' })
    const tries = [
      ['GET', ''],
      ['PATCH', ''],
      ['DELETE', ''],
      ['POST', '/rotate'],
      ['POST', '/revoke'],
    ] as const
    for (const [method, path] of tries) {
      const body = method === 'PATCH' ? { name: 'stolen' } : undefined
      const other = await ask('globex', method, `/v1/keys/${key.id}${path}`, body)
      const none = await ask('globex', method, `/v1/keys/${'0'.repeat(12)}${path}`, body)
      expect([other.status, none.status], `${method} ${path}`).toEqual([404, 404])
      expect(String(other.body['detail']).replace(key.id, '')).toBe(
        String(none.body['detail']).replace('0'.repeat(12), ''),
      )
    }
    expect(await me(key.secret)).toBe(200)
    expect((await ask('acme', 'GET', `/v1/keys/${key.id}`)).body.name).toBe('x')
    for (const path of ['/v1/keys?tenant=acme', '/v1/audit?tenant=acme']) {
      expect((await ask('globex', 'GET', path)).status).toBe(403)
    }
    expect((await ask('globex', 'POST', '/v1/keys', { name: 'x', tenant: 'acme' })).status).toBe(403)
    expect((await ask('acme', 'POST', '/v1/keys', { name: 'x', owner: { type: 'user', id: 'u-eve' } })).status).toBe(
      404,
    )
  })

  it('hands out nothing that the caller does not have, and names it', async () => {
    const { ask, store } = await start()
    await store.create('role', { id: 'root', tenant: 'acme', scopes: ['*'] }, setUp)
    const { body: strong } = await ask('operator', 'POST', '/v1/keys', {
      name: 'strong',
      tenant: 'acme',
      scopes: ['*'],
    })
    const { body: own } = await ask('acme', 'POST', '/v1/keys', { name: 'own' })
    const tries = [
      ['POST', '/v1/keys', { name: 'x', scopes: ['*'] }, '*'],
      ['POST', '/v1/keys', { name: 'x', scopes: ['chat', 'usage:read'] }, 'usage:read'],
      ['POST', '/v1/keys', { name: 'x', roles: ['root'] }, '*'],
      ['POST', '/v1/keys', { name: 'x', roles: ['viewer'] }, 'usage:read'],
      ['POST', '/v1/keys', { name: 'x', tier: 'enterprise' }, 'admin:all'],
      ['POST', '/v1/keys', { name: 'x', limits: { rpm: 1e6 } }, 'admin:all'],
      ['PATCH', `/v1/keys/${own.id}`, { scopes: ['admin:all'] }, 'admin:all'],
      ['PATCH', `/v1/keys/${own.id}`, { tier: null }, 'admin:all'],
      ['PATCH', `/v1/keys/${own.id}`, { limits: null }, 'admin:all'],
      ['POST', `/v1/keys/${strong.id}/rotate`, {}, '*'],
    ] as const
    for (const [method, path, body, scope] of tries) {
      const answer = await ask('acme', method, path, body)
      expect(answer, `${method} ${path} ${JSON.stringify(body)}`).toMatchObject({
        status: 403,
        body: { code: 'insufficient_scope' },
      })
      expect(answer.headers.get('www-authenticate')).toBe(
        `Bearer realm="api", error="insufficient_scope", scope="${scope}"`,
      )
    }
    expect((await ask('nobody', 'GET', '/v1/keys')).headers.get('www-authenticate')).toContain('scope="admin"')
    expect((await ask('stranger', 'GET', '/v1/keys')).status).toBe(401)
  })

  it.each([
    ['no name', {}, 'name'],
    ['an unknown field', { name: 'x', scope: [] }, 'scope'],
    ['a scope that is none', { name: 'x', scopes: ['a b'] }, 'scopes[0]'],
    ['a time without zone', { name: 'x', expires_at: '2030-01-01T00:00:00' }, 'expires_at'],
    ['a time that is past', { name: 'x', expires_at: '2020-01-01T00:00:00Z' }, 'expires_at'],
    ['an address that is none', { name: 'x', allowed_addresses: ['10.0.0.0/8', 'home'] }, 'allowed_addresses[1]'],
    ['a network of everyone', { name: 'x', allowed_addresses: ['0.0.0.0/0'] }, 'allowed_addresses[0]'],
    ['a user that is not named', { name: 'x', owner: { type: 'user' } }, 'owner.id'],
    ['a limit beyond all numbers', { name: 'x', limits: { rpm: 1e308 } }, 'limits.rpm'],
    ['a limit beyond all digits', { name: 'x', limits: { rpm: '9'.repeat(38) } }, 'limits.rpm'],
    ['a limit that is no amount', { name: 'x', limits: { rpm: -1 } }, 'limits.rpm'],
    ['a list', [], 'body'],
  ])('refuses %s and says where', async (_name, body, path) => {
    const { ask } = await start()
    expect(await ask('acme', 'POST', '/v1/keys', body)).toMatchObject({ status: 400, body: { errors: [{ path }] } })
  })

  it('refuses what is no route, no page and no method of its own', async () => {
    const { ask } = await start()
    expect((await ask('acme', 'GET', '/v1/keys?limit=0')).status).toBe(400)
    expect((await ask('acme', 'GET', '/v1/keys?cursor=x')).status).toBe(400)
    expect((await ask('acme', 'GET', '/v1/keys?page=2')).status).toBe(400)
    expect((await ask('acme', 'GET', '/v1/keys/%zz')).status).toBe(400)
    expect((await ask('acme', 'POST', '/v1/keys/a/burn')).status).toBe(404)
    const put = await ask('acme', 'PUT', '/v1/keys/a')
    expect([put.status, put.headers.get('allow')]).toEqual([405, 'GET, PATCH, DELETE, HEAD'])
  })

  it('is 503 while the store is down, without the reason', async () => {
    const store = memoryIdentityStore()
    const { ask } = await start(store)
    store.list = async () => Promise.reject(new Error('connect ECONNREFUSED db.internal'))
    const answer = await ask('acme', 'GET', '/v1/keys')
    expect(answer).toMatchObject({ status: 503, body: { code: 'store_unavailable' } })
    expect(JSON.stringify(answer.body)).not.toMatch(/ECONNREFUSED|db\.internal/)
  })
})

describe('auditRoute', () => {
  it('tells who changed what, when and from where, and no secret', async () => {
    const { ask } = await start()
    const { body: key } = await ask('acme', 'POST', '/v1/keys', { name: 'x' })
    await ask('acme', 'POST', `/v1/keys/${key.id}/rotate`)
    const { body } = await ask('acme', 'GET', '/v1/audit')
    const [rotated, created] = body['data'] as Array<Record<string, unknown>>
    expect(rotated).toMatchObject({
      object: 'audit_entry',
      action: 'key.rotate',
      tenant: 'acme',
      actor: { tenant: 'acme', subject: 'ada', method: 'jwt', key_id: null },
      target: { type: 'key', id: key.id },
      address: '127.0.0.1',
      request_id: expect.stringMatching(/^[\da-f-]{36}$/),
      fields: { secrets: null },
    })
    expect(created).toMatchObject({ action: 'key.create', fields: { name: 'x', scopes: member, secrets: null } })
    expect(JSON.stringify(body)).not.toContain(key.secret.slice(21))
    expect((await ask('nobody', 'GET', '/v1/audit')).status).toBe(403)
    expect(
      ((await ask('globex', 'GET', '/v1/audit')).body['data'] as Array<{ tenant: string }>).every(
        ({ tenant }) => tenant === 'globex',
      ),
    ).toBe(true)
  })
})
