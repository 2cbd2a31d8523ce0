import { TollgateError } from '@tollgate/core/errors'
import { checkedOptions, objectOption } from '@tollgate/core/options'
import { effectiveKey, effectiveUser, rolesOf } from '@tollgate/core/stores/effective-identity'
import { changedFields } from '@tollgate/core/stores/identity-audit'
import { checkChanges, cursorOf } from '@tollgate/core/stores/identity-changes'
import { type IdentitySecret, identitySecrets } from '@tollgate/core/stores/identity-secrets'
import type {
  ApiKey,
  Entities,
  EntityAddress,
  EntityKind,
  IdentityStore,
  ListQuery,
  Page,
  User,
} from '@tollgate/core/stores/identity-store'
import type { Selectable } from 'kysely'
import { z } from 'zod'
import type { PostgresConnection } from './connection.js'
import { columnsOf, isStorable, refusalOf } from './identity-rows.js'
import { identitySigningKeys } from './identity-signing-keys.js'
import { identityTokens } from './identity-tokens.js'
import { databaseOf, databaseOptions, type PostgresDatabase } from './postgres-database.js'
import type { Database, Tables } from './tables.js'
import { changeOf, changesTold, log, tell } from './told-changes.js'

export interface PostgresIdentityStoreOptions {
  /** Where the database is, for this store alone; or `database`. */
  readonly connection?: PostgresConnection
  /** A database that other stores use too. It is not closed. */
  readonly database?: PostgresDatabase
  /** Keys the hashes and seals signing keys. The same for all processes, or what one keeps is nothing to the other. */
  readonly secret: IdentitySecret
  /** As of {@link postgresDatabase}, with `connection`. */
  readonly timeoutMs?: number
  /** As of {@link postgresDatabase}, with `connection`. */
  readonly onError?: (error: unknown) => void
  /** The clock, milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

/** An {@link IdentityStore} that lasts. */
export interface PostgresIdentityStore extends IdentityStore {
  /** As of {@link PostgresDatabase}. */
  ready(): Promise<void>
  /** As of {@link PostgresDatabase}. */
  check(): Promise<void>
}

const tables = {
  tenant: 'tollgate.tenants',
  team: 'tollgate.teams',
  role: 'tollgate.roles',
  user: 'tollgate.users',
  key: 'tollgate.api_keys',
} as const

const schema = z
  .strictObject({
    ...databaseOptions,
    connection: databaseOptions.connection.optional(),
    database: objectOption<PostgresDatabase>('a postgresDatabase()', 'use', 'listen').optional(),
    secret: z.custom<IdentitySecret>(),
  })
  .refine(
    ({ connection, database }) => (connection === undefined) !== (database === undefined),
    'give connection or database',
  )

/**
 * Tenants, teams, roles, users, API keys, refresh tokens, signing keys and the audit log in Postgres 13 or later, or in embedded Postgres (PGlite), by the same SQL,
 * in a schema of its own, `tollgate`. Changes are told to every process by `NOTIFY`.
 *
 * @throws TollgateError `config_invalid` for wrong options
 * @example
 * const store = postgresIdentityStore({ connection: { url: process.env.DATABASE_URL }, secret: process.env.IDENTITY_SECRET })
 * await store.ready()
 */
export function postgresIdentityStore(options: PostgresIdentityStoreOptions): PostgresIdentityStore {
  const {
    secret,
    now,
    database: given,
    connection,
    timeoutMs,
    onError,
  } = checkedOptions('postgresIdentityStore', schema, options)
  const { digestsOf, seal, open } = identitySecrets(secret)
  const { database, isOwn } = databaseOf(given, {
    timeoutMs,
    onError,
    now,
    ...(connection === undefined ? {} : { connection }),
  })
  const db = () => database.use()
  const told = changesTold(database)

  const rowsOf = (database: Database, kind: EntityKind, { tenant, id }: EntityAddress) => {
    const all = database
      .selectFrom(tables[kind] as 'tollgate.api_keys')
      .selectAll()
      .where('id', '=', id)
    return tenant === undefined || kind === 'tenant' ? all : all.where('tenant', '=', tenant)
  }
  const isThere = (kind: EntityKind, { tenant, id }: EntityAddress): boolean =>
    isStorable(tenant, id) &&
    (kind !== 'tenant' || tenant === undefined || tenant === id) &&
    (kind !== 'role' || tenant !== undefined)

  const frameOf = async (database: Database, tenant: string, team: string | undefined, roles: readonly string[]) => {
    const named = roles.filter((role) => isStorable(role))
    const [tenantRow, teamRow, roleRows] = await Promise.all([
      database.selectFrom('tollgate.tenants').select('body').where('id', '=', tenant).executeTakeFirst(),
      team === undefined
        ? undefined
        : database
            .selectFrom('tollgate.teams')
            .select('body')
            .where('tenant', '=', tenant)
            .where('id', '=', team)
            .executeTakeFirst(),
      // A tenant may have any number of roles; only those that are asked for are read.
      named.length === 0
        ? []
        : database
            .selectFrom('tollgate.roles')
            .select('body')
            .where('tenant', '=', tenant)
            .where('id', 'in', named)
            .execute(),
    ])
    return { tenant: tenantRow?.body, team: teamRow?.body, roles: roleRows.map(({ body }) => body) }
  }

  return {
    digestsOf,
    ready: () => database.ready(),
    check: () => database.check(),
    async close() {
      told.end()
      if (isOwn) await database.close()
    },
    onChange: told.onChange,

    async findApiKey(id) {
      if (!isStorable(id)) return undefined
      const database = db()
      const row = await database
        .selectFrom('tollgate.api_keys as key')
        .leftJoin('tollgate.users as user', (join) =>
          join.onRef('user.tenant', '=', 'key.tenant').onRef('user.id', '=', 'key.owner_user'),
        )
        .select(['key.body as key', 'user.body as user'])
        .where('key.id', '=', id)
        .executeTakeFirst()
      if (row === undefined) return undefined
      const { key } = row
      const user: User | undefined = row.user ?? undefined
      const team = key.owner.kind === 'team' ? key.owner.id : user?.team
      return effectiveKey(key, user, await frameOf(database, key.tenant, team, rolesOf(key, user)))
    },
    async findUser(username) {
      if (!isStorable(username)) return undefined
      const database = db()
      const row = await database
        .selectFrom('tollgate.users')
        .select('body')
        .where('username', '=', username)
        .executeTakeFirst()
      return row === undefined
        ? undefined
        : effectiveUser(row.body, await frameOf(database, row.body.tenant, row.body.team, row.body.roles))
    },

    async create(kind, entity, by) {
      const kept = JSON.parse(
        JSON.stringify({ ...entity, createdAt: by.at, updatedAt: by.at }),
      ) as Entities[typeof kind]
      const { id } = kept
      const tenant = kind === 'tenant' ? id : (kept as User).tenant
      checkOwner(kind, kept)
      try {
        await db()
          .transaction()
          .execute(async (transaction) => {
            const row = { ...columnsOf(kind, kept), id, body: JSON.stringify(kept) }
            await transaction
              .insertInto(tables[kind] as 'tollgate.tenants')
              .values(row)
              .execute()
            await log(transaction, by, tenant, { kind, id }, changedFields(undefined, kept))
            await tell(transaction, changeOf(kind, kept))
          })
      } catch (error) {
        throw refusalOf(error, kind, id)
      }
      return kept
    },
    async find(kind, address) {
      if (!isThere(kind, address)) return undefined
      const row = await rowsOf(db(), kind, address).executeTakeFirst()
      return row === undefined ? undefined : entityOf<typeof kind>(row)
    },
    async list(kind, { tenant, owner, limit, after }: ListQuery) {
      if (!isStorable(tenant, owner?.id)) return { items: [] }
      let query = db()
        .selectFrom(tables[kind] as 'tollgate.api_keys')
        .selectAll()
        .orderBy('sequence', 'desc')
        .limit(limit + 1)
      if (tenant !== undefined) query = query.where(kind === 'tenant' ? 'id' : 'tenant', '=', tenant)
      if (after !== undefined) query = query.where('sequence', '<', cursorOf(after))
      if (kind === 'key' && owner !== undefined) {
        if (owner.kind === 'tenant') {
          query = query.where('tenant', '=', owner.id).where('owner_user', 'is', null).where('owner_team', 'is', null)
        } else query = query.where(owner.kind === 'user' ? 'owner_user' : 'owner_team', '=', owner.id)
      }
      return pageOf(await query.execute(), limit, (row) => entityOf<typeof kind>(row))
    },
    async update(kind, address, change, by) {
      if (!isThere(kind, address)) return undefined
      try {
        return await db()
          .transaction()
          .execute(async (transaction) => {
            const row = await rowsOf(transaction, kind, address).forUpdate().executeTakeFirst()
            if (row === undefined) return undefined
            const before = entityOf<typeof kind>(row)
            const changes = change(before)
            checkChanges(before, changes)
            const after = JSON.parse(JSON.stringify({ ...before, ...changes, updatedAt: by.at })) as typeof before
            checkOwner(kind, after)
            const { id } = after
            const tenant = kind === 'tenant' ? id : (after as User).tenant
            let update = transaction
              .updateTable(tables[kind] as 'tollgate.api_keys')
              .set({ ...columnsOf(kind, after), body: JSON.stringify({ ...after, lastUsedAt: undefined }) })
              .where('id', '=', id)
            if (kind !== 'tenant') update = update.where('tenant', '=', tenant)
            await update.execute()
            await log(transaction, by, tenant, { kind, id }, changedFields(before, after))
            await tell(transaction, changeOf(kind, after))
            return after
          })
      } catch (error) {
        throw refusalOf(error, kind, address.id)
      }
    },
    async listAudit({ tenant, limit, after }) {
      if (!isStorable(tenant)) return { items: [] }
      let query = db()
        .selectFrom('tollgate.audit_log')
        .selectAll()
        .orderBy('sequence', 'desc')
        .limit(limit + 1)
      if (tenant !== undefined) query = query.where('tenant', '=', tenant)
      if (after !== undefined) query = query.where('sequence', '<', cursorOf(after))
      return pageOf(await query.execute(), limit, ({ body }) => body)
    },

    async keyUsed(id, at) {
      if (!isStorable(id)) return
      await db()
        .updateTable('tollgate.api_keys')
        .set({ last_used_at: at })
        .where('id', '=', id)
        .where(({ or, eb }) => or([eb('last_used_at', 'is', null), eb('last_used_at', '<', at)]))
        .execute()
    },

    ...identityTokens(database, now),
    ...identitySigningKeys(database, { seal, open }),
  }
}

function entityOf<Kind extends EntityKind>(row: Selectable<Tables['tollgate.api_keys']>): Entities[Kind] {
  const body = row.body as unknown as Entities[Kind]
  const lastUsedAt = row.last_used_at ?? undefined
  return lastUsedAt === undefined ? body : { ...body, lastUsedAt: Number(lastUsedAt) }
}

/** The database sees to all other parents: a key of a tenant has no column for its owner. */
function checkOwner(kind: EntityKind, entity: Entities[EntityKind]): void {
  if (kind !== 'key') return
  const { id, tenant, owner } = entity as ApiKey
  if (owner.kind !== 'tenant' || owner.id === tenant) return
  throw new TollgateError('not_found', `The tenant that the key ${id} belongs to is not its own.`)
}

function pageOf<Row extends { sequence: string | number }, Item>(
  rows: readonly Row[],
  limit: number,
  itemOf: (row: Row) => Item,
): Page<Item> {
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  const next = rows.length > limit && last !== undefined ? { next: String(last.sequence) } : undefined
  return { items: shown.map(itemOf), ...next }
}
