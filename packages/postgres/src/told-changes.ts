import { randomUUID } from 'node:crypto'
import type { DirectoryChange } from '@tollgate/core/stores/directory'
import type {
  AuditEntry,
  Change,
  Entities,
  EntityKind,
  IdentityStore,
  User,
} from '@tollgate/core/stores/identity-store'
import { sql } from 'kysely'
import type { PostgresDatabase } from './postgres-database.js'
import type { Database } from './tables.js'

const channel = 'tollgate_identity'

/** Bytes that `NOTIFY` takes. */
const maxPayload = 7_999

/** Passes on what any process tells of its changes. */
export function changesTold(database: PostgresDatabase): Required<Pick<IdentityStore, 'onChange'>> & { end(): void } {
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
  return {
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    end: () => listeners.clear(),
  }
}

/** Tells every process, once the transaction is done. */
export async function tell(transaction: Database, change: DirectoryChange): Promise<void> {
  const payload = JSON.stringify(change)
  const told = Buffer.byteLength(payload) > maxPayload ? JSON.stringify({ kind: 'all' }) : payload
  await sql`select pg_notify(${channel}, ${told})`.execute(transaction)
}

/** Writes a line of the audit log. */
export async function log(
  transaction: Database,
  by: Change,
  tenant: string,
  target: AuditEntry['target'],
  fields: AuditEntry['fields'],
): Promise<void> {
  const id = randomUUID()
  const body = JSON.stringify({ ...by, id, tenant, target, fields } satisfies AuditEntry)
  await transaction.insertInto('tollgate.audit_log').values({ id, tenant, body }).execute()
}

/** What a change of an entity changes for those who ask by it. */
export function changeOf(kind: EntityKind, entity: Entities[EntityKind]): DirectoryChange {
  if (kind === 'key') return { kind, id: entity.id }
  if (kind === 'user') return { kind, id: (entity as User).username }
  return { kind: 'tenant', id: kind === 'tenant' ? entity.id : (entity as User).tenant }
}

function changeIn(payload: string): DirectoryChange {
  try {
    return JSON.parse(payload) as DirectoryChange
  } catch {
    return { kind: 'all' }
  }
}
