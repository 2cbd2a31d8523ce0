import type { IncomingHttpHeaders } from 'node:http'
import { isTollgateError, TollgateError } from '../errors.js'
import { notStored } from '../inference/stored.js'
import { retryAfter, windowReset } from './retry-after.js'

/** What an upstream's error answer says, as far as anyone may see it. */
export interface ErrorAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** The upstream's own words; shown to callers only where the fault is theirs. Bounded and without secrets. */
  readonly message?: string | undefined
  /** The upstream's own error code and type, which decide where the status is ambiguous. */
  readonly code?: string | undefined
  readonly type?: string | undefined
}

/**
 * The error of an HTTP status that is no success. What is the caller's fault keeps its status and the upstream's words; what is ours or
 * the upstream's becomes a 502 or 504, so that nobody takes a refusal of our key for one of theirs.
 */
export function answerError(upstream: string, answer: ErrorAnswer): TollgateError {
  const { status, code, type } = answer
  const cause = new Error(`${upstream} answered ${status}: ${answer.message ?? 'no message'}`)
  const retryAfterMs = retryAfter(answer.headers) ?? (status === 429 ? windowReset(answer.headers) : undefined)
  const hint = retryAfterMs === undefined ? {} : { retryAfterMs }
  if (code === 'insufficient_quota' || type === 'insufficient_quota' || status === 402) {
    return new TollgateError('upstream_credentials', `The account at the upstream ${upstream} is out of credit.`, {
      cause,
    })
  }
  if (status === 429 || type === 'ServiceQuotaExceededException') {
    const headers = retryAfterMs === undefined ? {} : { 'retry-after-ms': String(Math.ceil(retryAfterMs)) }
    return new TollgateError('rate_limited', `The upstream ${upstream} limits the rate of requests; try again later.`, {
      ...hint,
      headers,
      cause,
    })
  }
  // Google answers 400 to a key that it does not know, Amazon to some that have expired.
  if (
    status === 401 ||
    status === 403 ||
    (status === 400 && /API key (?:not valid|expired)/i.test(answer.message ?? '')) ||
    (status === 400 && /^(?:ExpiredToken|IncompleteSignature|UnrecognizedClient)/.test(type ?? ''))
  ) {
    return new TollgateError('upstream_credentials', `The upstream ${upstream} refused the server's credentials.`, {
      cause,
    })
  }
  if (code === 'previous_response_not_found') return notStored('previous_response_id')
  if (isNoModel(answer)) {
    return new TollgateError('model_not_found', said(upstream, answer), { cause })
  }
  if ((status === 400 || status === 413 || status === 422) && isTooLong(answer)) {
    return new TollgateError('context_length_exceeded', said(upstream, answer), { cause })
  }
  if (status === 400 && isContentPolicy(answer)) {
    return new TollgateError('content_policy_violation', said(upstream, answer), { cause })
  }
  if (status === 400 || status === 404 || status === 413 || status === 422) {
    return new TollgateError('invalid_request', said(upstream, answer), { status, cause })
  }
  if (status === 408 || status === 504) {
    return new TollgateError('upstream_timeout', `The upstream ${upstream} timed out.`, { ...hint, cause })
  }
  if (status >= 300 && status < 400) {
    // A redirect is never followed: our credentials would go to wherever it points.
    return new TollgateError('upstream_invalid', `The upstream ${upstream} answered with a redirect.`, { cause })
  }
  return new TollgateError('upstream_failed', `The upstream ${upstream} failed with status ${status}.`, {
    ...hint,
    cause,
  })
}

function isNoModel({ status, code, type = '', message = '' }: ErrorAnswer): boolean {
  if (status === 400) return type === 'ValidationException' && /model identifier is invalid/i.test(message)
  const known = ['not_found_error', 'NOT_FOUND', 'ResourceNotFoundException']
  return status === 404 && (code === 'model_not_found' || known.includes(type))
}

/** OpenAI has a code for it; Anthropic, Google, Amazon and the servers of open models have words. */
function isTooLong({ code, message = '' }: ErrorAnswer): boolean {
  if (code === 'context_length_exceeded') return true
  return /(?:prompt|input) is too long|maximum context length|context (?:window|length)|exceed context limit|too many input tokens|input token count .{0,40}exceeds/i.test(
    message,
  )
}

function isContentPolicy({ code, type, message = '' }: ErrorAnswer): boolean {
  const known = ['content_policy_violation', 'content_filter', 'moderation_blocked']
  return (
    known.includes(code ?? '') || known.includes(type ?? '') || /blocked by content filtering policy/i.test(message)
  )
}

function said(upstream: string, { status, message }: ErrorAnswer): string {
  return message === undefined
    ? `The upstream ${upstream} refused the request with status ${status}.`
    : `The upstream ${upstream} refused the request: ${message}`
}

/** The error of an exchange that was not HTTP as it should be. */
export function notHttp(upstream: string, cause?: unknown): TollgateError {
  return new TollgateError('upstream_invalid', `The upstream ${upstream} did not keep to HTTP.`, { cause })
}

/** The error of an exchange that had no proper answer. Names the upstream, never its address. */
export function transportError(upstream: string, cause: unknown): TollgateError {
  // What was to be sent broke off, not the upstream.
  if (isTollgateError(cause)) return cause
  const { code, name } = cause as { code?: unknown; name?: unknown }
  switch (code) {
    case 'UND_ERR_CONNECT_TIMEOUT':
      return new TollgateError('upstream_timeout', `The upstream ${upstream} did not accept a connection in time.`, {
        cause,
      })
    case 'UND_ERR_HEADERS_TIMEOUT':
      return new TollgateError('upstream_timeout', `The upstream ${upstream} did not begin to answer in time.`, {
        cause,
      })
    case 'UND_ERR_BODY_TIMEOUT':
      return new TollgateError('upstream_timeout', `The upstream ${upstream} fell silent in mid-answer.`, { cause })
    case 'ECONNREFUSED':
      return new TollgateError('upstream_failed', `The upstream ${upstream} refused the connection.`, { cause })
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new TollgateError('upstream_failed', `The upstream ${upstream} has no address at the moment.`, { cause })
    case 'UND_ERR_HEADERS_OVERFLOW':
    case 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH':
      return notHttp(upstream, cause)
    case 'UND_ERR_INVALID_ARG':
      // A key or a header with characters that HTTP does not allow: never sent.
      return new TollgateError('internal', `The request to the upstream ${upstream} could not be made.`, { cause })
    case 'UND_ERR_DESTROYED':
    case 'UND_ERR_CLOSED':
      return new TollgateError('not_ready', `The connection to the upstream ${upstream} is closed.`, { cause })
  }
  if (name === 'HTTPParserError') return notHttp(upstream, cause)
  return new TollgateError('upstream_failed', `The upstream ${upstream} broke the connection.`, { cause })
}
