import type { ErrorCode } from '../errors.js'
import type { TokenError } from '../wire/token.js'

/** A refusal of the token endpoint in OAuth's words (RFC 6749, 5.2). */
export interface TokenRefusal {
  readonly status: number
  readonly body: TokenError
  readonly headers: Readonly<Record<string, string>>
  /** The same in ours, for metrics and logs. */
  readonly code: ErrorCode
}

interface RefusalOptions {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly code?: ErrorCode
}

/** Descriptions go out as they are: no `"` and no `\` in them. */
export function tokenRefusal(
  error: TokenError['error'],
  description: string,
  { status = 400, headers = {}, code = 'invalid_request' }: RefusalOptions = {},
): TokenRefusal {
  return { status, body: { error, error_description: description }, headers, code }
}

/** Not now: 503, or 429 for `rate_limited`. */
export function tokenDelay(
  code: 'rate_limited' | 'overloaded' | 'identity_unavailable',
  description: string,
  waitMs: number,
): TokenRefusal {
  return tokenRefusal('temporarily_unavailable', description, {
    status: code === 'rate_limited' ? 429 : 503,
    headers: { 'retry-after': String(Math.max(1, Math.ceil(waitMs / 1000))) },
    code,
  })
}
