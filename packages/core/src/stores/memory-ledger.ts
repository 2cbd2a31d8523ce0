import { z } from 'zod'
import { type CalendarUnit, calendarWindows } from '../calendar-window.js'
import { checkedOptions } from '../options.js'
import type { Ledger, LedgerPage, LedgerQuery, LedgerRow, LedgerSum } from './ledger.js'
import { checkLedgerQuery, dimensionOf, offsetOf, otherTokens } from './ledger-sums.js'

export interface MemoryLedgerOptions {
  /** Rows that are kept; the oldest go first. Default 100,000. */
  readonly maxRows?: number
}

const schema = z.strictObject({ maxRows: z.int().min(1).default(100_000) })

/**
 * A {@link Ledger} in memory, for tests and for a single process that may forget.
 *
 * @throws TollgateError `config_invalid` for wrong options
 */
export function memoryLedger(options: MemoryLedgerOptions = {}): Ledger {
  const { maxRows } = checkedOptions('memoryLedger', schema, options)
  const rows = new Map<string, LedgerRow>()

  const found = ({ tenant, from, to, where = {} }: Pick<LedgerQuery, 'tenant' | 'from' | 'to' | 'where'>) =>
    [...rows.values()].filter(
      (row) =>
        row.at >= from &&
        row.at < to &&
        (tenant === undefined || row.tenant === tenant) &&
        Object.entries(where).every(([name, value]) => dimensionOf(row, name as 'tenant') === value),
    )
  const pageOf = <Item>(all: readonly Item[], offset: number, limit: number): LedgerPage<Item> => {
    const items = all.slice(offset, offset + limit)
    return { items, ...(offset + limit < all.length ? { next: String(offset + limit) } : undefined) }
  }

  return {
    async append(added) {
      const kept = added.map((row) => JSON.parse(JSON.stringify(row)) as LedgerRow)
      for (const row of kept) if (!rows.has(row.id)) rows.set(row.id, row)
      for (const id of rows.keys()) {
        if (rows.size <= maxRows) break
        rows.delete(id)
      }
    },
    async sums(query) {
      checkLedgerQuery(query)
      const { by, per, timeZone = 'UTC', limit } = query
      const windowOf = per === undefined ? undefined : calendarWindows(per satisfies CalendarUnit, timeZone)
      const groups = new Map<string, { -readonly [Field in keyof LedgerSum]: LedgerSum[Field] }>()
      for (const row of found(query)) {
        const of = Object.fromEntries(by.map((dimension) => [dimension, dimensionOf(row, dimension)]))
        const startsAt = windowOf?.(row.at).startsAt
        const key = JSON.stringify([startsAt, Object.values(of)])
        const sum = groups.get(key) ?? { ...emptySum, of, ...(startsAt === undefined ? undefined : { startsAt }) }
        groups.set(key, sum)
        addRow(sum, row)
      }
      const ordered = [...groups.values()].sort(
        (one, other) =>
          (one.startsAt ?? 0) - (other.startsAt ?? 0) || compare(Object.values(one.of), Object.values(other.of)),
      )
      return pageOf(ordered, offsetOf(query.after), limit)
    },
    async rows(query) {
      checkLedgerQuery(query)
      const ordered = found(query).sort((one, other) => other.at - one.at || (one.id < other.id ? 1 : -1))
      return pageOf(ordered, offsetOf(query.after), query.limit)
    },
    close() {},
  }
}

const emptySum = {
  requests: 0,
  unpriced: 0,
  costNanoUsd: 0,
  inputTokens: 0,
  cacheReadTokens: 0,
  cacheWriteTokens: 0,
  outputTokens: 0,
  reasoningTokens: 0,
  otherTokens: 0,
  rows: 0,
}

function addRow(
  sum: { -readonly [Field in keyof LedgerSum]: LedgerSum[Field] },
  { usage, costNanoUsd }: LedgerRow,
): void {
  sum.requests += 1
  if (costNanoUsd === undefined && usage !== undefined) sum.unpriced += 1
  sum.costNanoUsd += costNanoUsd ?? 0
  if (usage === undefined) return
  sum.inputTokens += usage.inputTokens
  sum.cacheReadTokens += usage.cacheReadTokens ?? 0
  sum.cacheWriteTokens += (usage.cacheWriteTokens ?? 0) + (usage.cacheWrite1hTokens ?? 0)
  sum.outputTokens += usage.outputTokens
  sum.reasoningTokens += usage.reasoningTokens ?? 0
  sum.otherTokens += otherTokens(usage)
  sum.rows += usage.rows ?? 0
}

/** By code points, those without a value last. */
function compare(one: ReadonlyArray<string | null>, other: ReadonlyArray<string | null>): number {
  for (let index = 0; index < one.length; index += 1) {
    const [left, right] = [one[index] ?? null, other[index] ?? null]
    if (left === right) continue
    if (left === null) return 1
    if (right === null) return -1
    return Buffer.compare(Buffer.from(left), Buffer.from(right))
  }
  return 0
}
