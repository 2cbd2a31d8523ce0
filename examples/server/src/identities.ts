import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isTollgateError } from '@tollgate/core/errors'
import { drawApiKey, drawKeyId } from '@tollgate/core/stores/api-key'
import type { UserRecord } from '@tollgate/core/stores/directory'
import type { Change, EntityKind, IdentityStore, NewEntity } from '@tollgate/core/stores/identity-store'
import type { Ledger } from '@tollgate/core/stores/ledger'
import { type PostgresDatabase, postgresDatabase, postgresIdentityStore, postgresLedger } from '@tollgate/postgres'
import { type Settings, SettingsError } from './settings.js'

/** Whose the operator's own key is, and the first administrator's. */
export const operatorTenant = 'default'

/** What lasts: who may call, and what they used. */
export interface Stores {
  readonly database: PostgresDatabase
  readonly identities: IdentityStore
  readonly ledger: Ledger
}

/**
 * In Postgres, or in embedded Postgres in the data folder, whose secret is in a file beside it unless the environment gives one.
 *
 * @throws SettingsError if the folder cannot be used
 */
export function openStores(
  settings: Pick<Settings, 'DATABASE_URL' | 'IDENTITY_SECRET' | 'DATA_FOLDER'>,
  onError: (error: unknown) => void,
): Stores {
  const { DATABASE_URL: url, IDENTITY_SECRET: given, DATA_FOLDER: data } = settings
  const folder = join(data, 'identities')
  const secret = given ?? secretOf(data, folder)
  const database = postgresDatabase({ connection: url === undefined ? { folder } : { url }, onError })
  return { database, identities: postgresIdentityStore({ database, secret }), ledger: postgresLedger({ database }) }
}

/** The secret that was drawn for this folder, or a new one for a new folder. */
function secretOf(data: string, folder: string): string {
  const file = join(data, 'identity-secret')
  try {
    mkdirSync(data, { recursive: true, mode: 0o700 })
    if (!existsSync(file)) {
      if (existsSync(join(folder, 'database'))) {
        const message = `${folder} has identities, but ${file} with their secret is gone: put it back, or set IDENTITY_SECRET to it`
        throw new SettingsError([{ name: 'DATA_FOLDER', message }])
      }
      // Of two servers that start at once, one writes it.
      writeFileSync(file, randomBytes(32).toString('base64url'), { mode: 0o600, flag: 'wx' })
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    if (code !== 'EEXIST') {
      throw new SettingsError([{ name: 'DATA_FOLDER', message: `${data} cannot be written to (${code})` }])
    }
  }
  return readFileSync(file, 'utf8').trim()
}

/** What a store has to have before it serves. */
export interface FirstIdentities {
  /** Users that are made unless they are there. */
  readonly users: readonly UserRecord[]
  /** Told a key that may do everything, when the store was empty. Without it none is made. */
  readonly onFirstKey?: ((key: string) => void) | undefined
}

/** Makes what is missing, whoever else starts at the same time. */
export async function ensureIdentities(store: IdentityStore, { users, onFirstKey }: FirstIdentities): Promise<void> {
  const isNew = await ensure(store, 'tenant', { id: operatorTenant, name: operatorTenant, disabled: false })
  if (isNew && onFirstKey !== undefined) onFirstKey(await makeFirstKey(store))
  for (const { username, tenant, tier, scopes, passwordHash } of users) {
    await ensure(store, 'tenant', { id: tenant, name: tenant, disabled: false })
    if ((await store.findUser(username)) !== undefined) continue
    await ensure(store, 'user', {
      id: drawKeyId(),
      tenant,
      username,
      scopes,
      roles: scopes.length === 0 ? ['member'] : [],
      disabled: false,
      ...(tier === undefined ? {} : { tier }),
      ...(passwordHash === undefined ? {} : { passwordHash }),
    })
  }
}

async function makeFirstKey(store: IdentityStore): Promise<string> {
  const id = drawKeyId()
  const key = drawApiKey('live', id)
  const createdAt = Date.now()
  await store.create(
    'key',
    {
      id,
      tenant: operatorTenant,
      environment: 'live',
      name: 'first administrator',
      owner: { kind: 'tenant', id: operatorTenant },
      scopes: ['*'],
      roles: [],
      secrets: [{ digest: store.digestsOf(key)[0] as string, hint: key.slice(-4), createdAt }],
    },
    atStart('key.create'),
  )
  return key
}

/** @returns whether it was made just now */
async function ensure<Kind extends EntityKind>(
  store: IdentityStore,
  kind: Kind,
  entity: NewEntity<Kind>,
): Promise<boolean> {
  if ((await store.find(kind, { id: entity.id })) !== undefined) return false
  try {
    await store.create(kind, entity, atStart(`${kind}.create`))
    return true
  } catch (error) {
    // Another server was first.
    if (isTollgateError(error, 'conflict')) return false
    throw error
  }
}

function atStart(action: string): Change {
  return { action, at: Date.now(), actor: { tenant: operatorTenant, subject: 'operator', method: 'start' } }
}
