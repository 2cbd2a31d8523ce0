import { STATUS_CODES } from 'node:http'
import type { ErrorCode, TollgateError } from '../errors.js'
import type { RequestContext } from '../http/context.js'
import type { AnthropicError, OpenAiError, Problem } from '../wire/problem.js'
import { genericDetail } from './foreign-error.js'

/** The words of one error answer. */
export interface ErrorBody {
  readonly contentType: string
  readonly body: Problem | OpenAiError | AnthropicError
  readonly headers: Readonly<Record<string, string>>
}

/** What decides the words besides the error. */
export interface ErrorBodyOptions {
  /** Where the error codes are described: the problem's `type` is this and the code. Default: `about:blank`. */
  readonly problemBaseUrl?: string | undefined
  /** Shows callers the words of `internal` and `config_invalid`. For development. Default false. */
  readonly exposeInternal?: boolean | undefined
}

/** The error in the dialect of the request. */
export function errorBody(
  error: TollgateError,
  status: number,
  context: RequestContext,
  options: ErrorBodyOptions,
): ErrorBody {
  const shown = options.exposeInternal === true || !isInternal(error.code)
  if (context.dialect === 'openai') return openAiBody(error, status, shown)
  return context.dialect === 'anthropic'
    ? anthropicBody(error, status, context, shown)
    : { contentType: 'application/problem+json', body: problem(error, status, context, options, shown), headers: {} }
}

/** Codes whose messages speak to whoever runs the server: which middleware is missing, which value was impossible. */
export function isInternal(code: ErrorCode): boolean {
  return code === 'internal' || code === 'config_invalid'
}

function problem(
  error: TollgateError,
  status: number,
  context: RequestContext,
  options: ErrorBodyOptions,
  shown: boolean,
): Problem {
  const details = (shown ? error.details : undefined) ?? {}
  const type =
    typeof details['type'] === 'string'
      ? details['type']
      : options.problemBaseUrl === undefined
        ? 'about:blank'
        : `${options.problemBaseUrl}${error.code}`
  return {
    ...extensions(details),
    type,
    // RFC 9457, 4.2.1: with about:blank the title is the status phrase.
    title: type === 'about:blank' ? (STATUS_CODES[status] ?? error.title) : error.title,
    status,
    detail: shown ? error.message : genericDetail,
    code: error.code,
    request_id: context.id,
    timestamp: new Date().toISOString(),
    ...(shown && error.errors !== undefined ? { errors: [...error.errors] } : {}),
  }
}

const own = new Set(['type', 'title', 'status', 'detail', 'instance', 'code', 'request_id', 'timestamp', 'errors'])
// RFC 9457, 3.2: begins with a letter, three characters or more. (`-` is out of the RFC's advice, yet in the names of the registered
// problem types of the RateLimit fields.)
const extensionName = /^[A-Za-z][\w-]{2,}$/

function extensions(details: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(details).filter(([name, value]) => extensionName.test(name) && !own.has(name) && isJson(value)),
  )
}

function isJson(value: unknown): boolean {
  try {
    return JSON.stringify(value) !== undefined
  } catch {
    return false
  }
}

/** The codes that OpenAI's clients know by another name. */
const openAiCodes: Readonly<Partial<Record<ErrorCode, string>>> = {
  invalid_credentials: 'invalid_api_key',
  rate_limited: 'rate_limit_exceeded',
  budget_exceeded: 'insufficient_quota',
}

function openAiBody(error: TollgateError, status: number, shown: boolean): ErrorBody {
  const param = error.errors?.[0]?.path ?? error.details?.['param']
  return {
    contentType: 'application/json; charset=utf-8',
    body: {
      error: {
        message: shown ? error.message : genericDetail,
        type: error.type,
        param: shown && typeof param === 'string' && param !== '' ? param : null,
        code: openAiCodes[error.code] ?? error.code,
      },
    },
    headers: retryHeaders(error, status),
  }
}

/** Anthropic's clients choose their class of error by the status, and people by this. */
function anthropicType(status: number): string {
  const known: Readonly<Record<number, string>> = {
    401: 'authentication_error',
    402: 'billing_error',
    403: 'permission_error',
    404: 'not_found_error',
    408: 'timeout_error',
    409: 'conflict_error',
    413: 'request_too_large',
    429: 'rate_limit_error',
    503: 'overloaded_error',
    504: 'timeout_error',
  }
  return known[status] ?? (status < 500 ? 'invalid_request_error' : 'api_error')
}

function anthropicBody(error: TollgateError, status: number, context: RequestContext, shown: boolean): ErrorBody {
  return {
    contentType: 'application/json; charset=utf-8',
    body: {
      type: 'error',
      error: { type: anthropicType(status), message: shown ? error.message : genericDetail },
      request_id: context.id,
    },
    headers: { 'request-id': context.id, ...retryHeaders(error, status) },
  }
}

/** OpenAI's clients cut a longer wait short and try again within seconds. */
const longestClientWaitMs = 60_000

// The clients retry 408, 409, 429 and every 5xx by themselves unless told not to, and read milliseconds before seconds.
function retryHeaders(error: TollgateError, status: number): Record<string, string> {
  const wouldRetry = status === 408 || status === 409 || status === 429 || status >= 500
  const { retryAfterMs } = error
  if (wouldRetry && (!error.retryable || (retryAfterMs ?? 0) > longestClientWaitMs))
    return { 'x-should-retry': 'false' }
  return retryAfterMs === undefined ? {} : { 'retry-after-ms': String(Math.max(1, Math.ceil(retryAfterMs))) }
}
