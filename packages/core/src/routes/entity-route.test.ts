import { describe, expect, it } from 'vitest'
import { administration, member, setUp } from '../../test/administration.js'

describe('tenantsRoute', () => {
  it('is for operators; an administrator sees the own one', async () => {
    const { ask } = await administration()
    const made = await ask('operator', 'POST', '/v1/tenants', { id: 'umbrella', tier: 'pro', models: ['gpt-*'] })
    expect(made).toMatchObject({
      status: 201,
      body: { object: 'tenant', id: 'umbrella', name: 'umbrella', tier: 'pro', models: ['gpt-*'], disabled: false },
    })
    expect((await ask('operator', 'GET', '/v1/tenants')).body.data).toHaveLength(3)
    expect((await ask('operator', 'POST', '/v1/tenants', { id: 'umbrella' })).status).toBe(409)
    expect((await ask('acme', 'GET', '/v1/tenants')).body.data).toMatchObject([{ id: 'acme' }])
    expect((await ask('acme', 'GET', '/v1/tenants/acme')).status).toBe(200)
    expect((await ask('acme', 'GET', '/v1/tenants/globex')).status).toBe(404)
    for (const [method, path, body] of [
      ['POST', '/v1/tenants', { id: 'mine' }],
      ['PATCH', '/v1/tenants/acme', { tier: 'enterprise' }],
      ['PATCH', '/v1/tenants/acme', { models: null }],
    ] as const) {
      const answer = await ask('acme', method, path, body)
      expect(answer.status).toBe(403)
      expect(answer.headers.get('www-authenticate')).toContain('scope="admin:all"')
    }
    // Whether there is such a tenant is none of their business.
    expect((await ask('acme', 'PATCH', '/v1/tenants/globex', { disabled: true })).status).toBe(404)
    expect((await ask('nobody', 'GET', '/v1/tenants')).status).toBe(403)
  })

  it('lets nobody in whose tenant is disabled, until it is not', async () => {
    const { ask, me } = await administration()
    const { body: key } = await ask('acme', 'POST', '/v1/keys', { name: 'x' })
    expect((await me(key.secret)).status).toBe(200)
    await ask('operator', 'PATCH', '/v1/tenants/acme', { disabled: true })
    expect((await me(key.secret)).status).toBe(401)
    const changed = await ask('operator', 'PATCH', '/v1/tenants/acme', { disabled: false, tier: 'pro' })
    expect(changed.body).toMatchObject({ disabled: false, tier: 'pro' })
    expect((await me(key.secret)).body['tier']).toBe('pro')
    expect((await ask('operator', 'PATCH', '/v1/tenants/acme', { tier: null })).body['tier']).toBe(null)
  })

  it.each(['', '*', '.', '..', 'a/b', 'a b', '-a', 'a'.repeat(129), 'ä'])(
    'has no tenant of the name %j',
    async (id) => {
      const { ask } = await administration()
      expect(await ask('operator', 'POST', '/v1/tenants', { id })).toMatchObject({
        status: 400,
        body: { errors: [{ path: 'id' }] },
      })
    },
  )
})

describe('teamsRoute', () => {
  it('makes teams, whose keys and users end and begin with them', async () => {
    const { ask, me } = await administration()
    const { body: team } = await ask('acme', 'POST', '/v1/teams', { name: 'research', models: ['a*'] })
    expect(team).toMatchObject({ object: 'team', tenant: 'acme', name: 'research', tier: null, models: ['a*'] })
    const { body: key } = await ask('acme', 'POST', '/v1/keys', { name: 'x', owner: { type: 'team', id: team.id } })
    expect((await me(key.secret)).body['subject']).toBe(`team:${team.id}`)
    await ask('acme', 'PATCH', `/v1/teams/${team.id}`, { disabled: true })
    expect((await me(key.secret)).status).toBe(401)
    const again = await ask('acme', 'PATCH', `/v1/teams/${team.id}`, { disabled: false, models: null, name: 'r' })
    expect(again.body).toMatchObject({ disabled: false, models: null, name: 'r' })
    expect((await me(key.secret)).status).toBe(200)
  })

  it('keeps tenants apart and tiers to operators', async () => {
    const { ask } = await administration()
    const { body: team } = await ask('acme', 'POST', '/v1/teams', { name: 'research' })
    expect((await ask('globex', 'GET', `/v1/teams/${team.id}`)).status).toBe(404)
    expect((await ask('globex', 'PATCH', `/v1/teams/${team.id}`, { name: 'x' })).status).toBe(404)
    expect((await ask('globex', 'GET', '/v1/teams')).body.data).toEqual([])
    expect((await ask('globex', 'POST', '/v1/teams', { name: 'x', tenant: 'acme' })).status).toBe(403)
    expect((await ask('acme', 'POST', '/v1/teams', { name: 'x', tier: 'pro' })).status).toBe(403)
    expect((await ask('acme', 'PATCH', `/v1/teams/${team.id}`, { tier: null })).status).toBe(403)
    expect((await ask('operator', 'PATCH', `/v1/teams/${team.id}`, { tier: 'pro' })).body['tier']).toBe('pro')
    expect((await ask('acme', 'GET', `/v1/teams/${team.id}/users`)).status).toBe(404)
    // Without regard to case, as hosts mount.
    expect((await ask('acme', 'GET', `/v1/Teams/${team.id}`)).body).toMatchObject({ object: 'team', id: team.id })
  })
})

describe('rolesRoute', () => {
  it('makes roles, whose changes hold for everyone who has them', async () => {
    const { ask, me } = await administration()
    const made = await ask('acme', 'POST', '/v1/roles', { id: 'writer', scopes: ['chat'] })
    expect(made).toMatchObject({
      status: 201,
      body: { object: 'role', id: 'writer', tenant: 'acme', scopes: ['chat'] },
    })
    const { body: key } = await ask('acme', 'POST', '/v1/keys', { name: 'x', roles: ['writer'] })
    expect((await me(key.secret)).body['scopes']).toEqual(['chat'])
    await ask('acme', 'PATCH', '/v1/roles/writer', { scopes: ['chat', 'embed'] })
    expect((await me(key.secret)).body['scopes']).toEqual(['chat', 'embed'])
    expect((await ask('acme', 'POST', '/v1/roles', { id: 'writer', scopes: [] })).status).toBe(409)
    expect((await ask('acme', 'GET', '/v1/roles')).body.data).toMatchObject([{ id: 'writer' }])
  })

  it('keeps tenants apart, and gives no scope that the caller does not have', async () => {
    const { ask, store } = await administration()
    await store.create('role', { id: 'writer', tenant: 'acme', scopes: ['chat'] }, setUp)
    expect((await ask('globex', 'GET', '/v1/roles/writer')).status).toBe(404)
    expect((await ask('globex', 'PATCH', '/v1/roles/writer', { scopes: [] })).status).toBe(404)
    expect((await ask('globex', 'PATCH', '/v1/roles/writer?tenant=acme', { scopes: [] })).status).toBe(403)
    expect((await ask('globex', 'POST', '/v1/roles', { id: 'writer', scopes: member })).status).toBe(201)
    expect((await ask('acme', 'GET', '/v1/roles/writer')).body['scopes']).toEqual(['chat'])
    for (const scopes of [['admin:all'], ['*'], ['usage:read']]) {
      expect((await ask('acme', 'POST', '/v1/roles', { id: 'x', scopes })).status).toBe(403)
      expect((await ask('acme', 'PATCH', '/v1/roles/writer', { scopes })).status).toBe(403)
    }
    await store.create('role', { id: 'root', tenant: 'acme', scopes: ['*'] }, setUp)
    expect((await ask('acme', 'PATCH', '/v1/roles/root', { scopes: [] })).status).toBe(403)
    expect(await ask('acme', 'POST', '/v1/keys', { name: 'x', roles: ['later'] })).toMatchObject({
      status: 400,
      body: { errors: [{ path: 'roles[0]' }] },
    })
    expect((await ask('operator', 'GET', '/v1/roles/writer')).status).toBe(404)
    const changed = await ask('operator', 'PATCH', '/v1/roles/writer?tenant=acme', { scopes: ['usage:read'] })
    expect(changed.body).toMatchObject({ tenant: 'acme', scopes: ['usage:read'] })
    expect((await ask('operator', 'GET', '/v1/roles/writer?team=acme')).status).toBe(400)
  })
})
