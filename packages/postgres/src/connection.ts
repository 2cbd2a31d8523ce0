import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { PGlite } from '@electric-sql/pglite'
import { answerWithin } from '@tollgate/core/stores/answer-within'
import { type Dialect, PostgresDialect, type PostgresPoolClient } from 'kysely'
import type { Pool, PoolClient } from 'pg'
import { holdFolder } from './folder-lock.js'
import { pgliteDialect } from './pglite-dialect.js'

/** Where the database is. */
export type PostgresConnection =
  /** A server; a pool is made for it. `max` connections, 2 or more, default 10, one of which listens. */
  | { readonly url: string; readonly max?: number | undefined }
  /** A pool of your own, of 2 connections or more: one is kept to listen. It is not closed. */
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
  if ('pglite' in connection) return embeddedBackend(connection.pglite, timeoutMs, async () => {})
  const { PGlite } = await import('@electric-sql/pglite')
  const { folder } = connection
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const letGo = await holdFolder(folder)
  try {
    const pglite = await PGlite.create(join(folder, 'database'))
    return embeddedBackend(pglite, timeoutMs, () => pglite.close().finally(letGo))
  } catch (error) {
    letGo()
    throw error
  }
}

function embeddedBackend(pglite: PGlite, timeoutMs: number, close: () => Promise<void>): Backend {
  return {
    dialect: pgliteDialect(pglite, timeoutMs),
    async listen(channel, onPayload) {
      return answerWithin(pglite.listen(channel, onPayload), timeoutMs)
    },
    close,
  }
}

async function serverBackend(
  connection: { readonly url: string; readonly max?: number | undefined } | { readonly pool: Pool },
  timeoutMs: number,
  onError: (error: unknown) => void,
): Promise<Backend> {
  const own = 'url' in connection
  const pool = own ? await ownPool(connection, timeoutMs) : connection.pool
  pool.on('error', onError)
  return {
    dialect: new PostgresDialect({
      pool: {
        options: pool.options,
        connect: async () => boundedClient(await connect(pool, timeoutMs), timeoutMs),
        end: async () => {},
      },
    }),
    async listen(channel, onPayload, onLost) {
      const client = await connect(pool, timeoutMs)
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
        await answerWithin(client.query(`listen ${channel}`), timeoutMs)
      } catch (error) {
        end()
        throw error
      }
      // Lost between the answer and now: nobody would listen again.
      if (over) throw new Error('The connection that listens was closed.')
      return async () => end()
    },
    async close() {
      // Connections of our own may complain until the last is gone.
      if (own) await pool.end()
      else pool.off('error', onError)
    },
  }
}

/** A connection out of the pool; one that comes too late goes back. */
async function connect(pool: Pool, timeoutMs: number): Promise<PoolClient> {
  const coming = pool.connect()
  try {
    return await answerWithin(coming, timeoutMs)
  } catch (error) {
    coming.then(
      (client) => client.release(),
      () => {},
    )
    throw error
  }
}

/**
 * A connection that answers within the time, and goes back to the pool only in a known state: after anything but an answer of the server it is closed.
 */
function boundedClient(client: PoolClient, timeoutMs: number): PostgresPoolClient {
  let lost: { readonly error: unknown } | undefined
  // An error event that nobody hears ends the process; whoever waits for an answer is told by its rejection.
  const onError = (error: unknown) => {
    lost ??= { error }
  }
  client.on('error', onError)
  const query = async (text: string, values: readonly unknown[]) => {
    if (lost !== undefined) throw lost.error
    try {
      // The server's own limit comes first, where it can still say so.
      return await answerWithin(client.query(text, [...values]), timeoutMs + 1_000)
    } catch (error) {
      if (!isAnswer(error)) lost ??= { error }
      throw error
    }
  }
  return {
    // Without its other form, for cursors: none is asked for.
    query: query as unknown as PostgresPoolClient['query'],
    release(destroy = false) {
      client.release(destroy || lost !== undefined)
      // The pool listens again, to one that it closes too.
      client.off('error', onError)
    },
  }
}

/** Is this what the server said of a statement, so that the connection goes on? The classes are those it says when it ends one. */
function isAnswer(error: unknown): boolean {
  const { severity, code } = error as { severity?: unknown; code?: unknown }
  return typeof severity === 'string' && !/^(?:08|57P|25P0[34])/.test(String(code))
}

async function ownPool({ url, max = 10 }: { url: string; max?: number | undefined }, timeoutMs: number): Promise<Pool> {
  const { default: pg } = await import('pg')
  return new pg.Pool({
    connectionString: url,
    max,
    application_name: 'tollgate',
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    connectionTimeoutMillis: timeoutMs,
    statement_timeout: timeoutMs,
    idle_in_transaction_session_timeout: timeoutMs,
  })
}
