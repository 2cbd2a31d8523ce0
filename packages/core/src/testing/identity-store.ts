import assert from 'node:assert/strict'
import type { DirectoryChange } from '../stores/directory.js'
import type { ApiKey, Change, IdentityStore, NewEntity, RefreshToken, SigningKey } from '../stores/identity-store.js'

/** Makes an empty store, on a clock (milliseconds since the epoch) if one is given. */
export type MakeIdentityStore = (options?: { readonly now?: () => number }) => IdentityStore | Promise<IdentityStore>

export interface IdentityStoreCase {
  readonly name: string
  run(make: MakeIdentityStore): Promise<void>
}

const now = Date.now()
const hour = 3_600_000
const by: Change = {
  action: 'test',
  at: now,
  actor: { tenant: 'root', subject: 'operator', method: 'api-key', keyId: 'k0' },
  address: '192.0.2.1',
  requestId: 'r1',
}
const passwordHash = '$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8'

const newKey = (store: IdentityStore, id: string, more: Partial<NewEntity<'key'>> = {}): NewEntity<'key'> => ({
  id,
  tenant: 'acme',
  environment: 'live',
  name: `key ${id}`,
  owner: { kind: 'tenant', id: 'acme' },
  scopes: ['chat'],
  roles: [],
  secrets: [{ digest: store.digestsOf(`clear ${id}`)[0] ?? '', hint: 'abcd', createdAt: now }],
  ...more,
})
const newUser = (id: string, more: Partial<NewEntity<'user'>> = {}): NewEntity<'user'> => {
  const user = { id, tenant: 'acme', username: `name-${id}`, scopes: ['chat', 'embed'], roles: [], disabled: false }
  return { ...user, ...more }
}
const refreshToken = (id: string, more: Partial<RefreshToken> = {}): RefreshToken => ({
  id,
  digest: `digest-${id}`,
  family: 'family-1',
  tenant: 'acme',
  username: 'ada',
  scopes: ['chat'],
  createdAt: now,
  expiresAt: now + hour,
  ...more,
})
const signingKey = (kid: string, more: Partial<SigningKey> = {}): SigningKey => ({
  kid,
  alg: 'ES256',
  publicKey: { kty: 'EC', kid },
  privateKey: JSON.stringify({ kty: 'EC', d: `private-${kid}` }),
  createdAt: now,
  signsFrom: now,
  ...more,
})

async function withTenants(store: IdentityStore): Promise<void> {
  await store.create('tenant', { id: 'acme', name: 'Acme', disabled: false }, by)
  await store.create('tenant', { id: 'globex', name: 'Globex', disabled: false }, by)
}

/** Runs the check on a store with the tenants `acme` and `globex`, and closes it. */
function on(check: (store: IdentityStore) => Promise<void>): IdentityStoreCase['run'] {
  return async (make) => {
    const store = await make()
    try {
      await withTenants(store)
      await check(store)
    } finally {
      await store.close()
    }
  }
}

const refused = (promise: Promise<unknown>, code: string): Promise<void> =>
  assert.rejects(promise, (error: { code?: unknown }) => error.code === code)

async function allOf<Item>(page: (after: string | undefined) => Promise<{ items: readonly Item[]; next?: string }>) {
  const items: Item[] = []
  let after: string | undefined
  for (let count = 0; count < 100; count += 1) {
    const { items: more, next } = await page(after)
    items.push(...more)
    if (next === undefined) return items
    assert.match(next, /^[\x21-\x7e]+$/)
    after = next
  }
  throw new Error('The pages do not end.')
}

/**
 * What every {@link IdentityStore} does, as plain data. Each case wants a store of its own, empty.
 *
 * @example for (const { name, run } of identityStoreCases) it(name, () => run(() => myStore()))
 */
export const identityStoreCases: readonly IdentityStoreCase[] = [
  {
    name: 'keeps every kind with all its fields and gives it back the same',
    run: on(async (store) => {
      const tenant = { id: 'full', name: 'Full "Ltd" %', tier: 'pro', models: ['gpt-*'], disabled: false }
      assert.deepEqual(await store.create('tenant', tenant, by), { ...tenant, createdAt: now, updatedAt: now })
      const team = { id: 't1', tenant: 'acme', name: 'Search ✓', tier: 'free', models: [], disabled: true }
      await store.create('team', team, by)
      await store.create('role', { id: 'writer', tenant: 'acme', scopes: ['chat', 'usage:*'] }, by)
      await store.create('user', newUser('u1', { team: 't1', tier: 'x', roles: ['writer'], passwordHash }), by)
      const more = {
        owner: { kind: 'user', id: 'u1' } as const,
        models: ['a', 'b'],
        tier: 'y',
        addresses: ['10.0.0.0/8'],
        expiresAt: now + hour,
        revokedAt: now + 1,
      }
      await store.create('key', newKey(store, 'k1', more), by)
      const found = await store.find('key', { tenant: 'acme', id: 'k1' })
      assert.deepEqual({ ...found }, { ...newKey(store, 'k1', more), createdAt: now, updatedAt: now })
      assert.deepEqual(
        { ...(await store.find('team', { tenant: 'acme', id: 't1' })) },
        { ...team, createdAt: now, updatedAt: now },
      )
      assert.equal((await store.find('user', { id: 'u1' }))?.passwordHash, passwordHash)
      assert.deepEqual((await store.find('role', { tenant: 'acme', id: 'writer' }))?.scopes, ['chat', 'usage:*'])
    }),
  },
  {
    name: 'leaves out optional fields that are not there',
    run: on(async (store) => {
      const key = await store.create('key', newKey(store, 'k1'), by)
      assert.deepEqual(
        Object.keys(key).sort(),
        Object.keys({ ...newKey(store, 'k1'), createdAt: 0, updatedAt: 0 }).sort(),
      )
    }),
  },
  {
    name: 'refuses an id or a username that is taken, also of several at once, and keeps the first',
    run: on(async (store) => {
      const tries = Array.from({ length: 8 }, (_, index) =>
        store.create('key', newKey(store, 'k1', { name: `${index}` }), by),
      )
      const settled = await Promise.allSettled(tries)
      assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 1)
      await store.create('user', newUser('u1', { username: 'ada' }), by)
      await refused(store.create('user', newUser('u2', { username: 'ada', tenant: 'globex' }), by), 'conflict')
      await refused(store.create('tenant', { id: 'acme', name: 'x', disabled: false }, by), 'conflict')
      await store.create('role', { id: 'r', tenant: 'acme', scopes: [] }, by)
      await store.create('role', { id: 'r', tenant: 'globex', scopes: ['a'] }, by)
      await refused(store.create('role', { id: 'r', tenant: 'acme', scopes: [] }, by), 'conflict')
      assert.equal((await store.find('tenant', { id: 'acme' }))?.name, 'Acme')
    }),
  },
  {
    name: 'refuses a tenant, a team or an owner that is not there, or is of another tenant',
    run: on(async (store) => {
      await store.create('team', { id: 't1', tenant: 'globex', name: 'x', disabled: false }, by)
      await store.create('user', newUser('u1', { tenant: 'globex' }), by)
      await refused(
        store.create('key', newKey(store, 'a', { tenant: 'nobody', owner: { kind: 'tenant', id: 'nobody' } }), by),
        'not_found',
      )
      await refused(store.create('key', newKey(store, 'b', { owner: { kind: 'user', id: 'u1' } }), by), 'not_found')
      await refused(store.create('key', newKey(store, 'c', { owner: { kind: 'team', id: 't1' } }), by), 'not_found')
      await refused(store.create('user', newUser('u2', { team: 't1' }), by), 'not_found')
      await refused(
        store.create('key', newKey(store, 'd', { owner: { kind: 'tenant', id: 'globex' } }), by),
        'not_found',
      )
      assert.deepEqual((await store.list('key', { limit: 10 })).items, [])
    }),
  },
  {
    name: 'finds and changes nothing of another tenant',
    run: on(async (store) => {
      await store.create('key', newKey(store, 'k1'), by)
      await store.create('user', newUser('u1'), by)
      for (const [kind, id] of [
        ['key', 'k1'],
        ['user', 'u1'],
      ] as const) {
        assert.equal(await store.find(kind, { tenant: 'globex', id }), undefined)
        const change = () => assert.fail('it was shown')
        assert.equal(await store.update(kind, { tenant: 'globex', id }, change, by), undefined)
        assert.ok(await store.find(kind, { tenant: 'acme', id }))
        assert.ok(await store.find(kind, { id }))
      }
      assert.deepEqual((await store.list('key', { tenant: 'globex', limit: 10 })).items, [])
      assert.equal((await store.list('key', { tenant: 'acme', limit: 10 })).items.length, 1)
    }),
  },
  {
    name: 'lists newest first in pages, whole and without doubles while others are made',
    run: on(async (store) => {
      for (let index = 0; index < 25; index += 1) await store.create('key', newKey(store, `k${index}`), by)
      let made = 0
      const items = await allOf(async (after) => {
        const page = await store.list('key', { tenant: 'acme', limit: 10, after })
        assert.ok(page.items.length <= 10)
        await store.create('key', newKey(store, `late${made++}`), by)
        return page
      })
      assert.deepEqual(
        items.map(({ id }) => id),
        Array.from({ length: 25 }, (_, index) => `k${24 - index}`),
      )
      const exactly = await store.list('tenant', { limit: 2 })
      assert.equal(exactly.next, undefined)
    }),
  },
  {
    name: 'lists the keys of one owner',
    run: on(async (store) => {
      await store.create('user', newUser('u1'), by)
      const owner = { kind: 'user', id: 'u1' } as const
      await store.create('key', newKey(store, 'k1', { owner }), by)
      await store.create('key', newKey(store, 'k2'), by)
      const { items } = await store.list('key', { tenant: 'acme', owner, limit: 10 })
      assert.deepEqual(
        items.map(({ id }) => id),
        ['k1'],
      )
    }),
  },
  {
    name: 'sets what a change sets, takes away what it says undefined of, leaves the rest',
    run: on(async (store) => {
      await store.create('key', newKey(store, 'k1', { tier: 'pro', models: ['a'] }), by)
      const at = { tenant: 'acme', id: 'k1' }
      const changed = await store.update('key', at, () => ({ name: 'new', tier: undefined }), { ...by, at: now + 5 })
      const { tier: _, ...rest } = newKey(store, 'k1', { tier: 'pro', models: ['a'], name: 'new' })
      assert.deepEqual({ ...changed }, { ...rest, createdAt: now, updatedAt: now + 5 })
      assert.deepEqual({ ...(await store.find('key', at)) }, { ...changed })
      assert.equal(await store.update('key', { tenant: 'acme', id: 'none' }, () => ({ name: 'x' }), by), undefined)
    }),
  },
  {
    name: 'loses none of many changes at once, and keeps nothing of one that throws',
    run: on(async (store) => {
      await store.create('key', newKey(store, 'k1'), by)
      const at = { tenant: 'acme', id: 'k1' }
      const add = (index: number) => store.update('key', at, ({ scopes }) => ({ scopes: [...scopes, `s${index}`] }), by)
      await Promise.all(Array.from({ length: 30 }, (_, index) => add(index)))
      const before = await store.find('key', at)
      assert.equal(new Set(before?.scopes).size, 31)
      const lines = (await store.listAudit({ limit: 100 })).items.length
      const thrown = new Error('no')
      await assert.rejects(
        store.update(
          'key',
          at,
          () => {
            throw thrown
          },
          by,
        ),
        (error) => error === thrown,
      )
      assert.deepEqual({ ...(await store.find('key', at)) }, { ...before })
      assert.equal((await store.listAudit({ limit: 100 })).items.length, lines)
    }),
  },
  {
    name: 'writes a line of the audit log with each change, and no secret in it',
    run: on(async (store) => {
      await store.create('user', newUser('u1', { passwordHash }), by)
      await store.create('key', newKey(store, 'k1'), { ...by, action: 'key.create' })
      await store.update('key', { id: 'k1' }, () => ({ name: 'new', secrets: [] }), {
        ...by,
        action: 'key.rotate',
        at: now + 7,
      })
      await refused(store.create('key', newKey(store, 'k1'), by), 'conflict')
      const all = await allOf((after) => store.listAudit({ limit: 2, after }))
      const [rotated, created] = all
      assert.equal(all.length, 5)
      assert.deepEqual({ ...rotated?.fields }, { name: 'new', secrets: null })
      const { action, at, actor, address, requestId, tenant, target } = rotated ?? assert.fail()
      assert.deepEqual(
        { action, at, actor: { ...actor }, address, requestId, tenant, target: { ...target } },
        { ...by, action: 'key.rotate', at: now + 7, tenant: 'acme', target: { kind: 'key', id: 'k1' } },
      )
      assert.equal(created?.fields['name'], 'key k1')
      const text = JSON.stringify(all)
      for (const secret of [store.digestsOf('clear k1')[0] ?? '', passwordHash, 'scrypt'])
        assert.ok(!text.includes(secret))
      assert.equal((await store.listAudit({ tenant: 'globex', limit: 10 })).items.length, 1)
    }),
  },
  {
    name: 'tells auth of a key all that follows from tenant, roles and owner',
    run: on(async (store) => {
      const limits = { rpm: 5, month: '20.00' }
      await store.update('tenant', { id: 'acme' }, () => ({ tier: 'pro', models: ['gpt-*'], limits }), by)
      await store.create('team', { id: 't1', tenant: 'acme', name: 'x', models: ['*'], disabled: false }, by)
      await store.create('role', { id: 'writer', tenant: 'acme', scopes: ['chat', 'admin'] }, by)
      await store.create('role', { id: 'writer', tenant: 'globex', scopes: ['*'] }, by)
      await store.create('user', newUser('u1', { username: 'ada', team: 't1', scopes: ['chat', 'usage:*'] }), by)
      const owner = { kind: 'user', id: 'u1' } as const
      await store.create(
        'key',
        newKey(store, 'k1', {
          owner,
          scopes: ['usage:read'],
          roles: ['writer', 'none'],
          models: ['gpt-4o'],
          limits: { rpm: 9 },
        }),
        by,
      )
      const found = (await store.findApiKey('k1')) ?? assert.fail()
      const { secrets, scopes, models, limits: own, ...rest } = found
      assert.deepEqual({ ...own }, { rpm: 9, month: '20.00' })
      assert.deepEqual({ ...rest }, { id: 'k1', tenant: 'acme', team: 't1', subject: 'ada', tier: 'pro' })
      assert.deepEqual([...scopes].sort(), ['chat', 'usage:read'])
      assert.deepEqual(
        (models ?? []).map((list) => [...list]),
        [['gpt-4o'], ['*'], ['gpt-*']],
      )
      assert.ok(secrets.some(({ digest }) => store.digestsOf('clear k1').includes(digest)))
      const user = (await store.findUser('ada')) ?? assert.fail()
      assert.equal(user.team, 't1')
      assert.deepEqual({ ...user.limits }, limits)
      assert.equal(user.tier, 'pro')
      assert.equal(await store.findApiKey('none'), undefined)
    }),
  },
  {
    name: 'has a key disabled by its revocation, its user, its team and its tenant',
    run: on(async (store) => {
      await store.create('team', { id: 't1', tenant: 'acme', name: 'x', disabled: false }, by)
      await store.create('user', newUser('u1', { team: 't1' }), by)
      await store.create('key', newKey(store, 'mine', { owner: { kind: 'user', id: 'u1' } }), by)
      await store.create('key', newKey(store, 'ours', { owner: { kind: 'team', id: 't1' } }), by)
      await store.create('key', newKey(store, 'all'), by)
      const disabled = async () => {
        const records = await Promise.all(['mine', 'ours', 'all'].map((id) => store.findApiKey(id)))
        return records.map((record) => record?.disabled === true)
      }
      assert.deepEqual(await disabled(), [false, false, false])
      await store.update('user', { id: 'u1' }, () => ({ disabled: true }), by)
      assert.deepEqual(await disabled(), [true, false, false])
      await store.update('user', { id: 'u1' }, () => ({ disabled: false }), by)
      await store.update('team', { id: 't1' }, () => ({ disabled: true }), by)
      assert.deepEqual(await disabled(), [true, true, false])
      await store.update('tenant', { id: 'acme' }, () => ({ disabled: true }), by)
      assert.deepEqual(await disabled(), [true, true, true])
      await store.update('tenant', { id: 'acme' }, () => ({ disabled: false }), by)
      await store.update('team', { id: 't1' }, () => ({ disabled: false }), by)
      await store.update('key', { id: 'all' }, () => ({ revokedAt: now }), by)
      assert.deepEqual(await disabled(), [false, false, true])
    }),
  },
  {
    name: 'tells listeners soon what has changed, until they end it',
    run: on(async (store) => {
      const told: DirectoryChange[] = []
      const end = store.onChange?.((change) => told.push(change)) ?? assert.fail('it has no onChange')
      await store.create('user', newUser('u1', { username: 'ada' }), by)
      await store.create('key', newKey(store, 'k1'), by)
      await store.create('role', { id: 'r', tenant: 'acme', scopes: [] }, by)
      await store.create('team', { id: 't1', tenant: 'globex', name: 'x', disabled: false }, by)
      await store.revokeToken({ id: 'jti-1', tenant: 'acme', until: now + hour }, by)
      await store.addSigningKey(signingKey('a'), undefined, now, by)
      const wanted = ['user ada', 'key k1', 'tenant acme', 'tenant globex', 'token jti-1', 'all']
      const seen = () => told.map((change) => ('id' in change ? `${change.kind} ${change.id}` : change.kind))
      for (let tries = 0; tries < 200 && !wanted.every((each) => seen().includes(each)); tries += 1) {
        await new Promise((resolve) => setTimeout(resolve, 25))
      }
      for (const each of wanted) assert.ok(seen().includes(each), `${each} of ${seen().join(', ')}`)
      end()
    }),
  },
  {
    name: 'notes the last use, which never goes back',
    run: on(async (store) => {
      await store.create('key', newKey(store, 'k1'), by)
      await store.keyUsed('k1', now + 60_000)
      await store.keyUsed('k1', now)
      await store.keyUsed('none', now)
      assert.equal((await store.find('key', { id: 'k1' }))?.lastUsedAt, now + 60_000)
    }),
  },
  {
    name: 'lets one of many use up a refresh token, and the next one only its successor',
    run: on(async (store) => {
      await store.saveRefreshToken(refreshToken('r1', { clientId: 'app' }))
      const redeem = (id: string, next: string) =>
        store.redeemRefreshToken(id, ['other', `digest-${id}`], now, () => refreshToken(next))
      const tries = await Promise.all(Array.from({ length: 10 }, (_, index) => redeem('r1', `next${index}`)))
      const won = tries.filter((token) => token !== undefined)
      assert.deepEqual(
        won.map((token) => ({ ...token })),
        [refreshToken('r1', { clientId: 'app' })],
      )
    }),
  },
  {
    name: 'revokes the family of a refresh token that is used twice',
    run: on(async (store) => {
      await store.saveRefreshToken(refreshToken('r1'))
      await store.saveRefreshToken(refreshToken('other', { family: 'family-2' }))
      const redeem = (id: string, next: string) =>
        store.redeemRefreshToken(id, [`digest-${id}`], now, () => refreshToken(next))
      assert.ok(await redeem('r1', 'r2'))
      assert.ok(await store.findRefreshToken('r2', ['digest-r2'], now))
      assert.equal(await store.isTokenRevoked(['family-1']), false)
      assert.equal(await redeem('r1', 'r3'), undefined)
      assert.equal(await store.isTokenRevoked(['x', 'family-1']), true)
      assert.equal(await store.findRefreshToken('r2', ['digest-r2'], now), undefined)
      assert.equal(await redeem('r2', 'r4'), undefined)
      assert.ok(await redeem('other', 'r5'))
      const [line] = (await store.listAudit({ tenant: 'acme', limit: 1 })).items
      assert.deepEqual(
        { action: line?.action, tenant: line?.tenant, target: { ...line?.target }, actor: { ...line?.actor } },
        {
          action: 'token.reuse',
          tenant: 'acme',
          target: { kind: 'token', id: 'family-1' },
          actor: { tenant: 'acme', subject: 'ada', method: 'refresh_token' },
        },
      )
    }),
  },
  {
    name: 'tells of a stolen refresh token once, and never ends its revocation earlier',
    async run(make) {
      let time = now
      const store = await make({ now: () => time })
      try {
        await withTenants(store)
        await store.saveRefreshToken(refreshToken('r1', { expiresAt: now + 10 * hour, createdAt: now + 9 * hour }))
        const redeem = () => store.redeemRefreshToken('r1', ['digest-r1'], now, () => refreshToken('r2'))
        assert.ok(await redeem())
        await store.revokeToken({ id: 'family-1', tenant: 'acme', until: now + 5 * hour }, by)
        const lines = (await store.listAudit({ limit: 100 })).items.length
        // By itself it would revoke for an hour.
        for (let count = 0; count < 5; count += 1) assert.equal(await redeem(), undefined)
        await store.revokeToken({ id: 'family-1', tenant: 'acme', until: now + hour }, by)
        assert.equal((await store.listAudit({ limit: 100 })).items.length, lines + 1)
        time = now + 5 * hour - 1
        assert.equal(await store.isTokenRevoked(['family-1']), true)
        time = now + 5 * hour
        assert.equal(await store.isTokenRevoked(['family-1']), false)
      } finally {
        await store.close()
      }
    },
  },
  {
    name: 'lets nobody use a refresh token whose family was revoked',
    run: on(async (store) => {
      await store.saveRefreshToken(refreshToken('r1'))
      await store.revokeToken({ id: 'family-1', tenant: 'acme', until: now + hour }, by)
      const fail = () => assert.fail('it was used')
      assert.equal(await store.findRefreshToken('r1', ['digest-r1'], now), undefined)
      assert.equal(await store.redeemRefreshToken('r1', ['digest-r1'], now, fail), undefined)
    }),
  },
  {
    name: 'leaves a refresh token unused whose successor cannot be kept',
    run: on(async (store) => {
      await store.saveRefreshToken(refreshToken('r1'))
      await store.saveRefreshToken(refreshToken('taken', { family: 'family-2' }))
      const redeem = (successor: () => RefreshToken) => store.redeemRefreshToken('r1', ['digest-r1'], now, successor)
      const thrown = new Error('no')
      await assert.rejects(
        redeem(() => {
          throw thrown
        }),
        (error) => error === thrown,
      )
      await refused(
        redeem(() => refreshToken('taken')),
        'conflict',
      )
      await refused(
        redeem(() => refreshToken('r1')),
        'conflict',
      )
      await refused(store.saveRefreshToken(refreshToken('taken')), 'conflict')
      assert.ok(await redeem(() => refreshToken('r2')))
      assert.equal((await store.findRefreshToken('taken', ['digest-taken'], now))?.family, 'family-2')
    }),
  },
  {
    name: 'refuses a change to what is not there, in the own tenant, and writes no line of it',
    run: on(async (store) => {
      await store.create('team', { id: 'theirs', tenant: 'globex', name: 'x', disabled: false }, by)
      await store.create('user', newUser('them', { tenant: 'globex' }), by)
      await store.create('user', newUser('u1'), by)
      await store.create('key', newKey(store, 'k1'), by)
      const lines = (await store.listAudit({ limit: 100 })).items.length
      for (const team of ['none', 'theirs']) {
        await refused(
          store.update('user', { id: 'u1' }, () => ({ team }), by),
          'not_found',
        )
      }
      for (const owner of [
        { kind: 'user', id: 'none' },
        { kind: 'user', id: 'them' },
        { kind: 'team', id: 'theirs' },
        { kind: 'tenant', id: 'globex' },
      ] as const) {
        await refused(
          store.update('key', { id: 'k1' }, () => ({ owner }), by),
          'not_found',
        )
      }
      assert.equal((await store.find('user', { id: 'u1' }))?.team, undefined)
      assert.deepEqual({ ...(await store.find('key', { id: 'k1' }))?.owner }, { kind: 'tenant', id: 'acme' })
      assert.equal((await store.listAudit({ limit: 100 })).items.length, lines)
    }),
  },
  {
    name: 'never changes what stays, also for callers that no compiler has checked',
    run: on(async (store) => {
      await store.create('user', newUser('u1'), by)
      await store.create('key', newKey(store, 'k1'), by)
      const [user, key] = [await store.find('user', { id: 'u1' }), await store.find('key', { id: 'k1' })]
      for (const [kind, id, change] of [
        ['user', 'u1', { id: 'u2' }],
        ['user', 'u1', { tenant: 'globex' }],
        ['user', 'u1', { username: 'root' }],
        ['user', 'u1', { createdAt: 0 }],
        ['key', 'k1', { environment: 'test' }],
        ['key', 'k1', { lastUsedAt: 5 }],
      ] as const) {
        await assert.rejects(
          store.update(kind, { id }, () => change as never, by),
          new RegExp(Object.keys(change)[0] as string),
        )
      }
      assert.deepEqual(await store.find('user', { id: 'u1' }), user)
      assert.deepEqual(await store.find('key', { id: 'k1' }), key)
    }),
  },
  {
    name: 'takes no refresh token that has another digest, is expired or unknown, and does it no harm',
    run: on(async (store) => {
      await store.saveRefreshToken(refreshToken('r1'))
      const fail = () => assert.fail('it was used')
      assert.equal(await store.redeemRefreshToken('r1', ['digest-r2'], now, fail), undefined)
      assert.equal(await store.redeemRefreshToken('r1', ['digest-r1'], now + hour, fail), undefined)
      assert.equal(await store.redeemRefreshToken('none', ['digest-r1'], now, fail), undefined)
      assert.equal(await store.isTokenRevoked(['family-1']), false)
      assert.ok(await store.redeemRefreshToken('r1', ['digest-r1'], now, () => refreshToken('r2')))
    }),
  },
  {
    name: 'lets one of several signing keys follow the newest, and ends the earlier ones when told',
    run: on(async (store) => {
      const first = await Promise.all(
        ['a', 'b', 'c', 'x', 'y'].map((kid) => store.addSigningKey(signingKey(kid), undefined, now, by)),
      )
      assert.equal(first.filter(Boolean).length, 1)
      const [only] = await store.signingKeys(now)
      assert.deepEqual({ ...only }, signingKey(only?.kid ?? ''))
      assert.equal(await store.addSigningKey(signingKey('d'), 'none', now + hour, by), false)
      assert.equal(await store.addSigningKey(signingKey('d'), only?.kid, now + hour, by), true)
      const both = await store.signingKeys(now)
      assert.deepEqual(
        both.map(({ kid, expiresAt }) => [kid, expiresAt]),
        [
          [only?.kid, now + hour],
          ['d', undefined],
        ],
      )
      assert.deepEqual(
        (await store.signingKeys(now + hour)).map(({ kid }) => kid),
        ['d'],
      )
    }),
  },
  {
    name: 'begins anew when the newest signing key has expired, and tells nobody its private part',
    run: on(async (store) => {
      assert.equal(await store.addSigningKey(signingKey('a', { expiresAt: now + 5 }), undefined, now, by), true)
      assert.equal(await store.addSigningKey(signingKey('b'), undefined, now, by), false)
      const later = { ...by, at: now + 5 }
      assert.equal(await store.addSigningKey(signingKey('b'), undefined, now + hour, later), true)
      assert.deepEqual(
        (await store.signingKeys(now + 5)).map(({ kid, expiresAt }) => [kid, expiresAt]),
        [['b', undefined]],
      )
      await store.create('key', newKey(store, 'k1'), by)
      const lines = JSON.stringify((await store.listAudit({ limit: 100 })).items)
      assert.match(lines, /signing-key/)
      assert.doesNotMatch(lines, /private-|[0-9a-f]{64}/)
    }),
  },
  {
    name: 'takes no harm from names of any kind',
    run: on(async (store) => {
      for (const id of [
        "'; drop table users",
        '%',
        '_',
        '__proto__',
        'constructor',
        '\u0000',
        '\ud800',
        '',
        ' ',
        '☃',
      ]) {
        assert.equal(await store.findApiKey(id), undefined)
        assert.equal(await store.findUser(id), undefined)
        assert.equal(await store.findUser(`${id}?`), undefined)
        assert.equal(await store.find('user', { tenant: 'acme', id }), undefined)
        assert.equal(await store.isTokenRevoked([id]), false)
      }
      const odd = `o'd%_"\\ ☃`
      await store.create('tenant', { id: odd, name: odd, disabled: false }, by)
      await store.create('user', newUser(odd, { tenant: odd, username: odd }), by)
      assert.equal((await store.findUser(odd))?.tenant, odd)
    }),
  },
  {
    name: 'hands out snapshots',
    run: on(async (store) => {
      await store.create('key', newKey(store, 'k1'), by)
      const found = (await store.find('key', { id: 'k1' })) as ApiKey
      for (const change of [
        () => (found.scopes as string[]).push('admin'),
        () => Object.assign(found, { tenant: 'globex' }),
      ]) {
        try {
          change()
        } catch (error) {
          assert.ok(error instanceof TypeError)
        }
      }
      assert.deepEqual((await store.findApiKey('k1'))?.scopes, ['chat'])
      assert.equal((await store.find('key', { id: 'k1' }))?.tenant, 'acme')
    }),
  },
  {
    name: 'closes twice without complaint',
    async run(make) {
      const store = await make()
      await store.close()
      await store.close()
    },
  },
]
