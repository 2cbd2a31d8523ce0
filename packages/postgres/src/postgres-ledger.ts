import { configInvalid } from '@tollgate/core/errors'
import { checkedOptions, objectOption } from '@tollgate/core/options'
import type {
  Ledger,
  LedgerDimension,
  LedgerPage,
  LedgerQuery,
  LedgerRow,
  LedgerSum,
} from '@tollgate/core/stores/ledger'
import { checkLedgerQuery, offsetOf, otherTokens } from '@tollgate/core/stores/ledger-sums'
import { type ExpressionBuilder, type SqlBool, sql } from 'kysely'
import { z } from 'zod'
import type { PostgresConnection } from './connection.js'
import { isStorable } from './identity-rows.js'
import { databaseOf, databaseOptions, type PostgresDatabase } from './postgres-database.js'
import type { Tables } from './tables.js'

export interface PostgresLedgerOptions {
  /** Where the database is, for this ledger alone; or `database`. */
  readonly connection?: PostgresConnection
  /** A database that other stores use too. It is not closed. */
  readonly database?: PostgresDatabase
  /** As of {@link postgresDatabase}, with `connection`. */
  readonly timeoutMs?: number
  /** As of {@link postgresDatabase}, with `connection`. */
  readonly onError?: (error: unknown) => void
}

/** A {@link Ledger} that lasts. */
export interface PostgresLedger extends Ledger {
  /** As of {@link PostgresDatabase}. */
  ready(): Promise<void>
  /** As of {@link PostgresDatabase}. */
  check(): Promise<void>
}

const schema = z
  .strictObject({
    ...databaseOptions,
    connection: databaseOptions.connection.optional(),
    database: objectOption<PostgresDatabase>('a postgresDatabase()', 'use').optional(),
  })
  .refine(
    ({ connection, database }) => (connection === undefined) !== (database === undefined),
    'give connection or database',
  )

const columns = ['tenant', 'team', 'user', 'key', 'model', 'provider', 'outcome'] as const
type Column = (typeof columns)[number]

/** Rows of one statement, which has 65,535 parameters at most. */
const rowsAtOnce = 1_000

/**
 * The ledger in Postgres or embedded Postgres: append-only, exact sums, one row for each request id however often it is written.
 *
 * @throws TollgateError `config_invalid` for wrong options
 * @example const ledger = postgresLedger({ connection: { url: process.env.DATABASE_URL } })
 */
export function postgresLedger(options: PostgresLedgerOptions): PostgresLedger {
  const { database: given, connection, timeoutMs, onError } = checkedOptions('postgresLedger', schema, options)
  const own = { timeoutMs, onError, ...(connection === undefined ? {} : { connection }) }
  const { database, isOwn } = databaseOf(given, own)
  const db = () => database.use()

  const found = ({ tenant, from, to, where = {} }: Pick<LedgerQuery, 'tenant' | 'from' | 'to' | 'where'>) => {
    let query = db().selectFrom('tollgate.ledger').where('at', '>=', Math.ceil(from)).where('at', '<', Math.ceil(to))
    if (tenant !== undefined) query = query.where('tenant', '=', tenant)
    for (const [name, value] of Object.entries(where)) {
      query = query.where((eb) => sql<SqlBool>`${dimension(eb, name as LedgerDimension)} = ${value}`)
    }
    return query
  }

  return {
    ready: () => database.ready(),
    check: () => database.check(),
    async close() {
      if (isOwn) await database.close()
    },
    async append(rows) {
      if (rows.length === 0) return
      const values = rows.map(valuesOf)
      await db()
        .transaction()
        .execute(async (transaction) => {
          for (let at = 0; at < values.length; at += rowsAtOnce) {
            await transaction
              .insertInto('tollgate.ledger')
              .values(values.slice(at, at + rowsAtOnce))
              .onConflict((conflict) => conflict.column('id').doNothing())
              .execute()
          }
        })
    },
    async sums(query) {
      checkLedgerQuery(query)
      const { tenant, by, per, timeZone = 'UTC', limit, where = {} } = query
      if (!isStorable(tenant, timeZone, ...by, ...Object.keys(where), ...Object.values(where))) return { items: [] }
      const offset = offsetOf(query.after)
      const instant = sql`to_timestamp(at / 1000.0)`
      const startsAt =
        per === undefined
          ? sql<string | null>`null::bigint`
          : sql<
              string | null
            >`(extract(epoch from date_trunc(${sql.lit(per)}, ${instant}, ${timeZone})) * 1000)::bigint`
      let asked = found(query).select([
        startsAt.as('starts_at'),
        sql<string>`count(*)`.as('requests'),
        sql<string>`count(*) filter (where priced = false)`.as('unpriced'),
        total('cost_nano_usd').as('cost'),
        total('input_tokens').as('input'),
        total('cache_read_tokens').as('cache_read'),
        total('cache_write_tokens').as('cache_write'),
        total('output_tokens').as('output'),
        total('reasoning_tokens').as('reasoning'),
        total('other_tokens').as('other'),
        total('rows').as('predicted'),
      ])
      by.forEach((name, index) => {
        asked = asked.select((eb) => dimension(eb, name).as(`d${index}`)) as typeof asked
      })
      const places = [...(per === undefined ? [] : [1]), ...by.map((_, index) => 12 + index)]
      if (places.length > 0) {
        asked = asked.groupBy(places.map((place) => sql`${sql.lit(place)}`))
        for (const place of places) {
          asked = asked.orderBy(sql`${sql.lit(place)}`, (ordering) => ordering.asc().nullsLast())
        }
      }
      const rows = (await asked
        .limit(limit + 1)
        .offset(offset)
        .execute()
        .catch((error: unknown) => {
          throw zoneRefused(error, timeZone)
        })) as ReadonlyArray<Record<string, string | null>>
      // Without groups there is one sum, also of nothing.
      const groups = rows.filter(({ requests }) => Number(requests) > 0)
      return pageOf(groups, limit, offset, (row): LedgerSum => {
        const number = (name: string) => Number(row[name] ?? 0)
        return {
          of: Object.fromEntries(by.map((name, index) => [name, row[`d${index}`] ?? null])),
          ...(per === undefined ? undefined : { startsAt: number('starts_at') }),
          requests: number('requests'),
          unpriced: number('unpriced'),
          costNanoUsd: number('cost'),
          inputTokens: number('input'),
          cacheReadTokens: number('cache_read'),
          cacheWriteTokens: number('cache_write'),
          outputTokens: number('output'),
          reasoningTokens: number('reasoning'),
          otherTokens: number('other'),
          rows: number('predicted'),
        }
      })
    },
    async rows(query) {
      checkLedgerQuery(query)
      const { tenant, limit, where = {} } = query
      if (!isStorable(tenant, ...Object.keys(where), ...Object.values(where))) return { items: [] }
      const offset = offsetOf(query.after)
      const rows = await found(query)
        .select('body')
        .orderBy('at', 'desc')
        .orderBy('id', 'desc')
        .limit(limit + 1)
        .offset(offset)
        .execute()
      return pageOf(rows, limit, offset, ({ body }) => body)
    },
  }
}

function total(column: string) {
  return sql<string>`coalesce(sum(${sql.ref(column)}), 0)`
}

/** Texts are in the order of their code points, whatever the database's own is. */
function dimension(eb: ExpressionBuilder<Tables, 'tollgate.ledger'>, name: LedgerDimension) {
  if (name.startsWith('tag:')) return sql<string | null>`(tags ->> ${name.slice(4)}) collate "C"`
  return sql<string | null>`${eb.ref(name as Column)} collate "C"`
}

/** Postgres keeps neither NUL nor half a surrogate pair; a row must not be lost for one in a name. */
function storable(row: LedgerRow): string {
  return JSON.stringify(row).replace(/\\(?:\\|u0000|ud[89a-f][0-9a-f]{2})/g, (found) =>
    found === '\\\\' ? found : '\\ufffd',
  )
}

function valuesOf(given: LedgerRow) {
  const body = storable(given)
  const row = JSON.parse(body) as LedgerRow
  const { usage, costNanoUsd = null, tags } = row
  return {
    id: row.id,
    at: Math.floor(row.at),
    tenant: row.tenant,
    team: row.team ?? null,
    user: row.user,
    key: row.keyId ?? null,
    model: row.model ?? null,
    provider: row.provider ?? null,
    outcome: row.outcome,
    cost_nano_usd: costNanoUsd,
    priced: usage === undefined ? null : costNanoUsd !== null,
    input_tokens: usage?.inputTokens ?? 0,
    cache_read_tokens: usage?.cacheReadTokens ?? 0,
    cache_write_tokens: (usage?.cacheWriteTokens ?? 0) + (usage?.cacheWrite1hTokens ?? 0),
    output_tokens: usage?.outputTokens ?? 0,
    reasoning_tokens: usage?.reasoningTokens ?? 0,
    other_tokens: usage === undefined ? 0 : otherTokens(usage),
    rows: usage?.rows ?? 0,
    tags: tags === undefined ? null : JSON.stringify(tags),
    body,
  }
}

function pageOf<Row, Item>(
  rows: readonly Row[],
  limit: number,
  offset: number,
  itemOf: (row: Row) => Item,
): LedgerPage<Item> {
  const items = rows.slice(0, limit).map(itemOf)
  return { items, ...(rows.length > limit ? { next: String(offset + limit) } : undefined) }
}

function zoneRefused(error: unknown, timeZone: string): unknown {
  const { code, message = '' } = error as { code?: unknown; message?: string }
  return code === '22023' && message.includes('time zone')
    ? configInvalid(`The time zone "${timeZone}" is not known.`)
    : error
}
