import type {
  ApiKey,
  AuditEntry,
  RefreshToken,
  Role,
  SigningKey,
  Team,
  Tenant,
  User,
} from '@tollgate/core/stores/identity-store'
import type { LedgerRow } from '@tollgate/core/stores/ledger'
import type { ColumnType, Generated, Kysely, Transaction } from 'kysely'

/** Written as JSON text, read as what it holds. */
type Json<Value> = ColumnType<Value, string, string>
/** `bigint`; drivers give it as text or number. */
type Time = ColumnType<string | number, number, number>

/** What is searched or held together by the database is a column; all of the entity is in `body`. */
interface EntityTable<Entity> {
  id: string
  /** The order in which they were made. */
  sequence: Generated<string | number>
  body: Json<Entity>
}

/** The tables of the schema `tollgate`. */
export interface Tables {
  'tollgate.tenants': EntityTable<Tenant>
  'tollgate.teams': EntityTable<Team> & { tenant: string }
  'tollgate.roles': EntityTable<Role> & { tenant: string }
  'tollgate.users': EntityTable<User> & { tenant: string; username: string; team: string | null }
  'tollgate.api_keys': EntityTable<ApiKey> & {
    tenant: string
    owner_user: string | null
    owner_team: string | null
    last_used_at: ColumnType<string | number | null, number | null, number>
  }
  'tollgate.audit_log': EntityTable<AuditEntry> & { tenant: string }
  'tollgate.refresh_tokens': {
    id: string
    family: string
    used: boolean
    expires_at: Time
    body: Json<RefreshToken>
  }
  'tollgate.revoked_tokens': { id: string; until: Time }
  'tollgate.signing_keys': {
    kid: string
    sequence: Generated<string | number>
    expires_at: ColumnType<string | number | null, number | null, number | null>
    /** With the private key sealed. */
    body: Json<Omit<SigningKey, 'expiresAt'>>
  }
  'tollgate.migrations': { version: number; at: Time }
  'tollgate.ledger': {
    id: string
    at: Time
    tenant: string
    team: string | null
    user: string
    key: string | null
    model: string | null
    provider: string | null
    outcome: string
    cost_nano_usd: ColumnType<string | null, number | null, never>
    priced: boolean | null
    input_tokens: ColumnType<string, number, never>
    cache_read_tokens: ColumnType<string, number, never>
    cache_write_tokens: ColumnType<string, number, never>
    output_tokens: ColumnType<string, number, never>
    reasoning_tokens: ColumnType<string, number, never>
    other_tokens: ColumnType<string, number, never>
    rows: ColumnType<string, number, never>
    tags: ColumnType<Record<string, string> | null, string | null, never>
    body: ColumnType<LedgerRow, string, never>
  }
}

/** What a statement runs on: the database, or one transaction. */
export type Database = Kysely<Tables> | Transaction<Tables>
