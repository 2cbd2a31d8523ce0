import type { identitySecrets } from '@tollgate/core/stores/identity-secrets'
import type { IdentityStore, SigningKey } from '@tollgate/core/stores/identity-store'
import { sql } from 'kysely'
import type { PostgresDatabase } from './postgres-database.js'
import { log, tell } from './told-changes.js'

/** The keys that sign tokens, their private parts sealed. */
export function identitySigningKeys(
  database: PostgresDatabase,
  { seal, open }: Pick<ReturnType<typeof identitySecrets>, 'seal' | 'open'>,
): Pick<IdentityStore, 'signingKeys' | 'addSigningKey'> {
  const db = () => database.use()
  return {
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
