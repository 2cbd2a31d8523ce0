import assert from 'node:assert/strict'
import type { RefreshToken } from '../stores/identity-store.js'
import {
  by,
  hour,
  type IdentityStoreCase,
  newKey,
  now,
  on,
  refreshToken,
  refused,
  signingKey,
  withTenants,
} from './identity-store-case.js'

/** Refresh tokens, what is revoked, and the keys that sign. */
export const tokenCases: readonly IdentityStoreCase[] = [
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
]
