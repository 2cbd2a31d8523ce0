import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { isTollgateError } from '../errors.js'
import { allowedMethods } from '../http/allowed-methods.js'
import { endpoint, type Handler } from '../http/handler.js'
import { noStore, sendBytes, sendJson } from '../http/respond.js'
import { queryParams } from '../http/route-template.js'
import { challenges, insufficientScope } from '../middleware/auth-challenge.js'
import { formatUsd } from '../money.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import { coversScope } from '../scopes.js'
import type { Ledger, LedgerDimension, LedgerSum } from '../stores/ledger.js'
import { invalidRequest, parseWith } from '../wire/parse.js'
import type { UsageSum } from '../wire/usage.js'
import { fromStore, isoTime } from './admin-request.js'

export interface UsageRouteOptions {
  readonly ledger: Ledger
  /** How long the ledger may take, milliseconds. Default 10,000. */
  readonly timeoutMs?: number
  /** The clock, milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

const schema = z.strictObject({
  ledger: objectOption<Ledger>('a Ledger, for example memoryLedger()', 'sums'),
  timeoutMs: z.int().min(1).max(60_000).default(10_000),
  now: functionOption<() => number>().default(() => Date.now),
})

const onlyGet = allowedMethods('GET')
const { missing: unauthenticated } = challenges('api')
const thirtyDaysMs = 30 * 86_400_000
const filters = ['team', 'user', 'key', 'model', 'provider'] as const
const time = z.iso.datetime({ offset: true, error: 'must be a time as ISO 8601 with its zone: 2026-11-01T00:00:00Z' })
const text = z.string().min(1).max(512)
const dimension = z
  .string()
  .regex(
    /^(?:tenant|team|user|key|model|provider|outcome|tag:[\w.-]{1,64})$/,
    'must be tenant, team, user, key, model, provider, outcome or tag:…',
  )

const usageQuery = z.strictObject({
  from: time.optional(),
  to: time.optional(),
  group_by: z
    .string()
    .transform((list) => list.split(',').map((name) => name.trim()))
    .pipe(z.array(dimension).max(5))
    .default(['model']),
  per: z.enum(['hour', 'day', 'month']).optional(),
  time_zone: text.default('UTC'),
  tenant: text.optional(),
  team: text.optional(),
  user: text.optional(),
  key: text.optional(),
  model: text.optional(),
  provider: text.optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
  cursor: z.string().min(1).max(256).optional(),
})

/**
 * `GET /v1/usage`: what was used and what it cost, by tenant, team, user, key, model, provider, outcome or tag, and per hour, day or month. As JSON pages, or as CSV for `Accept: text/csv`. Needs the scope `usage:read`, for the caller's
 * own tenant, or `admin:all`.
 *
 * Reads the slot `principal`; writes `route`.
 *
 * @throws TollgateError `unauthenticated`, `insufficient_scope`, `invalid_request`, `method_not_allowed`, `store_unavailable`
 * @example app.get('/v1/usage', auth({ directory }), usageRoute({ ledger }))
 */
export function usageRoute(options: UsageRouteOptions): Handler {
  const { ledger, timeoutMs, now } = checkedOptions('usageRoute', schema, options)
  return endpoint('usageRoute', async (context, req, res) => {
    context.route ??= '/v1/usage'
    onlyGet(req)
    const { principal } = context
    if (principal === undefined) throw unauthenticated()
    const isOperator = coversScope(principal.scopes, 'admin:all')
    if (!isOperator && !coversScope(principal.scopes, 'usage:read')) throw insufficientScope('api', ['usage:read'])
    const query = parseWith(usageQuery, Object.fromEntries(queryParams(req)), 'query')
    if (query.tenant !== undefined && query.tenant !== principal.tenant && !isOperator) {
      throw insufficientScope('api', ['admin:all'])
    }
    const before = query.cursor === undefined ? undefined : pageBefore(query.cursor)
    const to = query.to === undefined ? (before?.to ?? Math.floor(now())) : Date.parse(query.to)
    const from = query.from === undefined ? (before?.from ?? to - thirtyDaysMs) : Date.parse(query.from)
    if (!(from < to)) throw invalidRequest([{ path: 'query.from', message: 'must be before to' }])
    const asked = filters.flatMap((name) => (query[name] === undefined ? [] : [[name, query[name]] as const]))
    const page = await fromStore(
      ledger.sums({
        tenant: query.tenant ?? (isOperator ? undefined : principal.tenant),
        from,
        to,
        where: Object.fromEntries(asked),
        by: query.group_by as LedgerDimension[],
        per: query.per,
        timeZone: query.time_zone,
        limit: query.limit,
        after: before?.next,
      }),
      timeoutMs,
    ).catch((error: unknown) => {
      // The only part of a query that the store knows better.
      if (isTollgateError(error, 'config_invalid'))
        throw invalidRequest([{ path: 'query.time_zone', message: 'is not known: use a name as Europe/Berlin' }])
      throw error
    })
    const data = page.items.map(usageSum)
    const next = page.next === undefined ? undefined : `${from}.${to}.${page.next}`
    if (wantsCsv(req)) {
      const bytes = Buffer.from(csvOf(data, query.group_by))
      const headers = next === undefined ? noStore : { ...noStore, 'x-next-cursor': next }
      return sendBytes(res, 200, bytes, 'text/csv; charset=utf-8', headers)
    }
    return sendJson(
      res,
      200,
      { object: 'list', data, has_more: next !== undefined, next_cursor: next ?? null },
      noStore,
    )
  })
}

/** Pages are of one time, also where nobody has named it: what comes meanwhile moves none of them. `next` is the ledger's own word. */
function pageBefore(cursor: string): { readonly from: number; readonly to: number; readonly next: string } {
  const [, from, to, next] = /^(-?\d{1,15})\.(-?\d{1,15})\.(.+)$/s.exec(cursor) ?? []
  if (next === undefined || !(Number(from) < Number(to))) {
    throw invalidRequest([{ path: 'query.cursor', message: 'is none of this list' }])
  }
  return { from: Number(from), to: Number(to), next }
}

function usageSum(sum: LedgerSum): UsageSum {
  return {
    object: 'usage',
    group: { ...sum.of },
    starts_at: isoTime(sum.startsAt),
    requests: sum.requests,
    unpriced_requests: sum.unpriced,
    cost_usd: formatUsd(sum.costNanoUsd),
    input_tokens: sum.inputTokens,
    cache_read_tokens: sum.cacheReadTokens,
    cache_write_tokens: sum.cacheWriteTokens,
    output_tokens: sum.outputTokens,
    reasoning_tokens: sum.reasoningTokens,
    other_tokens: sum.otherTokens,
    rows: sum.rows,
  }
}

function wantsCsv(req: IncomingMessage): boolean {
  return /^\s*text\/csv\b/i.test(req.headers.accept ?? '')
}

const numbers = [
  'requests',
  'unpriced_requests',
  'cost_usd',
  'input_tokens',
  'cache_read_tokens',
  'cache_write_tokens',
  'output_tokens',
  'reasoning_tokens',
  'other_tokens',
  'rows',
] as const

/** RFC 4180. A text that a spreadsheet would take for a formula is quoted with an apostrophe before it. */
function csvOf(data: readonly UsageSum[], by: readonly string[]): string {
  const cell = (value: string) => {
    const safe = /^[=+\-@\t\r\n＝＋－＠]/.test(value) ? `'${value}` : value
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
  }
  const lines = data.map((sum) => [
    sum.starts_at ?? '',
    ...by.map((name) => cell(sum.group[name] ?? '')),
    ...numbers.map((name) => String(sum[name])),
  ])
  return [['starts_at', ...by.map(cell), ...numbers], ...lines].map((line) => `${line.join(',')}\r\n`).join('')
}
