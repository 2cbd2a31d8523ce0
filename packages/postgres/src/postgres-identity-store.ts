import { randomUUID } from 'node:crypto'
import { TollgateError } from '@tollgate/core/errors'
import { checkedOptions, objectOption } from '@tollgate/core/options'
import type { DirectoryChange } from '@tollgate/core/stores/directory'
import { effectiveKey, effectiveUser, rolesOf } from '@tollgate/core/stores/effective-identity'
import { changedFields } from '@tollgate/core/stores/identity-audit'
import { checkChanges, cursorOf } from '@tollgate/core/stores/identity-changes'
import { type IdentitySecret, identitySecrets } from '@tollgate/core/stores/identity-secrets'
import type {
  ApiKey,
  AuditEntry,
  Change,
  Entities,
  EntityAddress,
  EntityKind,
  IdentityStore,
  ListQuery,
  Page,
  RefreshToken,
  SigningKey,
  User,
} from '@tollgate/core/stores/identity-store'
import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import { z } from 'zod'
import type { PostgresConnection } from './connection.js'
import { columnsOf, isStorable, refusalOf } from './identity-rows.js'
import { databaseOf, databaseOptions, type PostgresDatabase } from './postgres-database.js'
import type { Tables } from './tables.js'

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

const channel = 'tollgate_identity'
const tables = {
  tenant: 'tollgate.tenants',
  team: 'tollgate.teams',
  role: 'tollgate.roles',
  user: 'tollgate.users',
  key: 'tollgate.api_keys',
} as const

/** Bytes that `NOTIFY` takes. */
const maxPayload = 7_999

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

type Database = Kysely<Tables> | Transaction<Tables>

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
  const listeners = new Set<(change: DirectoryChange) => void>()

  const announce = (change: DirectoryChange): void => {
    for (const listener of listeners) {
      try {
        listener(change)
      } catch (error) {
        database.report(error)
      }
    }
  }
  database.listen(
    channel,
    (payload) => announce(changeIn(payload)),
    () => announce({ kind: 'all' }),
  )

  const tell = async (transaction: Database, change: DirectoryChange): Promise<void> => {
    const payload = JSON.stringify(change)
    const told = Buffer.byteLength(payload) > maxPayload ? JSON.stringify({ kind: 'all' }) : payload
    await sql`select pg_notify(${channel}, ${told})`.execute(transaction)
  }
  const log = async (
    transaction: Database,
    by: Change,
    tenant: string,
    target: AuditEntry['target'],
    fields: AuditEntry['fields'],
  ): Promise<void> => {
    const id = randomUUID()
    const body = JSON.stringify({ ...by, id, tenant, target, fields } satisfies AuditEntry)
    await transaction.insertInto('tollgate.audit_log').values({ id, tenant, body }).execute()
  }

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

  const revoke = async (
    transaction: Database,
    id: string,
    tenant: string,
    until: number,
    by: Change | undefined,
  ): Promise<void> => {
    await transaction.deleteFrom('tollgate.revoked_tokens').where('until', '<=', now()).execute()
    await transaction
      .insertInto('tollgate.revoked_tokens')
      .values({ id, until })
      .onConflict((conflict) =>
        // Never for a shorter time than it was.
        conflict.column('id').doUpdateSet({ until: sql`greatest(tollgate.revoked_tokens.until, excluded.until)` }),
      )
      .execute()
    if (by === undefined) return
    await log(transaction, by, tenant, { kind: 'token', id }, {})
    await tell(transaction, { kind: 'token', id })
  }
  const isRevoked = async (database: Database, ids: readonly string[], time: number): Promise<boolean> => {
    const known = ids.filter((id) => isStorable(id))
    if (known.length === 0) return false
    const row = await database
      .selectFrom('tollgate.revoked_tokens')
      .select('id')
      .where('id', 'in', known)
      .where('until', '>', time)
      .executeTakeFirst()
    return row !== undefined
  }

  return {
    digestsOf,
    ready: () => database.ready(),
    check: () => database.check(),
    async close() {
      listeners.clear()
      if (isOwn) await database.close()
    },
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },

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

    async saveRefreshToken(token) {
      await db().deleteFrom('tollgate.refresh_tokens').where('expires_at', '<=', now()).execute()
      await keepRefreshToken(db(), token)
    },
    async redeemRefreshToken(id, digests, time, successor) {
      if (!isStorable(id)) return undefined
      return db()
        .transaction()
        .execute(async (transaction) => {
          const row = await transaction
            .selectFrom('tollgate.refresh_tokens')
            .selectAll()
            .where('id', '=', id)
            .forUpdate()
            .executeTakeFirst()
          if (row === undefined || Number(row.expires_at) <= time || !digests.includes(row.body.digest))
            return undefined
          const token = row.body
          if (row.used || (await isRevoked(transaction, [token.family], time))) {
            const actor = { tenant: token.tenant, subject: token.username, method: 'refresh_token' }
            // As long as the youngest of the family can live.
            const until = time + token.expiresAt - token.createdAt
            const by = { action: 'token.reuse', at: time, actor }
            // Told once: whoever tries it again and again shall not fill the audit log.
            const isKnown = await isRevoked(transaction, [token.family], time)
            await revoke(transaction, token.family, token.tenant, until, isKnown ? undefined : by)
            return undefined
          }
          await transaction.updateTable('tollgate.refresh_tokens').set({ used: true }).where('id', '=', id).execute()
          await keepRefreshToken(transaction, successor(token))
          return token
        })
    },
    async findRefreshToken(id, digests, time) {
      if (!isStorable(id)) return undefined
      const row = await db().selectFrom('tollgate.refresh_tokens').selectAll().where('id', '=', id).executeTakeFirst()
      if (row === undefined || row.used || Number(row.expires_at) <= time || !digests.includes(row.body.digest))
        return undefined
      return (await isRevoked(db(), [row.body.family], time)) ? undefined : row.body
    },
    async revokeToken({ id, tenant, until }, by) {
      await db()
        .transaction()
        .execute((transaction) => revoke(transaction, id, tenant, until, by))
    },
    async isTokenRevoked(ids) {
      return isRevoked(db(), ids, now())
    },

    async signingKeys(time) {
      const rows = await db().selectFrom('tollgate.signing_keys').selectAll().orderBy('sequence').execute()
      return rows
        .filter(({ expires_at }) => expires_at === null || Number(expires_at) > time)
        .map(
          ({ body, expires_at }): SigningKey => ({
            ...body,
            privateKey: open(body.privateKey),
            ...(expires_at === null ? undefined : { expiresAt: Number(expires_at) }),
          }),
        )
    },
    async addSigningKey(key, after, earlierExpireAt, by) {
      return db()
        .transaction()
        .execute(async (transaction) => {
          // Nobody adds another one meanwhile, also where there is none yet to hold on to.
          await sql`lock table tollgate.signing_keys in share row exclusive mode`.execute(transaction)
          const newest = await transaction
            .selectFrom('tollgate.signing_keys')
            .select('kid')
            .where(({ or, eb }) => or([eb('expires_at', 'is', null), eb('expires_at', '>', by.at)]))
            .orderBy('sequence', 'desc')
            .limit(1)
            .executeTakeFirst()
          if (newest?.kid !== after) return false
          await transaction.deleteFrom('tollgate.signing_keys').where('expires_at', '<=', by.at).execute()
          await transaction
            .updateTable('tollgate.signing_keys')
            .set({ expires_at: earlierExpireAt })
            .where(({ or, eb }) => or([eb('expires_at', 'is', null), eb('expires_at', '>', earlierExpireAt)]))
            .execute()
          const { expiresAt = null, ...rest } = key
          const body = JSON.stringify({ ...rest, privateKey: seal(key.privateKey) })
          await transaction
            .insertInto('tollgate.signing_keys')
            .values({ kid: key.kid, expires_at: expiresAt, body })
            .execute()
          await log(transaction, by, by.actor.tenant, { kind: 'signing-key', id: key.kid }, {})
          await tell(transaction, { kind: 'all' })
          return true
        })
    },
  }
}

async function keepRefreshToken(database: Database, token: RefreshToken): Promise<void> {
  const { id, family, expiresAt } = token
  const row = { id, family, used: false, expires_at: expiresAt, body: JSON.stringify(token) }
  const kept = await database
    .insertInto('tollgate.refresh_tokens')
    .values(row)
    .onConflict((conflict) => conflict.column('id').doNothing())
    .executeTakeFirst()
  if (kept.numInsertedOrUpdatedRows !== 1n) {
    throw new TollgateError('conflict', 'This refresh token is kept already.')
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

function changeIn(payload: string): DirectoryChange {
  try {
    return JSON.parse(payload) as DirectoryChange
  } catch {
    return { kind: 'all' }
  }
}

function changeOf(kind: EntityKind, entity: Entities[EntityKind]): DirectoryChange {
  if (kind === 'key') return { kind, id: entity.id }
  if (kind === 'user') return { kind, id: (entity as User).username }
  return { kind: 'tenant', id: kind === 'tenant' ? entity.id : (entity as User).tenant }
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
