import { TollgateError } from '@tollgate/core/errors'
import type { Change, IdentityStore, RefreshToken } from '@tollgate/core/stores/identity-store'
import { sql } from 'kysely'
import { isStorable } from './identity-rows.js'
import type { PostgresDatabase } from './postgres-database.js'
import type { Database } from './tables.js'
import { log, tell } from './told-changes.js'

type TokenMethods = Pick<
  IdentityStore,
  'saveRefreshToken' | 'redeemRefreshToken' | 'findRefreshToken' | 'revokeToken' | 'isTokenRevoked'
>

/** Refresh tokens, and what is revoked before it expires. */
export function identityTokens(database: PostgresDatabase, now: () => number): TokenMethods {
  const db = () => database.use()
  return {
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
            await revoke(transaction, now(), token.family, token.tenant, until, isKnown ? undefined : by)
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
        .execute((transaction) => revoke(transaction, now(), id, tenant, until, by))
    },
    async isTokenRevoked(ids) {
      return isRevoked(db(), ids, now())
    },
  }
}

async function revoke(
  transaction: Database,
  now: number,
  id: string,
  tenant: string,
  until: number,
  by: Change | undefined,
): Promise<void> {
  await transaction.deleteFrom('tollgate.revoked_tokens').where('until', '<=', now).execute()
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

async function isRevoked(database: Database, ids: readonly string[], time: number): Promise<boolean> {
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
