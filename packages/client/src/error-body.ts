import type { OpenAiError, Problem } from '@tollgate/core/wire/problem'
import type { TokenError } from '@tollgate/core/wire/token'
import { ApiError, type FieldError, StreamError } from './errors.js'
import { parseRateLimit } from './rate-limit.js'
import { isObject, readErrorBody } from './response-body.js'
import { requestIdOf } from './response-info.js'
import { parseRetryAfterMs } from './retry-after.js'
import { isRetryableAnswer, isRetryableFamily } from './retry-policy.js'
import type { Scope } from './scope.js'

interface ErrorFields {
  readonly code?: string | undefined
  readonly message?: string | undefined
  readonly type?: string | undefined
  readonly param?: string | undefined
  readonly errors?: readonly FieldError[] | undefined
  readonly requestId?: string | undefined
  readonly problem?: Problem | undefined
}

/** An answer with an error status as an error: a problem, an OpenAI error, an OAuth error, or whatever a proxy sent. */
export async function readApiError(response: Response, scope: Scope, nowMs: number): Promise<ApiError> {
  // What cannot be read changes nothing about the status, unless it is the caller or a time limit that ended the reading.
  const { json } = await readErrorBody(response, scope).catch((error: unknown) => {
    if (scope.signal.aborted) throw error
    return { json: undefined }
  })
  const fields = errorFields(json)
  const { status, headers } = response
  const code = fields.code ?? `http_${status}`
  return new ApiError(
    code,
    fields.message ?? `The server answered ${status}.`,
    isRetryableAnswer(status, code, headers),
    {
      ...fields,
      status,
      requestId: requestIdOf(headers) ?? fields.requestId,
      retryAfterMs: parseRetryAfterMs(headers, nowMs),
      rateLimit: parseRateLimit(headers),
    },
  )
}

/** An error that came as an event of a stream. */
export function streamErrorOf(body: unknown, requestId: string | undefined): StreamError {
  const { code, message, type, requestId: ownId } = errorFields(body)
  return new StreamError(
    'error',
    code ?? 'stream_error',
    message ?? 'The server reported an error within the stream.',
    isRetryableFamily(type, code),
    { type, requestId: requestId ?? ownId },
  )
}

function errorFields(body: unknown): ErrorFields {
  if (!isObject(body)) return {}
  const error = body['error' satisfies keyof OpenAiError & keyof TokenError]
  const requestId = text(body['request_id'])
  if (isObject(error)) {
    return {
      // Some servers number their codes.
      code: text(error['code']) ?? (typeof error['code'] === 'number' ? String(error['code']) : text(error['type'])),
      message: text(error['message']),
      type: text(error['type']),
      param: text(error['param']),
      requestId: requestId ?? text(error['request_id']),
    }
  }
  if (typeof error === 'string') {
    return { code: error, message: text(body['error_description']) ?? error, requestId }
  }
  return {
    code: text(body['code']),
    message: text(body['detail']) ?? text(body['title']) ?? text(body['message']),
    type: text(body['type']),
    errors: fieldErrors(body['errors']),
    requestId,
    problem: body as Problem,
  }
}

function fieldErrors(value: unknown): readonly FieldError[] | undefined {
  if (!Array.isArray(value)) return undefined
  return value.filter(
    (item): item is FieldError =>
      isObject(item) && text(item['path']) !== undefined && text(item['message']) !== undefined,
  )
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
