import assert from 'node:assert/strict'
import type { Change, IdentityStore, NewEntity, RefreshToken, SigningKey } from '../stores/identity-store.js'

/** Makes an empty store, on a clock (milliseconds since the epoch) if one is given. */
export type MakeIdentityStore = (options?: { readonly now?: () => number }) => IdentityStore | Promise<IdentityStore>

export interface IdentityStoreCase {
  readonly name: string
  run(make: MakeIdentityStore): Promise<void>
}

export const now = Date.now()
export const hour = 3_600_000
export const by: Change = {
  action: 'test',
  at: now,
  actor: { tenant: 'root', subject: 'operator', method: 'api-key', keyId: 'k0' },
  address: '192.0.2.1',
  requestId: 'r1',
}
export const passwordHash = '$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8'

export const newKey = (store: IdentityStore, id: string, more: Partial<NewEntity<'key'>> = {}): NewEntity<'key'> => ({
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
export const newUser = (id: string, more: Partial<NewEntity<'user'>> = {}): NewEntity<'user'> => {
  const user = { id, tenant: 'acme', username: `name-${id}`, scopes: ['chat', 'embed'], roles: [], disabled: false }
  return { ...user, ...more }
}
export const refreshToken = (id: string, more: Partial<RefreshToken> = {}): RefreshToken => ({
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
export const signingKey = (kid: string, more: Partial<SigningKey> = {}): SigningKey => ({
  kid,
  alg: 'ES256',
  publicKey: { kty: 'EC', kid },
  privateKey: JSON.stringify({ kty: 'EC', d: `private-${kid}` }),
  createdAt: now,
  signsFrom: now,
  ...more,
})

export async function withTenants(store: IdentityStore): Promise<void> {
  await store.create('tenant', { id: 'acme', name: 'Acme', disabled: false }, by)
  await store.create('tenant', { id: 'globex', name: 'Globex', disabled: false }, by)
}

/** Runs the check on a store with the tenants `acme` and `globex`, and closes it. */
export function on(check: (store: IdentityStore) => Promise<void>): IdentityStoreCase['run'] {
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

export const refused = (promise: Promise<unknown>, code: string): Promise<void> =>
  assert.rejects(promise, (error: { code?: unknown }) => error.code === code)

export async function allOf<Item>(
  page: (after: string | undefined) => Promise<{ items: readonly Item[]; next?: string }>,
) {
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
