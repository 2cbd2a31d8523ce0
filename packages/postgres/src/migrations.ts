import { type Kysely, sql } from 'kysely'
import type { Tables } from './tables.js'

/** Each is run once, in order, and never changed after it was published. */
const migrations: readonly (readonly string[])[] = [
  [
    `create table tollgate.tenants (id text primary key, sequence bigint generated always as identity, body jsonb not null)`,
    `create table tollgate.teams (id text primary key, tenant text not null references tollgate.tenants, sequence bigint generated always as identity,
       body jsonb not null, unique (tenant, id))`,
    `create table tollgate.roles (tenant text not null references tollgate.tenants, id text not null, sequence bigint generated always as identity,
       body jsonb not null, primary key (tenant, id))`,
    `create table tollgate.users (id text primary key, tenant text not null references tollgate.tenants, username text not null unique, team text,
       sequence bigint generated always as identity, body jsonb not null, unique (tenant, id), foreign key (tenant, team) references tollgate.teams (tenant, id))`,
    `create table tollgate.api_keys (id text primary key, tenant text not null references tollgate.tenants, owner_user text, owner_team text,
       last_used_at bigint, sequence bigint generated always as identity, body jsonb not null,
       foreign key (tenant, owner_user) references tollgate.users (tenant, id), foreign key (tenant, owner_team) references tollgate.teams (tenant, id))`,
    `create index on tollgate.api_keys (tenant, sequence)`,
    `create index on tollgate.users (tenant, sequence)`,
    `create table tollgate.audit_log (id text primary key, tenant text not null, sequence bigint generated always as identity, body jsonb not null)`,
    `create index on tollgate.audit_log (tenant, sequence)`,
    `create index on tollgate.audit_log (sequence)`,
    `create table tollgate.refresh_tokens (id text primary key, family text not null, used boolean not null, expires_at bigint not null, body jsonb not null)`,
    `create index on tollgate.refresh_tokens (expires_at)`,
    `create table tollgate.revoked_tokens (id text primary key, until bigint not null)`,
    `create table tollgate.signing_keys (kid text primary key, sequence bigint generated always as identity, expires_at bigint, body jsonb not null)`,
  ],
  [`create index on tollgate.revoked_tokens (until)`],
  [
    `create table tollgate.ledger (id text primary key, at bigint not null, tenant text not null, team text, "user" text not null, key text, model text, provider text,
       outcome text not null, cost_nano_usd bigint, priced boolean, input_tokens bigint not null, cache_read_tokens bigint not null, cache_write_tokens bigint not null,
       output_tokens bigint not null, reasoning_tokens bigint not null, other_tokens bigint not null, "rows" bigint not null, tags jsonb, body jsonb not null)`,
    `create index on tollgate.ledger (tenant, at)`,
    `create index on tollgate.ledger (at)`,
  ],
]

/** One number for all who migrate; nobody else's, it is hoped: the first bytes of SHA-256 of `tollgate`. */
const advisoryLock = 1_887_399_546

/**
 * Brings the schema up to date, all or nothing.
 *
 * @returns false if another process is at it now
 * @throws Error if the database is newer than this code
 */
export async function migrate(database: Kysely<Tables>, now: () => number): Promise<boolean> {
  return database.transaction().execute(async (transaction) => {
    const lock = await sql<{
      mine: boolean
    }>`select pg_try_advisory_xact_lock(${sql.lit(advisoryLock)}) as mine`.execute(transaction)
    if (lock.rows[0]?.mine !== true) return false
    await sql`create schema if not exists tollgate`.execute(transaction)
    await sql`create table if not exists tollgate.migrations (version integer primary key, at bigint not null)`.execute(
      transaction,
    )
    const { version } = await transaction
      .selectFrom('tollgate.migrations')
      .select(({ fn }) => fn.coalesce(fn.max('version'), sql.lit(0)).as('version'))
      .executeTakeFirstOrThrow()
    if (version > migrations.length) {
      throw new Error(
        `The schema tollgate is at version ${version}, and this release knows ${migrations.length}: start a newer release, or one that goes with this database.`,
      )
    }
    for (const [index, statements] of migrations.entries()) {
      if (index < version) continue
      for (const statement of statements) await sql.raw(statement).execute(transaction)
      await transaction
        .insertInto('tollgate.migrations')
        .values({ version: index + 1, at: now() })
        .execute()
    }
    return true
  })
}
