import type { Problem } from '@tollgate/core/wire/problem'
import type { ClientError } from './errors.js'

/** Worth another try. 501 and 505 will not change; 409 only if the server says so by `x-should-retry`. */
const retryableStatuses: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504, 529])

/** With a status that is retried elsewhere, but no wait mends them. */
const permanentCodes: ReadonlySet<string> = new Set([
  'config_invalid',
  'upstream_credentials',
  'budget_exceeded',
  'insufficient_quota',
] satisfies Array<Problem['code'] | 'insufficient_quota'>)

/** Families of an error that comes within a stream, where there is no status. */
const retryableFamilies: ReadonlySet<string> = new Set([
  'rate_limit_error',
  'overloaded_error',
  'upstream_error',
  'timeout_error',
  'server_error',
  'api_error',
])

/** Is an answer with this status worth another try? `x-should-retry` decides, if the server sends it. */
export function isRetryableAnswer(status: number, code: string, headers: Headers): boolean {
  const verdict = headers.get('x-should-retry')
  if (verdict === 'true' || verdict === 'false') return verdict === 'true'
  return retryableStatuses.has(status) && !permanentCodes.has(code)
}

export function isRetryableFamily(type: string | undefined, code: string | undefined): boolean {
  return type !== undefined && retryableFamilies.has(type) && !permanentCodes.has(code ?? '')
}

/** Surely nothing was done: the request was not sent, or the server put it off. All that an unkeyed POST may be sent again for. */
export function wasNotProcessed(error: ClientError): boolean {
  if (error.kind === 'connection') return error.phase === 'connect'
  return error.kind === 'api' && (error.status === 425 || error.status === 429 || error.status === 503)
}

/**
 * As {@link wasNotProcessed}, for what must not be done twice. A 429 or 503 counts only if it says when to come back: a proxy's 503 may hide an
 * answer that was lost. So may that of a server whose store did not answer in time.
 */
export function wasRefusedUndone(error: ClientError): boolean {
  if (error.kind === 'connection') return error.phase === 'connect'
  if (error.kind !== 'api' || error.retryAfterMs === undefined || error.code === storeFailed) return false
  return error.status === 429 || error.status === 503
}

const storeFailed = 'store_unavailable' satisfies Problem['code']

export interface Backoff {
  readonly baseMs: number
  readonly maxMs: number
}

/** The wait after so many failures: doubling up to a ceiling, then between half of that and all of it, so that callers spread out. */
export function backoffMs(failureCount: number, { baseMs, maxMs }: Backoff, random: () => number): number {
  return Math.min(maxMs, baseMs * 2 ** (failureCount - 1)) * (0.5 + random() * 0.5)
}

/** Never earlier than told; a little later, each caller by a different amount. */
export function spreadMs(toldMs: number, random: () => number): number {
  return toldMs + random() * Math.min(toldMs * 0.1, 1000)
}
