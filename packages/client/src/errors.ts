import type { Problem } from '@tollgate/core/wire/problem'
import type { RateLimit } from './rate-limit.js'

/** What one field of a rejected request did wrong. */
export type FieldError = NonNullable<Problem['errors']>[number]

/** One attempt of a call that did not succeed. */
export interface AttemptFailure {
  /** From 1. */
  readonly attempt: number
  readonly code: string
  /** HTTP status, if there was an answer. */
  readonly status?: number
  readonly durationMs: number
  /** The wait that followed it; absent after the last one. */
  readonly waitMs?: number
}

/** What had arrived of a stream before it failed. Holds what the model wrote: it is left out of `JSON.stringify` and of logs. */
export interface StreamPartial {
  /** The text of the first choice so far. */
  readonly text: string
  readonly chunkCount: number
  /** The last `id:` of the stream, if it has ids. */
  readonly lastEventId?: string
}

interface BaseFields {
  readonly requestId?: string | undefined
  readonly cause?: unknown
}

const brand = Symbol.for('tollgate.client-error')

/**
 * What every error of this package is. `code` is stable: the server's own (`rate_limited`, `model_not_found`, …) or one of this package's.
 * `JSON.stringify(error)` holds no prompt, no answer, no key and no header.
 */
export abstract class TollgateClientError extends Error {
  abstract readonly kind: 'api' | 'connection' | 'timeout' | 'abort' | 'stream' | 'response' | 'usage'
  readonly code: string
  /** The id under which the server logged the request, if it answered. Quote it when you ask for help. */
  readonly requestId: string | undefined
  /** Could the same call succeed later? The client has already tried as often as it was allowed. */
  readonly retryable: boolean
  /** Every failed attempt of the call, this one last. Empty if nothing was sent. */
  readonly attempts: readonly AttemptFailure[] = []
  /** For a stream that broke off: what had arrived. Not enumerable. */
  declare readonly partial: StreamPartial | undefined

  constructor(name: string, code: string, message: string, retryable: boolean, fields: BaseFields) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.code = code
    this.requestId = fields.requestId
    this.retryable = retryable
    Object.defineProperty(this, 'name', { value: name, configurable: true })
    Object.defineProperty(this, brand, { value: true })
    hide(this, 'partial', undefined)
  }

  /** The fields that are safe to log. */
  toJSON(): Record<string, unknown> {
    const { name, kind, code, message, requestId, retryable, attempts } = this
    return { name, kind, code, message, requestId, retryable, attempts }
  }
}

interface ApiErrorFields extends BaseFields {
  readonly status: number
  readonly type?: string | undefined
  readonly errors?: readonly FieldError[] | undefined
  readonly param?: string | undefined
  readonly retryAfterMs?: number | undefined
  readonly rateLimit?: RateLimit | undefined
  readonly problem?: Problem | undefined
}

/** The server answered, with an error. `code` is the server's, or `http_<status>` if the body named none. */
export class ApiError extends TollgateClientError {
  readonly kind = 'api'
  readonly status: number
  /** The family, in OpenAI's words: `rate_limit_error`, `invalid_request_error`, … */
  readonly type: string | undefined
  /** For a rejected request: every field that is wrong. */
  readonly errors: readonly FieldError[] | undefined
  /** The field that is wrong, as OpenAI's error body names it. */
  readonly param: string | undefined
  /** How long the server asked to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined
  readonly rateLimit: RateLimit | undefined
  /** The whole problem body, with its extensions. Not enumerable. */
  declare readonly problem: Problem | undefined

  constructor(code: string, message: string, retryable: boolean, fields: ApiErrorFields) {
    super('ApiError', code, message, retryable, fields)
    this.status = fields.status
    this.type = fields.type
    this.errors = fields.errors
    this.param = fields.param
    this.retryAfterMs = fields.retryAfterMs
    this.rateLimit = fields.rateLimit
    hide(this, 'problem', fields.problem)
  }

  override toJSON(): Record<string, unknown> {
    const { status, type, errors, param, retryAfterMs } = this
    return { ...super.toJSON(), status, type, errors, param, retryAfterMs }
  }
}

/**
 * No answer, or only a part of one. `phase` says how far it came: `connect` (nothing was sent), `request` (it may have been),
 * `body` (the answer had begun), `stream` (events had begun). Code `connection_failed`.
 */
export class ConnectionError extends TollgateClientError {
  readonly kind = 'connection'
  readonly phase: 'connect' | 'request' | 'body' | 'stream'

  constructor(phase: ConnectionError['phase'], message: string, fields: BaseFields = {}) {
    super('ConnectionError', 'connection_failed', message, true, fields)
    this.phase = phase
  }

  override toJSON(): Record<string, unknown> {
    return { ...super.toJSON(), phase: this.phase }
  }
}

/**
 * A time limit of the client ran out: `total` (`timeoutMs`), `attempt` (`attemptTimeoutMs`), `idle` (`streamIdleTimeoutMs`), or `signal`:
 * the caller's own `AbortSignal.timeout()`. Code `client_timeout`.
 */
export class TimeoutError extends TollgateClientError {
  readonly kind = 'timeout'
  readonly which: 'total' | 'attempt' | 'idle' | 'signal'
  readonly limitMs: number | undefined

  constructor(which: TimeoutError['which'], message: string, limitMs?: number, fields: BaseFields = {}) {
    super('TimeoutError', 'client_timeout', message, which === 'attempt' || which === 'idle', fields)
    this.which = which
    this.limitMs = limitMs
  }

  override toJSON(): Record<string, unknown> {
    return { ...super.toJSON(), which: this.which, limitMs: this.limitMs }
  }
}

/** The caller's signal was aborted; `cause` is its reason. Code `client_aborted`. */
export class AbortError extends TollgateClientError {
  readonly kind = 'abort'

  constructor(message: string, fields: BaseFields = {}) {
    super('AbortError', 'client_aborted', message, false, fields)
  }
}

interface StreamErrorFields extends BaseFields {
  readonly type?: string | undefined
}

/**
 * A stream that had begun went wrong. `reason`: `error` (the server said so; `code` and `type` are the server's), `truncated` (it ended before
 * its end was announced), `invalid` (not what a chat stream is made of), `too_large` (one event over `maxEventLength`).
 */
export class StreamError extends TollgateClientError {
  readonly kind = 'stream'
  readonly reason: 'error' | 'truncated' | 'invalid' | 'too_large'
  readonly type: string | undefined

  constructor(
    reason: StreamError['reason'],
    code: string,
    message: string,
    retryable: boolean,
    fields: StreamErrorFields = {},
  ) {
    super('StreamError', code, message, retryable, fields)
    this.reason = reason
    this.type = fields.type
  }

  override toJSON(): Record<string, unknown> {
    return { ...super.toJSON(), reason: this.reason, type: this.type }
  }
}

interface ResponseErrorFields extends BaseFields {
  readonly status?: number | undefined
  readonly snippet?: string | undefined
}

/**
 * A success that is not one: HTML from a proxy, an empty body, fields missing (`response_invalid`), too many bytes (`response_too_large`),
 * or a redirect, which is never followed (`redirected`).
 */
export class ResponseError extends TollgateClientError {
  readonly kind = 'response'
  readonly status: number | undefined
  /** How the body began, if it is not JSON. Not enumerable. */
  declare readonly snippet: string | undefined

  constructor(
    code: 'response_invalid' | 'response_too_large' | 'redirected',
    message: string,
    fields: ResponseErrorFields = {},
  ) {
    super('ResponseError', code, message, false, fields)
    this.status = fields.status
    hide(this, 'snippet', fields.snippet)
  }

  override toJSON(): Record<string, unknown> {
    return { ...super.toJSON(), status: this.status }
  }
}

/** The client was used wrongly; nothing was sent. Codes `options_invalid`, `request_invalid`, `stream_consumed`. */
export class UsageError extends TollgateClientError {
  readonly kind = 'usage'

  constructor(
    code: 'options_invalid' | 'request_invalid' | 'stream_consumed',
    message: string,
    fields: BaseFields = {},
  ) {
    super('UsageError', code, message, false, fields)
  }
}

/** Every error of this package; narrow it by `kind`. */
export type ClientError =
  | ApiError
  | ConnectionError
  | TimeoutError
  | AbortError
  | StreamError
  | ResponseError
  | UsageError

/**
 * Is this an error of the client, from whichever copy of the package? With `code`, is it that one?
 *
 * @example
 * try {
 *   await client.inference({ prompt })
 * } catch (error) {
 *   if (!isTollgateClientError(error)) throw error
 *   if (error.kind === 'api' && error.status === 429) await later(error.retryAfterMs)
 * }
 */
export function isTollgateClientError(error: unknown, code?: string): error is ClientError {
  if (typeof error !== 'object' || error === null || !(brand in error)) return false
  return code === undefined || (error as { code?: unknown }).code === code
}

/** Only the call that throws the error knows what came before it. */
export function attachAttempts(error: ClientError, attempts: readonly AttemptFailure[]): void {
  Object.defineProperty(error, 'attempts', { value: attempts, enumerable: true, configurable: true })
}

export function attachPartial(error: ClientError, partial: StreamPartial): void {
  hide(error, 'partial', partial)
}

/** Readable, but kept out of logs that print an error's own enumerable fields. */
function hide(error: object, name: string, value: unknown): void {
  Object.defineProperty(error, name, { value, enumerable: false, configurable: true })
}
