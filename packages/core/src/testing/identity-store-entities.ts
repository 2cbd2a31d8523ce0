import assert from 'node:assert/strict'
import {
  allOf,
  by,
  hour,
  type IdentityStoreCase,
  newKey,
  newUser,
  now,
  on,
  passwordHash,
  refused,
} from './identity-store-case.js'

/** Tenants, teams, roles, users and keys: how they are kept, found, listed and changed, and the audit log of it. */
export const entityCases: readonly IdentityStoreCase[] = [
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
    name: 'notes the last use, which never goes back',
    run: on(async (store) => {
      await store.create('key', newKey(store, 'k1'), by)
      await store.keyUsed('k1', now + 60_000)
      await store.keyUsed('k1', now)
      await store.keyUsed('none', now)
      assert.equal((await store.find('key', { id: 'k1' }))?.lastUsedAt, now + 60_000)
    }),
  },
]
