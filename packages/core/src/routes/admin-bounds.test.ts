import { describe, expect, it } from 'vitest'
import { administration, member } from '../../test/administration.js'

/** An administrator's key of the tenant acme, made by the operator with these fields. */
async function withAdmin(fields: object) {
  const world = await administration()
  const make = async (more: object) => (await world.ask('operator', 'POST', '/v1/keys', more)).body
  const admin = await make({ name: 'admin', tenant: 'acme', scopes: [...member, 'admin'], ...fields })
  const user = async (fields: object) =>
    (await world.ask('operator', 'POST', '/v1/users', { tenant: 'acme', scopes: ['chat'], ...fields })).body
  const team = async (fields: object) =>
    (await world.ask('operator', 'POST', '/v1/teams', { tenant: 'acme', name: 'team', ...fields })).body
  return { ...world, admin, as: admin.secret, make, user, team }
}

const refusal = { status: 403, body: { code: 'insufficient_scope' } }

describe('what an administrator of a tenant may give', () => {
  it('is no models but their own, and theirs unless they say less', async () => {
    const { ask, as, admin, make, user } = await withAdmin({ models: ['gpt-*'] })
    expect((await ask(as, 'POST', '/v1/keys', { name: 'x' })).body['models']).toEqual(['gpt-*'])
    const { body: narrow } = await ask(as, 'POST', '/v1/keys', { name: 'x', models: ['gpt-4*', 'gpt-5'] })
    expect(narrow['models']).toEqual(['gpt-4*', 'gpt-5'])
    const free = await make({ name: 'free', tenant: 'acme', scopes: ['chat'] })
    const grace = await user({ username: 'grace' })
    for (const [method, path, body] of [
      ['POST', '/v1/keys', { name: 'x', models: ['gpt-4', 'o3'] }],
      ['POST', '/v1/keys', { name: 'x', models: ['*'] }],
      ['PATCH', `/v1/keys/${admin.id}`, { models: null }],
      ['PATCH', `/v1/keys/${narrow.id}`, { models: ['*'] }],
      ['POST', `/v1/keys/${free.id}/rotate`, {}],
      ['PATCH', `/v1/users/${grace.id}`, { password: 'correct horse battery' }],
      ['POST', '/v1/users', { username: 'new', password: 'correct horse battery' }],
    ] as const) {
      expect(await ask(as, method, path, body), `${method} ${path} ${JSON.stringify(body)}`).toMatchObject(refusal)
    }
    // What gives nothing, and what ends somebody, needs nothing.
    expect((await ask(as, 'PATCH', `/v1/keys/${free.id}`, { name: 'renamed' })).status).toBe(200)
    expect((await ask(as, 'POST', `/v1/keys/${free.id}/revoke`)).status).toBe(200)
    expect((await ask(as, 'POST', `/v1/keys/${narrow.id}/rotate`)).status).toBe(200)
  })

  it('counts the lists of the tenant and of a team', async () => {
    const { ask, team, make } = await withAdmin({})
    await ask('operator', 'PATCH', '/v1/tenants/acme', { models: ['gpt-*', 'claude-*'] })
    const research = await team({ models: ['gpt-*'] })
    const owner = { type: 'team', id: research.id }
    const { secret } = await make({
      name: 'a',
      tenant: 'acme',
      owner,
      scopes: [...member, 'admin'],
      models: ['*-mini'],
    })
    // The tenant's list holds for everyone in it; the team's and the key's own cannot be said as one.
    expect(await ask(secret, 'POST', '/v1/keys', { name: 'x' })).toMatchObject(refusal)
    expect((await ask(secret, 'POST', '/v1/keys', { name: 'x', models: ['gpt-5-mini'] })).status).toBe(201)
    expect((await ask(secret, 'POST', '/v1/keys', { name: 'x', owner })).body['models']).toEqual(['*-mini'])
    expect(await ask(secret, 'PATCH', `/v1/teams/${research.id}`, { models: null })).toMatchObject(refusal)
    expect(await ask(secret, 'PATCH', `/v1/teams/${research.id}`, { models: ['gpt-5-mini'] })).toMatchObject({
      status: 200,
    })
  })

  it("is no tier but their own and the tenant's", async () => {
    const { ask, as, admin, make, user, team, me } = await withAdmin({})
    await ask('operator', 'PATCH', '/v1/tenants/acme', { tier: 'free' })
    const rich = await make({ name: 'rich', tenant: 'acme', tier: 'enterprise', scopes: ['chat'] })
    const [grace, ada] = [await user({ username: 'grace', tier: 'enterprise' }), await user({ username: 'ada' })]
    const board = await team({ tier: 'enterprise' })
    for (const [method, path, body] of [
      ['POST', `/v1/keys/${rich.id}/rotate`, {}],
      ['POST', '/v1/keys', { name: 'x', owner: { type: 'user', id: grace.id } }],
      ['POST', '/v1/keys', { name: 'x', owner: { type: 'team', id: board.id } }],
      ['PATCH', `/v1/users/${ada.id}`, { team: board.id }],
      ['POST', '/v1/users', { username: 'new', team: board.id }],
      ['PATCH', `/v1/users/${grace.id}`, { password: 'correct horse battery' }],
    ] as const) {
      const answer = await ask(as, method, path, body)
      expect(answer, `${method} ${path} ${JSON.stringify(body)}`).toMatchObject(refusal)
      expect(answer.headers.get('www-authenticate')).toContain('scope="admin:all"')
    }
    const { body: key } = await ask(as, 'POST', '/v1/keys', { name: 'x', owner: { type: 'user', id: ada.id } })
    expect((await me(key.secret)).body['tier']).toBe('free')
    // With the tier they may give it.
    await ask('operator', 'PATCH', `/v1/keys/${admin.id}`, { tier: 'enterprise' })
    expect((await ask(as, 'POST', `/v1/keys/${rich.id}/rotate`)).status).toBe(200)
  })

  it("has the caller's own amounts of limits, and the tenant's stay the tenant's", async () => {
    const { ask, as } = await withAdmin({ limits: { rpm: 3 } })
    await ask('operator', 'PATCH', '/v1/tenants/acme', { limits: { spend: '10' } })
    expect((await ask(as, 'POST', '/v1/keys', { name: 'x' })).body['limits']).toEqual({ rpm: 3 })
    expect((await ask('acme', 'POST', '/v1/keys', { name: 'x' })).body['limits']).toBeNull()
  })
})

describe('a token of a key', () => {
  it('ends with the secret that it came from', async () => {
    const { ask, as, admin, token, me } = await withAdmin({})
    const fetched = (secret: string) =>
      token({ grant_type: 'client_credentials', client_id: admin.id, client_secret: secret })
    const stolen = await fetched(as)
    expect((await me(stolen.access_token)).status).toBe(200)
    const { body: rotated } = await ask('operator', 'POST', `/v1/keys/${admin.id}/rotate`, { grace_seconds: 0 })
    expect((await me(stolen.access_token)).status).toBe(401)
    expect((await ask(stolen.access_token, 'POST', `/v1/keys/${admin.id}/rotate`)).status).toBe(401)
    expect((await me((await fetched(rotated.secret)).access_token)).status).toBe(200)
  })

  it('lives no longer than the grace time of that secret', async () => {
    const { ask, as, admin, token } = await withAdmin({})
    await ask('operator', 'POST', `/v1/keys/${admin.id}/rotate`, { grace_seconds: 60 })
    const form = { grant_type: 'client_credentials', client_id: admin.id, client_secret: as }
    const { expires_in: seconds } = (await token(form)) as unknown as { expires_in: number }
    expect(seconds).toBeGreaterThan(50)
    expect(seconds).toBeLessThanOrEqual(60)
  })
})

describe('a whole key in a path', () => {
  it('is not repeated', async () => {
    const { ask, as } = await withAdmin({})
    const answer = await ask('operator', 'POST', `/v1/keys/${as}/revoke`)
    expect(answer.status).toBe(404)
    expect(JSON.stringify(answer.body)).not.toContain(as.slice(22, 40))
    expect(answer.body['detail']).toBe('There is no key [redacted]. Its id is the part after live_ or test_.')
  })
})
