import { STATUS_CODES } from 'node:http'
import { type ErrorCode, isTollgateError, TollgateError, type TollgateErrorOptions } from '../errors.js'
import { parseJson } from '../http/body.js'
import type { RequestContext } from '../http/context.js'
import { fieldErrors, invalidRequest, isZodError } from '../wire/parse.js'

/** What is told of an error whose own words are not for callers. */
export const genericDetail = 'The server could not answer. The request id finds the entry in its log.'

/** The errors of body-parser (Express's and Connect's `json()`, `raw()`, …), by their `type`. */
const bodyParserErrors: Readonly<Record<string, (error: ForeignError) => TollgateError>> = {
  'charset.unsupported': () => unsupported('Send the body as UTF-8.'),
  'encoding.unsupported': () => unsupported('The Content-Encoding of the body is not supported.'),
  'entity.parse.failed': unparsable,
  'entity.too.large': ({ limit }) =>
    new TollgateError(
      'payload_too_large',
      typeof limit === 'number' ? `The body is over the limit of ${limit} bytes.` : 'The body is too large.',
    ),
  'entity.verify.failed': () => new TollgateError('forbidden', 'The body did not pass verification.'),
  'parameters.too.many': () => new TollgateError('payload_too_large', 'The body has too many parameters.'),
  'querystring.parse.rangeError': () => new TollgateError('invalid_request', 'The body is nested too deeply.'),
  'request.aborted': () => new TollgateError('client_closed', 'The caller left before the body was complete.'),
  'request.size.invalid': () =>
    new TollgateError('invalid_request', 'The body has another length than its Content-Length says.'),
}

const codeOfStatus: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid_request',
  401: 'unauthenticated',
  403: 'forbidden',
  404: 'not_found',
  405: 'method_not_allowed',
  406: 'not_acceptable',
  408: 'request_timeout',
  409: 'conflict',
  413: 'payload_too_large',
  415: 'unsupported_media_type',
  429: 'rate_limited',
  502: 'upstream_failed',
  503: 'overloaded',
  504: 'timeout',
}

interface ForeignError {
  readonly name?: unknown
  readonly message?: unknown
  readonly status?: unknown
  readonly statusCode?: unknown
  readonly expose?: unknown
  readonly type?: unknown
  readonly body?: unknown
  readonly limit?: unknown
  readonly headers?: unknown
}

/**
 * Any thrown value as a {@link TollgateError}: body-parser's, zod's and http-errors' errors, aborts, unreadable paths. Whatever is not
 * known becomes `internal`, with a generic message and the original as its cause.
 */
export function asTollgateError(error: unknown, context?: RequestContext): TollgateError {
  if (isTollgateError(error)) return error
  if (typeof error !== 'object' || error === null) return internal(error)
  const foreign = error as ForeignError
  const ofBodyParser = typeof foreign.type === 'string' ? ownEntry(bodyParserErrors, foreign.type) : undefined
  if (ofBodyParser !== undefined) return ofBodyParser(foreign)
  if (isZodError(error)) return invalidRequest(fieldErrors(error))
  if (isAbort(foreign)) return aborted(error, context)
  if (foreign.name === 'TimeoutError') return new TollgateError('timeout', 'The work took too long.', { cause: error })
  const status = httpStatus(foreign)
  if (error instanceof URIError && status === 400) {
    return new TollgateError('invalid_request', 'The path is not well percent-encoded.', {
      errors: [{ path: 'path', message: 'a % must begin a percent-encoded UTF-8 character' }],
    })
  }
  if (isUpstreamAnswer(error)) return fromUpstream(error, status)
  if (status === undefined) return internal(error)
  return fromStatus(foreign, status)
}

/** http-errors and everything that follows its convention; their words are shown only where they say so. */
function fromStatus(error: ForeignError, status: number): TollgateError {
  const code = codeOfStatus[status] ?? (status < 500 ? 'invalid_request' : 'internal')
  const exposed = error.expose === true && typeof error.message === 'string' && error.message !== ''
  const detail = exposed
    ? String(error.message)
    : status < 500
      ? `${STATUS_CODES[status] ?? 'Refused'}.`
      : genericDetail
  return new TollgateError(code, detail, { status, headers: stringHeaders(error.headers), cause: error })
}

// An SDK called by hand throws its upstream's status. Passed on as ours, an upstream's 401 would tell callers that their key is bad.
function isUpstreamAnswer(error: object): boolean {
  return 'requestID' in error || 'request_id' in error || 'response' in error
}

function fromUpstream(cause: object, status: number | undefined): TollgateError {
  const { response } = cause as { response?: { status?: unknown } }
  const theirs = status ?? response?.status
  return theirs === 401 || theirs === 403
    ? new TollgateError('upstream_credentials', "The upstream refused the server's credentials.", { cause })
    : new TollgateError('upstream_failed', 'The upstream failed.', { cause })
}

function isAbort(error: ForeignError): boolean {
  return error.name === 'AbortError' || (error as object).constructor?.name === 'APIUserAbortError'
}

// Why the request's own signal was aborted says more than that it was.
function aborted(cause: unknown, context: RequestContext | undefined): TollgateError {
  const reason: unknown = context?.signal.aborted ? context.signal.reason : undefined
  return isTollgateError(reason) ? reason : internal(cause)
}

function unparsable({ body }: ForeignError): TollgateError {
  if (typeof body === 'string') {
    try {
      parseJson(Buffer.from(body))
    } catch (error) {
      if (isTollgateError(error)) return error
    }
  }
  return new TollgateError('invalid_json', 'The body must be a JSON object or array.')
}

function unsupported(message: string): TollgateError {
  return new TollgateError('unsupported_media_type', message)
}

function internal(cause: unknown): TollgateError {
  return new TollgateError('internal', genericDetail, { cause })
}

function httpStatus({ status, statusCode }: ForeignError): number | undefined {
  for (const value of [status, statusCode]) {
    if (typeof value === 'number' && Number.isInteger(value) && value >= 400 && value <= 599) return value
  }
  return undefined
}

function stringHeaders(headers: unknown): NonNullable<TollgateErrorOptions['headers']> {
  if (typeof headers !== 'object' || headers === null) return {}
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])),
  )
}

function ownEntry<Value>(table: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined
}
