import type { Change } from '@tollgate/core/stores/identity-store'
import { onTestFinished } from 'vitest'
import { type PostgresConnection, postgresIdentityStore } from '../src/index.js'

export const secret = 'a secret of thirty-two bytes or more'
export const serverUrl = process.env['TEST_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'
export const by: Change = {
  action: 'test',
  at: 1_000,
  actor: { tenant: 'root', subject: 'operator', method: 'api-key' },
}
/** All tables of identities. */
export const names = [
  'tenants',
  'teams',
  'roles',
  'users',
  'api_keys',
  'audit_log',
  'refresh_tokens',
  'revoked_tokens',
  'signing_keys',
]

/** A store that is ready, closed when the test is over. */
export async function opened(connection: PostgresConnection, onError: (error: unknown) => void = () => {}) {
  const store = postgresIdentityStore({ connection, secret, onError })
  onTestFinished(() => store.close())
  await store.ready()
  return store
}
