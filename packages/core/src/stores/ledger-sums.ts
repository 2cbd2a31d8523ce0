import { checkTimeZone } from '../calendar-window.js'
import { configInvalid, TollgateError } from '../errors.js'
import type { Usage } from '../usage.js'
import type { LedgerDimension, LedgerQuery, LedgerRow } from './ledger.js'

const columns = {
  tenant: 'tenant',
  team: 'team',
  user: 'user',
  key: 'keyId',
  model: 'model',
  provider: 'provider',
  outcome: 'outcome',
} as const

/** What a row has of a dimension; `null` if it has none. */
export function dimensionOf(row: LedgerRow, dimension: LedgerDimension): string | null {
  if (dimension.startsWith('tag:')) {
    const name = dimension.slice(4)
    return row.tags !== undefined && Object.hasOwn(row.tags, name) ? (row.tags[name] ?? null) : null
  }
  return row[columns[dimension as keyof typeof columns]] ?? null
}

/**
 * For ledgers: refuses a query that cannot be answered.
 *
 * @throws TollgateError `config_invalid`
 */
export function checkLedgerQuery({
  from,
  to,
  limit,
  by,
  timeZone,
  where = {},
}: Pick<LedgerQuery, 'from' | 'to' | 'limit' | 'where'> & Partial<LedgerQuery>): void {
  if (!Number.isFinite(from) || !Number.isFinite(to)) throw configInvalid('A query of the ledger needs from and to.')
  if (!(Number.isInteger(limit) && limit >= 1 && limit <= 10_000))
    throw configInvalid('limit must be from 1 to 10,000.')
  if (timeZone !== undefined) checkTimeZone(timeZone)
  for (const name of [...(by ?? []), ...Object.keys(where)]) {
    if (!Object.hasOwn(columns, name) && !/^tag:.+/.test(name)) throw configInvalid(`A ledger has no ${name}.`)
  }
}

/** For ledgers: tokens of sound and pictures. */
export function otherTokens(usage: Usage): number {
  const { inputAudioTokens = 0, inputImageTokens = 0, outputAudioTokens = 0, outputImageTokens = 0 } = usage
  return inputAudioTokens + inputImageTokens + outputAudioTokens + outputImageTokens
}

/**
 * For ledgers: how many items the pages before had.
 *
 * @throws TollgateError `invalid_request` for what is no cursor
 */
export function offsetOf(after: string | undefined): number {
  if (after === undefined) return 0
  if (/^\d{1,12}$/.test(after)) return Number(after)
  throw new TollgateError('invalid_request', 'The cursor is none of this list.', {
    errors: [{ path: 'query.cursor', message: 'is none of this list' }],
  })
}
