export type { PostgresConnection } from './connection.js'
export { type PostgresDatabase, type PostgresDatabaseOptions, postgresDatabase } from './postgres-database.js'
export {
  type PostgresIdentityStore,
  type PostgresIdentityStoreOptions,
  postgresIdentityStore,
} from './postgres-identity-store.js'
export { type PostgresLedger, type PostgresLedgerOptions, postgresLedger } from './postgres-ledger.js'
