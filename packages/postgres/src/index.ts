export type { PostgresConnection } from './connection.js'
export {
  type PostgresIdentityStore,
  type PostgresIdentityStoreOptions,
  postgresIdentityStore,
} from './postgres-identity-store.js'
