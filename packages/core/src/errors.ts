/** What a field of a rejected request did wrong. `path` reads like code: `messages[0].role`, `query.limit`, `headers.accept`. */
export interface FieldError {
  readonly path: string
  readonly message: string
}

interface CatalogueEntry {
  /** HTTP status. */
  readonly status: number
  /** The error family, in OpenAI's words. */
  readonly type: string
  /** Stable per code (RFC 9457 `title`). */
  readonly title: string
  /** May the same request succeed later, unchanged? */
  readonly retryable: boolean
}

/**
 * Every error code that Tollgate answers with. The wire bodies are written in `middleware/error-handler` from this table.
 * `docs/reference/errors.md` lists the same codes; a test compares the two.
 */
export const errorCatalogue = {
  invalid_request: { status: 400, type: 'invalid_request_error', title: 'Invalid request', retryable: false },
  invalid_json: { status: 400, type: 'invalid_request_error', title: 'Invalid JSON', retryable: false },
  malformed_credentials: {
    status: 400,
    type: 'invalid_request_error',
    title: 'Malformed credentials',
    retryable: false,
  },
  price_unknown: { status: 400, type: 'invalid_request_error', title: 'Price unknown', retryable: false },
  context_length_exceeded: {
    status: 400,
    type: 'invalid_request_error',
    title: 'Prompt too long for the model',
    retryable: false,
  },
  content_policy_violation: {
    status: 400,
    type: 'invalid_request_error',
    title: "Refused by the upstream's content policy",
    retryable: false,
  },
  guard_refused: { status: 400, type: 'invalid_request_error', title: 'Refused by a guard', retryable: false },
  unauthenticated: { status: 401, type: 'authentication_error', title: 'Credentials required', retryable: false },
  invalid_credentials: { status: 401, type: 'authentication_error', title: 'Invalid credentials', retryable: false },
  budget_exceeded: { status: 402, type: 'insufficient_quota', title: 'Budget exceeded', retryable: false },
  forbidden: { status: 403, type: 'permission_error', title: 'Forbidden', retryable: false },
  insufficient_scope: { status: 403, type: 'permission_error', title: 'Insufficient scope', retryable: false },
  model_not_allowed: { status: 403, type: 'permission_error', title: 'Model not allowed', retryable: false },
  not_found: { status: 404, type: 'invalid_request_error', title: 'Not found', retryable: false },
  model_not_found: { status: 404, type: 'invalid_request_error', title: 'Model not found', retryable: false },
  method_not_allowed: { status: 405, type: 'invalid_request_error', title: 'Method not allowed', retryable: false },
  not_acceptable: { status: 406, type: 'invalid_request_error', title: 'Not acceptable', retryable: false },
  request_timeout: { status: 408, type: 'timeout_error', title: 'Request body timed out', retryable: true },
  conflict: { status: 409, type: 'conflict_error', title: 'Conflict', retryable: false },
  payload_too_large: { status: 413, type: 'invalid_request_error', title: 'Payload too large', retryable: false },
  unsupported_media_type: {
    status: 415,
    type: 'invalid_request_error',
    title: 'Unsupported media type',
    retryable: false,
  },
  rate_limited: { status: 429, type: 'rate_limit_error', title: 'Quota Exceeded', retryable: true },
  client_closed: { status: 499, type: 'client_closed', title: 'Client closed the request', retryable: false },
  internal: { status: 500, type: 'server_error', title: 'Internal error', retryable: false },
  config_invalid: { status: 500, type: 'server_error', title: 'Invalid configuration', retryable: false },
  upstream_failed: { status: 502, type: 'upstream_error', title: 'Upstream failed', retryable: true },
  upstream_invalid: { status: 502, type: 'upstream_error', title: 'Upstream answered nonsense', retryable: true },
  upstream_credentials: {
    status: 502,
    type: 'upstream_error',
    title: 'Upstream refused our credentials',
    retryable: false,
  },
  identity_unavailable: { status: 503, type: 'server_error', title: 'Identity source unavailable', retryable: true },
  store_unavailable: { status: 503, type: 'server_error', title: 'Store unavailable', retryable: true },
  guard_failed: { status: 503, type: 'server_error', title: 'A guard failed', retryable: true },
  overloaded: { status: 503, type: 'overloaded_error', title: 'Temporary reduced capacity', retryable: true },
  not_ready: { status: 503, type: 'server_error', title: 'Not ready', retryable: true },
  timeout: { status: 504, type: 'timeout_error', title: 'Deadline exceeded', retryable: true },
  upstream_timeout: { status: 504, type: 'timeout_error', title: 'Upstream timed out', retryable: true },
} as const satisfies Record<string, CatalogueEntry>

/** A key of {@link errorCatalogue}. */
export type ErrorCode = keyof typeof errorCatalogue

export interface TollgateErrorOptions {
  /** Instead of the catalogue's status, for example an upstream's own 4xx. */
  readonly status?: number
  /** Response headers that belong to the refusal: `Retry-After`, `WWW-Authenticate`, `Allow`. Names in any case. */
  readonly headers?: Readonly<Record<string, string>>
  /** For a rejected request: every field that is wrong. */
  readonly errors?: readonly FieldError[]
  /** Further members of the problem body. Never put a secret here. */
  readonly details?: Readonly<Record<string, unknown>>
  /** Whole milliseconds to wait; becomes `Retry-After` in seconds, rounded up, unless `headers` already has one. */
  readonly retryAfterMs?: number
  readonly cause?: unknown
}

const brand = Symbol.for('tollgate.error')

/**
 * The one error class. A middleware refuses by throwing it.
 * `status` and `headers` are public, so that a host without our error handler (Express's own, for one) answers rightly too.
 * `message` is shown to the caller: say what is wrong, where, and how to mend it; never a secret.
 *
 * @example throw new TollgateError('payload_too_large', 'The body is over 1,048,576 bytes.')
 */
export class TollgateError extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly type: string
  readonly title: string
  readonly retryable: boolean
  readonly headers: Readonly<Record<string, string>>
  readonly errors: readonly FieldError[] | undefined
  readonly details: Readonly<Record<string, unknown>> | undefined
  readonly retryAfterMs: number | undefined

  constructor(code: ErrorCode, message: string, options: TollgateErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    const entry = errorCatalogue[code]
    this.name = 'TollgateError'
    this.code = code
    this.status = options.status ?? entry.status
    this.type = entry.type
    this.title = entry.title
    this.retryable = entry.retryable
    this.errors = options.errors
    this.details = options.details
    this.retryAfterMs = options.retryAfterMs
    this.headers = withRetryAfter(options.headers ?? {}, options.retryAfterMs)
    Object.defineProperty(this, brand, { value: true })
  }
}

/**
 * Is this a {@link TollgateError}, from whichever copy of the package? With `code`, is it that one?
 */
export function isTollgateError(error: unknown, code?: ErrorCode): error is TollgateError {
  if (typeof error !== 'object' || error === null || !(brand in error)) return false
  return code === undefined || (error as { code?: unknown }).code === code
}

/** For factories: the options were wrong. Thrown where the middleware is made, never while a request runs. */
export function configInvalid(message: string, errors?: readonly FieldError[]): TollgateError {
  return new TollgateError('config_invalid', message, errors === undefined ? {} : { errors })
}

function withRetryAfter(headers: Readonly<Record<string, string>>, retryAfterMs: number | undefined) {
  if (retryAfterMs === undefined || Object.keys(headers).some((name) => name.toLowerCase() === 'retry-after')) {
    return headers
  }
  // RFC 9110, 10.2.3: whole seconds; never earlier than told, so round up, and never 0.
  return { ...headers, 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) }
}
