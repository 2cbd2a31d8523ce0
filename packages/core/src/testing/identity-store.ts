import assert from 'node:assert/strict'
import type { ApiKey, IdentityStore } from '../stores/identity-store.js'
import { by, type IdentityStoreCase, newKey, newUser, on } from './identity-store-case.js'
import { identityDirectoryCases } from './identity-store-directory.js'
import { entityCases } from './identity-store-entities.js'
import { tokenCases } from './identity-store-tokens.js'

export type { IdentityStoreCase, MakeIdentityStore } from './identity-store-case.js'

/**
 * What every {@link IdentityStore} does, as plain data. Each case wants a store of its own, empty.
 *
 * @example for (const { name, run } of identityStoreCases) it(name, () => run(() => myStore()))
 */
export const identityStoreCases: readonly IdentityStoreCase[] = [
  ...entityCases,
  ...identityDirectoryCases,
  ...tokenCases,
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
