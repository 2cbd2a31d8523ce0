import type { ServerResponse } from 'node:http'
import { configInvalid } from '../errors.js'

/**
 * In which words limits are told:
 *
 * - `draft-11`: `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11
 * - `draft-7`: `RateLimit: limit=10, remaining=9, reset=6` and `RateLimit-Policy: 10;w=60`
 * - `draft-6`: `RateLimit-Limit`, `-Remaining`, `-Reset` (seconds from now) and `RateLimit-Policy: 10;w=60`
 * - `x-ratelimit`: `X-RateLimit-Limit`, `-Remaining`, `-Reset` (seconds since the epoch)
 * - `openai`: `x-ratelimit-limit-requests` and so on, with durations like `6m0s`, and `retry-after-ms` on a refusal
 */
export type RateLimitFieldStyle = 'draft-11' | 'draft-7' | 'draft-6' | 'x-ratelimit' | 'openai'

/** All styles, for the options of factories. */
export const rateLimitFieldStyles = ['draft-11', 'draft-7', 'draft-6', 'x-ratelimit', 'openai'] as const

/** A rule as it is told to callers. Make it once with {@link rateLimitPolicy}. */
export interface RateLimitPolicy {
  readonly name: string
  readonly limit: number
  readonly burst: number
  readonly unit: string
  /** Milliseconds until one more unit is back, for rules that refill steadily. */
  readonly unitMs: number | undefined
  /** The item of `RateLimit-Policy`: `"requests";q=10;w=60`. */
  readonly item: string
  /** The same before draft 8: `10;w=60`. */
  readonly earlyItem: string
  /** Where the item of `RateLimit` begins: `"requests";r=`. */
  readonly prefix: string
  /** OpenAI's names of its three fields: `x-ratelimit-limit-requests` and so on. */
  readonly openAiNames: { readonly limit: string; readonly remaining: string; readonly reset: string }
}

export interface RateLimitPolicyOptions {
  /** Letters, digits, `_`, `.` and `-`, at most 64. */
  readonly name: string
  readonly limit: number
  /** Left out: a rule without window (places held at once). */
  readonly windowMs?: number | undefined
  /** For rules that refill steadily; left out: the count begins anew with each window. */
  readonly burst?: number | undefined
  /** What is counted. Default `requests`. Units that the registry does not know are told as `tollgate-unit`. */
  readonly unit?: string | undefined
}

/** The store's answer, as far as it is told: see `ClaimState` in `stores/limit-store`. */
export interface LimitState {
  readonly allowed: boolean
  readonly remaining: number
  readonly resetMs: number
  readonly retryAfterMs: number
}

/** One rule and how this caller stands with it. */
export interface LimitReport {
  readonly policy: RateLimitPolicy
  readonly state: LimitState
}

/** RFC 9651: integers have at most 15 digits. */
const largestInteger = 999_999_999_999_999

const policyName = /^[\w.-]{1,64}$/

// The registry of draft-11, section 10.3.
const registeredUnits: ReadonlySet<string> = new Set(['requests', 'content-bytes', 'concurrent-requests'])

/**
 * Everything about a rule that is the same for every request, written once.
 *
 * @throws TollgateError `config_invalid` for a name that does not fit into a field
 */
export function rateLimitPolicy(options: RateLimitPolicyOptions): RateLimitPolicy {
  const { name, limit, windowMs, burst, unit = 'requests' } = options
  for (const text of [name, unit]) {
    if (!policyName.test(text)) {
      throw configInvalid(`The name "${text}" of a limit may have 1 to 64 letters, digits, "_", "." and "-", no more.`)
    }
  }
  // Sub-second windows cannot be told; rounding them would tell another rate.
  const window = windowMs !== undefined && windowMs >= 1000 && windowMs % 1000 === 0 ? `;w=${windowMs / 1000}` : ''
  const quota = integer(Math.floor(limit))
  let item = `"${name}";q=${quota}`
  if (unit !== 'requests') item += registeredUnits.has(unit) ? `;qu="${unit}"` : `;tollgate-unit="${unit}"`
  item += window
  if (burst !== undefined && burst !== limit) item += `;tollgate-burst=${integer(Math.floor(burst))}`
  return {
    name,
    limit,
    burst: burst ?? limit,
    unit,
    unitMs: burst !== undefined && windowMs !== undefined && limit > 0 ? windowMs / limit : undefined,
    item,
    earlyItem: `${quota}${window}`,
    prefix: `"${name}";r=`,
    openAiNames: {
      limit: `x-ratelimit-limit-${unit}`,
      remaining: `x-ratelimit-remaining-${unit}`,
      reset: `x-ratelimit-reset-${unit}`,
    },
  }
}

const reportsKey = Symbol.for('tollgate.limits')

interface Carrier {
  [reportsKey]?: readonly LimitReport[]
}

/**
 * Tells the caller about some rules. Those of other middlewares on the same response are kept: the lists of draft-11 name them all, the
 * older fields, which have room for one, the rule closest to exhaustion. Does not touch a response whose headers are out.
 *
 * @returns the fields, lower case, for the error of a refusal
 */
export function addRateLimitReports(
  res: ServerResponse,
  styles: readonly RateLimitFieldStyle[],
  added: readonly LimitReport[],
): Readonly<Record<string, string>> {
  const carrier = res as Carrier
  const known = carrier[reportsKey]
  const reports = known === undefined ? added : withAdded(known, added)
  carrier[reportsKey] = reports
  const fields = rateLimitFields(styles, reports)
  if (!res.headersSent) for (const name in fields) res.setHeader(name, fields[name] as string)
  return fields
}

function withAdded(known: readonly LimitReport[], added: readonly LimitReport[]): readonly LimitReport[] {
  return [...known.filter(({ policy }) => !added.some((each) => each.policy.name === policy.name)), ...added]
}

/** The fields for some rules, names in lower case. */
export function rateLimitFields(
  styles: readonly RateLimitFieldStyle[],
  reports: readonly LimitReport[],
): Record<string, string> {
  const fields: Record<string, string> = {}
  for (const style of styles) writers[style](fields, reports)
  return fields
}

type Writer = (fields: Record<string, string>, reports: readonly LimitReport[]) => void

const writers: Readonly<Record<RateLimitFieldStyle, Writer>> = {
  'draft-11': (fields, reports) => {
    let policies = ''
    let limits = ''
    for (const { policy, state } of reports) {
      const separator = policies === '' ? '' : ', '
      policies += separator + policy.item
      limits += separator + policy.prefix + integer(state.remaining)
      const windowMs = effectiveWindowMs(policy, state)
      if (windowMs !== Number.POSITIVE_INFINITY) limits += `;t=${seconds(windowMs)}`
    }
    fields['ratelimit-policy'] = policies
    fields['ratelimit'] = limits
  },
  'draft-7': (fields, reports) => {
    const { policy, state } = tightest(reports)
    fields['ratelimit-policy'] ??= policy.earlyItem
    fields['ratelimit'] ??=
      `limit=${integer(policy.limit)}, remaining=${integer(state.remaining)}, reset=${seconds(resetMs(policy, state))}`
  },
  'draft-6': (fields, reports) => {
    const { policy, state } = tightest(reports)
    fields['ratelimit-policy'] ??= policy.earlyItem
    fields['ratelimit-limit'] = String(integer(policy.limit))
    fields['ratelimit-remaining'] = String(integer(state.remaining))
    fields['ratelimit-reset'] = String(seconds(resetMs(policy, state)))
  },
  'x-ratelimit': (fields, reports) => {
    const { policy, state } = tightest(reports)
    fields['x-ratelimit-limit'] = String(integer(policy.limit))
    fields['x-ratelimit-remaining'] = String(integer(state.remaining))
    fields['x-ratelimit-reset'] = String(seconds(Date.now() + resetMs(policy, state)))
  },
  openai: (fields, reports) => {
    let waitMs = 0
    for (const report of reports) {
      const { policy, state } = report
      if (!state.allowed) waitMs = Math.max(waitMs, state.retryAfterMs)
      // Of those that count the same, the one that is closest to its end.
      if (reports.length > 1 && tightest(reports, policy.unit) !== report) continue
      const { limit, remaining, reset } = policy.openAiNames
      fields[limit] = String(integer(policy.limit))
      fields[remaining] = String(integer(state.remaining))
      if (state.resetMs !== Number.POSITIVE_INFINITY) fields[reset] = goDuration(state.resetMs)
    }
    if (waitMs > 0 && waitMs !== Number.POSITIVE_INFINITY) fields['retry-after-ms'] = String(Math.ceil(waitMs))
  },
}

/** "The number of seconds within which the client can use no more than the available quota": until one more unit is back. */
function effectiveWindowMs(policy: RateLimitPolicy, state: LimitState): number {
  if (!state.allowed && state.retryAfterMs === Number.POSITIVE_INFINITY) return state.retryAfterMs
  if (policy.unitMs === undefined) return state.allowed ? state.resetMs : state.retryAfterMs
  const usedThen = policy.burst - state.remaining - 1
  const untilNext = usedThen <= 0 ? state.resetMs : state.resetMs - usedThen * policy.unitMs
  // Both figures are rounded up to milliseconds: never let the field outlast `Retry-After`.
  return Math.max(0, state.allowed ? untilNext : Math.min(untilNext, state.retryAfterMs))
}

/** Before draft 8: until all is back, but for a caller that has nothing left, until it may come again. */
function resetMs(policy: RateLimitPolicy, state: LimitState): number {
  const wait = state.remaining === 0 || !state.allowed ? effectiveWindowMs(policy, state) : state.resetMs
  return wait === Number.POSITIVE_INFINITY ? largestInteger : wait
}

/** @param unit only of those that are counted in it */
function tightest(reports: readonly LimitReport[], unit?: string): LimitReport {
  let found: LimitReport | undefined
  for (const report of reports) {
    if (unit !== undefined && report.policy.unit !== unit) continue
    if (found === undefined || tightness(report) < tightness(found)) found = report
  }
  if (found === undefined) throw new RangeError('no limit to report')
  return found
}

function tightness({ policy, state }: LimitReport): number {
  if (!state.allowed) return -state.retryAfterMs
  return policy.limit === 0 ? 0 : state.remaining / policy.limit
}

function integer(value: number): number {
  return Math.min(largestInteger, Math.max(0, Math.floor(value)))
}

function seconds(milliseconds: number): number {
  return Math.min(largestInteger, Math.ceil(milliseconds / 1000))
}

/** As Go prints a duration: `120ms`, `1.5s`, `6m0s`, `1h0m0s`. */
function goDuration(milliseconds: number): string {
  const whole = Math.ceil(milliseconds)
  if (whole < 1000) return whole === 0 ? '0s' : `${whole}ms`
  const rest = (whole % 60_000) / 1000
  const minutes = Math.floor(whole / 60_000)
  if (minutes === 0) return `${rest}s`
  return minutes < 60 ? `${minutes}m${rest}s` : `${Math.floor(minutes / 60)}h${minutes % 60}m${rest}s`
}
