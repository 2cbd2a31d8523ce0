import { mkdir } from 'node:fs/promises'
import type { PGlite } from '@electric-sql/pglite'
import { type Dialect, PGliteDialect, PostgresDialect } from 'kysely'
import type { Pool, PoolClient } from 'pg'

/** Where the database is. */
export type PostgresConnection =
  /** A server; a pool is made for it. `max` connections, default 10, one of which listens. */
  | { readonly url: string; readonly max?: number }
  /** A pool of your own, with timeouts of your own. One of its connections is kept to listen. It is not closed. */
  | { readonly pool: Pool }
  /** Embedded, in a folder that is made if need be; one process at a time. */
  | { readonly folder: string }
  /** Embedded, of your own making. It is not closed. */
  | { readonly pglite: PGlite }

/** A connection of either kind. */
export interface Backend {
  readonly dialect: Dialect
  /** Calls back with the payloads of a channel until it ends, of itself (`onLost`) or by the function that it returns. */
  listen(
    channel: string,
    onPayload: (payload: string) => void,
    onLost: (error: unknown) => void,
  ): Promise<() => Promise<void>>
  close(): Promise<void>
}

/** Opens nothing yet but what has to be there. */
export async function openBackend(
  connection: PostgresConnection,
  timeoutMs: number,
  onError: (error: unknown) => void,
): Promise<Backend> {
  if ('url' in connection || 'pool' in connection) return serverBackend(connection, timeoutMs, onError)
  if ('pglite' in connection) return embeddedBackend(connection.pglite, async () => {})
  const { PGlite } = await import('@electric-sql/pglite')
  await mkdir(connection.folder, { recursive: true })
  const pglite = await PGlite.create(connection.folder)
  return embeddedBackend(pglite, () => pglite.close())
}

function embeddedBackend(pglite: PGlite, close: () => Promise<void>): Backend {
  return {
    dialect: new PGliteDialect({ pglite }),
    async listen(channel, onPayload) {
      return pglite.listen(channel, onPayload)
    },
    close,
  }
}

async function serverBackend(
  connection: { readonly url: string; readonly max?: number } | { readonly pool: Pool },
  timeoutMs: number,
  onError: (error: unknown) => void,
): Promise<Backend> {
  const pool = 'pool' in connection ? connection.pool : await ownPool(connection, timeoutMs)
  pool.on('error', onError)
  const close = async () => {
    pool.off('error', onError)
    if ('url' in connection) await pool.end()
  }
  return {
    dialect: new PostgresDialect({ pool }),
    async listen(channel, onPayload, onLost) {
      const client: PoolClient = await pool.connect()
      let over = false
      const end = (error?: unknown) => {
        if (over) return
        over = true
        client.removeAllListeners('notification')
        // Not given back: it still listens.
        client.release(true)
        if (error !== undefined) onLost(error)
      }
      client.on('notification', ({ payload = '' }) => onPayload(payload))
      client.on('error', end)
      client.on('end', () => end(new Error('The connection that listens was closed.')))
      try {
        await client.query(`listen ${channel}`)
      } catch (error) {
        over = true
        client.release(true)
        throw error
      }
      return async () => end()
    },
    close,
  }
}

async function ownPool({ url, max = 10 }: { url: string; max?: number }, timeoutMs: number): Promise<Pool> {
  const { default: pg } = await import('pg')
  return new pg.Pool({
    connectionString: url,
    max,
    application_name: 'tollgate',
    keepAlive: true,
    connectionTimeoutMillis: timeoutMs,
    statement_timeout: timeoutMs,
    // When the server cannot even say that it was too slow.
    query_timeout: timeoutMs + 1_000,
    idle_in_transaction_session_timeout: timeoutMs,
  })
}
