import assert from 'node:assert/strict'
import type { DirectoryChange } from '../stores/directory.js'
import { by, hour, type IdentityStoreCase, newKey, newUser, now, on, signingKey } from './identity-store-case.js'

/** What `auth` is told of keys and users, and when something of it has changed. */
export const identityDirectoryCases: readonly IdentityStoreCase[] = [
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
]
