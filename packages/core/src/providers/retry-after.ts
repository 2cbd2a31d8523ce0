import type { IncomingHttpHeaders } from 'node:http'
import { parseHttpDate } from './http-date.js'

/** Upstreams that are long in mending say so; beyond a day it is no hint for a request. */
const longestRetryMs = 86_400_000

type Headers = Readonly<IncomingHttpHeaders>

/**
 * Milliseconds that an answer asks to wait: `retry-after-ms` (at Azure `x-ms-retry-after-ms`) if there, else `Retry-After` in seconds (fractions too, as seen in the wild) or as a date of HTTP's,
 * which is measured by the answer's own `Date`. A day at most. `undefined` for none, a past date or nonsense.
 */
export function retryAfter(headers: Headers, now: () => number = Date.now): number | undefined {
  for (const field of ['retry-after-ms', 'x-ms-retry-after-ms']) {
    const exact = longest(headers[field], (value) => decimal(value, 1))
    if (exact !== undefined) return exact
  }
  return longest(headers['retry-after'], (value) => decimal(value, 1_000) ?? untilDate(value, headers, now()))
}

/**
 * For an answer 429 that does not say: milliseconds until the last of the windows that are used up begins anew. `x-ratelimit-reset-requests: 1m30s` and its like of OpenAI's, `anthropic-ratelimit-tokens-reset`
 * with a time of RFC 3339, and a plain `x-ratelimit-reset` in seconds, or as seconds or milliseconds since the epoch.
 */
export function windowReset(headers: Headers, now: () => number = Date.now): number | undefined {
  const waits = Object.entries(headers).map(([field, value]) => {
    if (typeof value !== 'string') return undefined
    const [, window] = /^x-ratelimit-reset(-.{1,40})?$/.exec(field) ?? []
    const isPlain = field === 'x-ratelimit-reset'
    if (isPlain || window !== undefined) {
      if (!isUsedUp(headers[`x-ratelimit-remaining${window ?? ''}`])) return undefined
      return spanMs(value) ?? sinceEpoch(value, now())
    }
    const [, limit] = /^anthropic-ratelimit-(.{1,40})-reset$/.exec(field) ?? []
    if (limit === undefined || !isUsedUp(headers[`anthropic-ratelimit-${limit}-remaining`])) return undefined
    return /^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)$/.test(value) ? Date.parse(value) - now() : undefined
  })
  return bounded(Math.max(0, ...waits.filter((wait) => wait !== undefined && !Number.isNaN(wait)).map(Number)))
}

function isUsedUp(remaining: unknown): boolean {
  return typeof remaining === 'string' && /^\s*0+(?:\.0*)?\s*$/.test(remaining)
}

/** Of a field that came several times, what keeps us away the longest. */
function longest(
  value: string | string[] | undefined,
  read: (value: string) => number | undefined,
): number | undefined {
  const waits = [value ?? []].flat().flatMap((each) => read(each) ?? [])
  return waits.length === 0 ? undefined : Math.min(Math.max(...waits), longestRetryMs)
}

function decimal(value: string, unit: number): number | undefined {
  return /^\s*\d{1,400}(?:\.\d{1,6})?\s*$/.test(value) ? Number(value) * unit : undefined
}

function untilDate(value: string, { date }: Headers, nowMs: number): number | undefined {
  const at = parseHttpDate(value, nowMs)
  if (at === undefined) return undefined
  const sent = typeof date === 'string' ? parseHttpDate(date, nowMs) : undefined
  return bounded(at - (sent ?? nowMs))
}

const unitsMs: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 }

/** `6m0s`, `1.5s`, `20ms`. */
function spanMs(value: string): number | undefined {
  if (!/^(?:\d{1,9}(?:\.\d{1,9})?(?:h|ms|m|s)){1,4}$/.test(value)) return undefined
  let sum = 0
  for (const [, count, unit] of value.matchAll(/([\d.]+)(h|ms|m|s)/g)) sum += Number(count) * (unitsMs[unit ?? ''] ?? 0)
  return sum
}

/** By their size: no window is a year long, and no clock stands at 1970. */
function sinceEpoch(value: string, nowMs: number): number | undefined {
  const count = decimal(value, 1)
  if (count === undefined) return undefined
  if (count < 31_536_000) return count * 1_000
  return (count < 100_000_000_000 ? count * 1_000 : count) - nowMs
}

function bounded(waitMs: number): number | undefined {
  return waitMs > 0 ? Math.min(waitMs, longestRetryMs) : undefined
}
