import { setTimeout as sleep } from 'node:timers/promises'
import type { PGlite } from '@electric-sql/pglite'
import { TollgateError } from '@tollgate/core/errors'
import { checkedOptions, functionOption, objectOption } from '@tollgate/core/options'
import { Kysely, sql } from 'kysely'
import type { Pool } from 'pg'
import { z } from 'zod'
import { type Backend, openBackend, type PostgresConnection } from './connection.js'
import { migrate } from './migrations.js'
import type { Tables } from './tables.js'

export interface PostgresDatabaseOptions {
  readonly connection: PostgresConnection
  /** How long a connection, and a statement, may take, milliseconds. Default 5,000. */
  readonly timeoutMs?: number
  /** Told what goes wrong out of sight: a failed start that is tried again, a lost connection. Default: a process warning. */
  readonly onError?: (error: unknown) => void
  /** The clock, milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

/** A database with Tollgate's schema, for several stores. */
export interface PostgresDatabase {
  /**
   * Connects and brings the schema up to date; tries again after 1, 2, 4 … 30 seconds until it works, and rejects only when the database is closed. Until then
   * every method of its stores rejects with `store_unavailable`.
   */
  ready(): Promise<void>
  /** Rejects if the database does not answer, or could not be reached by `ready()` so far. For `GET /ready`. */
  check(): Promise<void>
  close(): Promise<void>
  /** For stores. Throws `store_unavailable` until it is connected. */
  use(): Kysely<Tables>
  /** For stores, before `ready()`: calls back with what is told on a channel, and when nobody knows what was told meanwhile. */
  listen(channel: string, onPayload: (payload: string) => void, onMissed: () => void): void
  /** For stores: something went wrong out of sight. */
  report(error: unknown): void
}

const firstPauseMs = 1_000
const lastPauseMs = 30_000

/** The options of every store here that may have a database of its own. */
export const databaseOptions = {
  connection: z.union(
    [
      z.strictObject({ url: z.string().regex(/^postgres(?:ql)?:\/\//), max: z.int().min(2).optional() }),
      z.strictObject({
        pool: objectOption<Pool>('a Pool of pg', 'connect').refine(({ options }) => !((options?.max ?? 10) < 2)),
      }),
      z.strictObject({ folder: z.string().min(1) }),
      z.strictObject({ pglite: objectOption<PGlite>('a PGlite', 'query', 'listen') }),
    ],
    'must be { url: "postgres://…", max?: 2 or more }, { pool: of 2 connections or more }, { folder } or { pglite }',
  ),
  timeoutMs: z.int().min(1).default(5_000),
  onError: functionOption<(error: unknown) => void>().default(() => warn),
  now: functionOption<() => number>().default(() => Date.now),
}

const schema = z.strictObject(databaseOptions)

/**
 * Postgres 13 or later, or embedded Postgres (PGlite), with Tollgate's tables in a schema of their own, `tollgate`.
 *
 * @throws TollgateError `config_invalid` for wrong options
 * @example
 * const database = postgresDatabase({ connection: { url: process.env.DATABASE_URL } })
 * const identities = postgresIdentityStore({ database, secret })
 * await database.ready()
 */
export function postgresDatabase(options: PostgresDatabaseOptions): PostgresDatabase {
  const { connection, timeoutMs, onError, now } = checkedOptions('postgresDatabase', schema, options)
  const closing = new AbortController()
  const channels: Array<{ channel: string; onPayload: (payload: string) => void; onMissed: () => void }> = []
  const stops = new Map<string, () => Promise<void>>()
  const listeningAgain = new Set<Promise<void>>()
  let opened: { readonly backend: Backend; readonly database: Kysely<Tables> } | undefined
  let opening: Promise<void> | undefined
  let failure: unknown

  const start = async (): Promise<void> => {
    const backend = await openBackend(connection, timeoutMs, onError)
    const database = new Kysely<Tables>({ dialect: backend.dialect })
    try {
      while (!(await migrate(database, now))) await sleep(100, undefined, { signal: closing.signal })
      for (const each of channels) await listen(backend, each)
      opened = { backend, database }
    } catch (error) {
      await backend.close().catch(() => {})
      throw error
    }
  }

  const listen = async (backend: Backend, each: (typeof channels)[number]): Promise<void> => {
    const stop = await backend.listen(each.channel, each.onPayload, (error) => {
      onError(error)
      const again = listenAgain(backend, each).finally(() => listeningAgain.delete(again))
      listeningAgain.add(again)
    })
    stops.set(each.channel, stop)
  }
  const listenAgain = async (backend: Backend, each: (typeof channels)[number]): Promise<void> => {
    for (let pauseMs = 100; !closing.signal.aborted; pauseMs = Math.min(lastPauseMs, pauseMs * 2)) {
      try {
        await sleep(pauseMs, undefined, { signal: closing.signal })
        await listen(backend, each)
        each.onMissed()
        return
      } catch (error) {
        if (!closing.signal.aborted) onError(error)
      }
    }
  }

  const connected = async (): Promise<void> => {
    for (let pauseMs = firstPauseMs; opened === undefined; pauseMs = Math.min(lastPauseMs, pauseMs * 2)) {
      closing.signal.throwIfAborted()
      try {
        await start()
      } catch (error) {
        failure = error
        if (!closing.signal.aborted) onError(error)
        await sleep(pauseMs, undefined, { signal: closing.signal })
      }
    }
  }

  const use = (): Kysely<Tables> => {
    if (opened === undefined || closing.signal.aborted) {
      throw new TollgateError('store_unavailable', 'The database is not connected.', { retryAfterMs: 1_000 })
    }
    return opened.database
  }

  return {
    use,
    report: onError,
    listen(channel, onPayload, onMissed) {
      channels.push({ channel, onPayload, onMissed })
    },
    ready() {
      opening ??= connected()
      return opening
    },
    async check() {
      // The first attempt is under way: nothing is known to be wrong.
      if (opening !== undefined && opened === undefined && failure === undefined) return
      await sql`select 1`.execute(use())
    },
    async close() {
      if (closing.signal.aborted) return
      closing.abort(new Error('The database was closed.'))
      await opening?.catch(() => {})
      // Or a connection that begins to listen now is one that nobody ends.
      await Promise.all(listeningAgain)
      for (const stop of stops.values()) await stop().catch(() => {})
      await opened?.backend.close()
    },
  }
}

/** That of the options, or one of its own, which its store closes. */
export function databaseOf(given: PostgresDatabase | undefined, options: Partial<PostgresDatabaseOptions>) {
  if (given !== undefined) return { database: given, isOwn: false }
  return { database: postgresDatabase(options as PostgresDatabaseOptions), isOwn: true }
}

function warn(error: unknown): void {
  process.emitWarning(`Postgres: ${error instanceof Error ? error.message : String(error)}`)
}
