import { describe, expect, it } from 'vitest'
import { administration, member, setUp } from '../../test/administration.js'
import { hashPassword } from '../stores/password-hash.js'

const password = 'correct horse battery'

describe('usersRoute', () => {
  it('makes a user who can log in, and never shows the password or its hash', async () => {
    const { ask, logIn, me } = await administration()
    const made = await ask('acme', 'POST', '/v1/users', { username: 'grace', password })
    expect(made).toMatchObject({
      status: 201,
      body: {
        object: 'user',
        tenant: 'acme',
        username: 'grace',
        team: null,
        tier: null,
        scopes: member,
        roles: [],
        has_password: true,
        disabled: false,
      },
    })
    expect(made.headers.get('cache-control')).toBe('no-store')
    const shown = await ask('acme', 'GET', `/v1/users/${made.body.id}`)
    expect(shown.body).toEqual(made.body)
    expect(JSON.stringify([made.body, (await ask('acme', 'GET', '/v1/users')).body])).not.toMatch(/scrypt|horse/)
    const login = await logIn('grace', password)
    expect(await me(login.access_token)).toMatchObject({
      status: 200,
      body: { tenant: 'acme', subject: 'grace', scopes: member },
    })
  })

  it('ends logins, tokens and keys of a user who is disabled, and lets them in again', async () => {
    const { ask, logIn, me, token } = await administration()
    const { body: user } = await ask('acme', 'POST', '/v1/users', { username: 'grace', password })
    const login = await logIn('grace', password)
    const { body: key } = await ask('acme', 'POST', '/v1/keys', { name: 'x', owner: { type: 'user', id: user.id } })
    const statuses = async () => [(await me(login.access_token)).status, (await me(key.secret)).status]
    expect(await statuses()).toEqual([200, 200])
    expect((await ask('acme', 'PATCH', `/v1/users/${user.id}`, { disabled: true })).body['disabled']).toBe(true)
    expect(await statuses()).toEqual([401, 401])
    expect((await logIn('grace', password)).status).toBe(400)
    const refresh = { grant_type: 'refresh_token', refresh_token: login.refresh_token }
    expect((await token(refresh)).status).toBe(400)
    await ask('acme', 'PATCH', `/v1/users/${user.id}`, { disabled: false })
    expect(await statuses()).toEqual([200, 200])
    expect((await token(refresh)).status).toBe(200)
  })

  it('ends the logins made with an old password, and takes the new one only', async () => {
    const { ask, logIn, token, me } = await administration()
    const { body: user } = await ask('acme', 'POST', '/v1/users', { username: 'grace', password })
    const login = await logIn('grace', password)
    const changed = await ask('acme', 'PATCH', `/v1/users/${user.id}`, { password: 'quite another one' })
    expect(changed).toMatchObject({ status: 200, body: { has_password: true } })
    expect((await token({ grant_type: 'refresh_token', refresh_token: login.refresh_token })).status).toBe(400)
    expect((await logIn('grace', password)).status).toBe(400)
    const next = await logIn('grace', 'quite another one')
    expect((await me(next.access_token)).status).toBe(200)
    // In the very second of the login: the tokens of the old one are over, whatever the clock says.
    const third = await ask('acme', 'PATCH', `/v1/users/${user.id}`, { password: 'and a third one' })
    expect([third.status, (await me(next.access_token)).status]).toEqual([200, 401])
    expect((await me((await logIn('grace', 'and a third one')).access_token)).status).toBe(200)
    expect((await ask('acme', 'PATCH', `/v1/users/${user.id}`, { password: null })).body['has_password']).toBe(false)
    expect((await logIn('grace', 'and a third one')).status).toBe(400)
  })

  it('ends a login that read the old password while the new one was being set', async () => {
    const { ask, logIn, token, me, store } = await administration()
    const { body: user } = await ask('acme', 'POST', '/v1/users', { username: 'grace', password })
    const asItWas = await store.findUser('grace')
    await ask('acme', 'PATCH', `/v1/users/${user.id}`, { password: 'quite another one' })
    const { findUser } = store
    // As a database shows it to whoever came before the commit.
    store.findUser = () => Promise.resolve(asItWas)
    const late = await logIn('grace', password)
    store.findUser = findUser
    expect(late.status).toBe(200)
    expect((await token({ grant_type: 'refresh_token', refresh_token: late.refresh_token })).status).toBe(400)
    expect((await me(late.access_token)).status).toBe(401)
  })

  it('changes what is given, takes away what is null, leaves the rest', async () => {
    const { ask } = await administration()
    const { body: team } = await ask('acme', 'POST', '/v1/teams', { name: 'research' })
    const { body: user } = await ask('operator', 'POST', '/v1/users', {
      username: 'grace',
      tenant: 'acme',
      team: team.id,
      tier: 'pro',
      roles: ['member'],
    })
    expect(user).toMatchObject({ team: team.id, tier: 'pro', scopes: [], roles: ['member'], has_password: false })
    const changed = await ask('acme', 'PATCH', `/v1/users/${user.id}`, { team: null, scopes: ['chat'] })
    expect(changed.body).toMatchObject({ team: null, tier: 'pro', scopes: ['chat'], roles: ['member'] })
    expect((await ask('acme', 'PATCH', `/v1/users/${user.id}`, {})).body['scopes']).toEqual(['chat'])
  })

  it('answers for a user of another tenant as for one that is not there, and does nothing', async () => {
    const { ask } = await administration()
    const { body: user } = await ask('acme', 'POST', '/v1/users', { username: 'grace' })
    const { body: team } = await ask('acme', 'POST', '/v1/teams', { name: 'research' })
    for (const [method, body] of [['GET'], ['PATCH', { disabled: true }]] as const) {
      const other = await ask('globex', method, `/v1/users/${user.id}`, body)
      const none = await ask('globex', method, '/v1/users/none', body)
      expect([other.status, none.status]).toEqual([404, 404])
      expect(String(other.body['detail']).replace(user.id, 'none')).toBe(none.body['detail'])
      expect((await ask('globex', method, `/v1/users/${user.id}?tenant=acme`, body)).status).toBe(403)
    }
    expect((await ask('acme', 'GET', `/v1/users/${user.id}`)).body['disabled']).toBe(false)
    expect((await ask('globex', 'GET', '/v1/users')).body.data).toEqual([])
    expect((await ask('globex', 'GET', '/v1/users?tenant=acme')).status).toBe(403)
    expect((await ask('globex', 'POST', '/v1/users', { username: 'x', tenant: 'acme' })).status).toBe(403)
    expect((await ask('globex', 'POST', '/v1/users', { username: 'x', team: team.id })).status).toBe(404)
    const { body: own } = await ask('globex', 'POST', '/v1/users', { username: 'y' })
    expect((await ask('globex', 'PATCH', `/v1/users/${own.id}`, { team: team.id })).status).toBe(404)
    expect((await ask('globex', 'POST', '/v1/users', { username: 'grace' })).status).toBe(409)
    expect((await ask('operator', 'GET', '/v1/users')).body.data).toHaveLength(2)
    expect((await ask('operator', 'GET', `/v1/users/${user.id}?tenant=globex`)).status).toBe(404)
  })

  it('hands out nothing that the caller does not have, by password neither', async () => {
    const { ask, store } = await administration()
    await store.create('role', { id: 'root', tenant: 'acme', scopes: ['*'] }, setUp)
    const { body: strong } = await ask('operator', 'POST', '/v1/users', {
      username: 'root',
      tenant: 'acme',
      roles: ['root'],
    })
    const { body: weak } = await ask('acme', 'POST', '/v1/users', { username: 'grace' })
    for (const [method, path, body, scope] of [
      ['POST', '/v1/users', { username: 'x', scopes: ['admin:all'] }, 'admin:all'],
      ['POST', '/v1/users', { username: 'x', roles: ['viewer'] }, 'usage:read'],
      ['POST', '/v1/users', { username: 'x', tier: 'enterprise' }, 'admin:all'],
      ['PATCH', `/v1/users/${weak.id}`, { roles: ['root'] }, '*'],
      ['PATCH', `/v1/users/${weak.id}`, { tier: null }, 'admin:all'],
      ['PATCH', `/v1/users/${strong.id}`, { password }, '*'],
    ] as const) {
      const answer = await ask('acme', method, path, body)
      expect(answer, `${method} ${path} ${JSON.stringify(body)}`).toMatchObject({ status: 403 })
      expect(answer.headers.get('www-authenticate')).toContain(`scope="${scope}"`)
    }
    // Who has more may be ended. Taking a part away is no less: it would be back, for whoever set a password meanwhile, when it is given back.
    for (const body of [{ roles: [] }, { scopes: ['chat'] }]) {
      expect(await ask('acme', 'PATCH', `/v1/users/${strong.id}`, body)).toMatchObject({ status: 403 })
    }
    expect((await ask('acme', 'PATCH', `/v1/users/${strong.id}`, { disabled: true })).status).toBe(200)
    for (const who of ['nobody', 'stranger']) {
      expect([401, 403]).toContain((await ask(who, 'GET', '/v1/users')).status)
      expect([401, 403]).toContain((await ask(who, 'POST', '/v1/users', { username: 'z' })).status)
    }
  })

  it('does not set a password for scopes that were given meanwhile', async () => {
    const { ask, store } = await administration()
    const { body: user } = await ask('acme', 'POST', '/v1/users', { username: 'grace' })
    const update = store.update
    store.update = async (kind, at, change, by) => {
      store.update = update
      await store.update('user', { id: user.id }, () => ({ scopes: ['*'] }), setUp)
      return update(kind, at, change, by)
    }
    expect(await ask('acme', 'PATCH', `/v1/users/${user.id}`, { password })).toMatchObject({
      status: 409,
      body: { code: 'conflict' },
    })
  })

  it.each([
    ['no username', {}, 'username'],
    ['a username with a colon', { username: 'key:abc' }, 'username'],
    ['a username with a blank at its end', { username: 'ada ' }, 'username'],
    ['a username with a control character', { username: 'a\u0000' }, 'username'],
    ['a username in another normal form', { username: 'e\u0301' }, 'username'],
    ['a short password', { username: 'x', password: '1234567' }, 'password'],
    ['a password that is too long', { username: 'x', password: 'ä'.repeat(600) }, 'password'],
    ['a scope that is none', { username: 'x', scopes: ['a b'] }, 'scopes[0]'],
    ['a hash', { username: 'x', passwordHash: 'y' }, 'passwordHash'],
    ['an unknown field', { username: 'x', id: 'mine' }, 'id'],
    ['a list', [], 'body'],
  ])('refuses %s and says where, without repeating it', async (_name, body, path) => {
    const { ask } = await administration()
    const answer = await ask('acme', 'POST', '/v1/users', body)
    expect(answer).toMatchObject({ status: 400, body: { errors: [{ path }] } })
    expect(JSON.stringify(answer.body)).not.toMatch(/1234567|äää/)
  })

  it('never changes a username', async () => {
    const { ask } = await administration()
    const { body: user } = await ask('acme', 'POST', '/v1/users', { username: 'grace' })
    expect(await ask('acme', 'PATCH', `/v1/users/${user.id}`, { username: 'root' })).toMatchObject({
      status: 400,
      body: { errors: [{ path: 'username' }] },
    })
  })

  it('has a bound on passwords that are hashed at once', async () => {
    const { ask } = await administration({ maxConcurrentHashes: 1, maxQueuedHashes: 1 })
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, index) => ask('acme', 'POST', '/v1/users', { username: `u${index}`, password })),
    )
    const refused = answers.filter(({ status }) => status === 503)
    expect(answers.filter(({ status }) => status === 201).length).toBeGreaterThanOrEqual(2)
    expect(refused.length).toBeGreaterThanOrEqual(1)
    expect(refused[0]).toMatchObject({ body: { code: 'overloaded' } })
    expect(refused[0]?.headers.get('retry-after')).toBe('5')
  })

  it('tells everyone who they are', async () => {
    const { ask } = await administration()
    expect((await ask('nobody', 'GET', '/v1/users/me')).body).toMatchObject({ tenant: 'acme', subject: 'bob' })
    expect((await ask('stranger', 'GET', '/v1/users/me')).status).toBe(401)
    expect((await ask('nobody', 'PATCH', '/v1/users/me', {})).status).toBe(405)
  })

  it('makes a weak hash anew at the next login, and says so in the audit log', async () => {
    const { logIn, store } = await administration()
    const passwordHash = await hashPassword(password, { cost: 1024, parallelization: 1 })
    const user = { id: 'u1', tenant: 'acme', username: 'grace', scopes: member, roles: [], disabled: false }
    await store.create('user', { ...user, passwordHash }, setUp)
    expect((await logIn('grace', 'wrong one')).status).toBe(400)
    expect((await store.find('user', { id: 'u1' }))?.passwordHash).toBe(passwordHash)
    expect((await logIn('grace', password)).status).toBe(200)
    const strong = (await store.find('user', { id: 'u1' }))?.passwordHash
    expect(strong).toMatch(/^\$scrypt\$ln=15,r=8,p=3\$/)
    const [line] = (await store.listAudit({ tenant: 'acme', limit: 1 })).items
    expect(line).toMatchObject({ action: 'user.rehash', actor: { subject: 'grace' }, fields: { passwordHash: null } })
    expect((await logIn('grace', password)).status).toBe(200)
    expect((await store.find('user', { id: 'u1' }))?.passwordHash).toBe(strong)
  })
})
