import { ConnectionError, ResponseError } from './errors.js'
import type { Method } from './options.js'
import { cancel } from './response-body.js'
import { requestIdOf } from './response-info.js'
import type { Scope } from './scope.js'
import type { Settings } from './settings.js'

export interface OutgoingRequest {
  readonly method: Method
  readonly path: string
  readonly headers: Headers
  readonly body: string | Blob | ReadableStream<Uint8Array> | undefined
}

/** One request, one answer, whatever its status. Everything that ky would do besides is switched off. */
export async function exchange(settings: Settings, request: OutgoingRequest, scope: Scope): Promise<Response> {
  const { method, path, headers, body } = request
  // In a promise's chain, so that a synchronous throw of somebody's hook is a rejection too.
  const answer = Promise.resolve().then(() =>
    settings.ky(settings.baseUrl + path, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
      signal: scope.signal,
      // Following one would repeat prompt and credential wherever it points, and turn a POST into a GET.
      redirect: 'manual',
      retry: 0,
      timeout: false,
      throwHttpErrors: false,
      ...(settings.fetch === undefined ? {} : { fetch: settings.fetch }),
    }),
  )
  let response: Response
  try {
    response = await scope.guard(answer)
  } catch (error) {
    if (!scope.signal.aborted) throw connectionErrorOf(error, `${method} ${path}`)
    // The transport may not heed signals: an answer that comes now has nobody to read it.
    answer.then(
      (late) => cancel(late.body),
      () => {},
    )
    throw error
  }
  // A browser hides what a redirect said: type `opaqueredirect`, status 0.
  if (response.type === 'opaqueredirect' || (response.status >= 300 && response.status < 400)) {
    cancel(response.body)
    throw redirected(response, settings.baseUrl + path)
  }
  return response
}

function redirected(response: Response, from: string): ResponseError {
  const { status, headers } = response
  const message = `The server redirects${targetOf(headers.get('location'), from)}. Redirects are not followed: set baseUrl to where the server is.`
  return new ResponseError('redirected', message, { status, requestId: requestIdOf(headers) })
}

/** Without its query, which may hold anything. */
function targetOf(location: string | null, from: string): string {
  if (location === null) return ''
  try {
    const { origin, pathname } = new URL(location, from)
    return ` to ${origin}${pathname}`
  } catch {
    return ''
  }
}

/** Codes of Node and Deno for a connection that never was, so that nothing can have been done with the request. */
const connectCodes: ReadonlySet<unknown> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
])

/**
 * Fetch reports a failure to reach the server as a TypeError; ky 2 wraps that in a NetworkError which holds the Request with its headers, so only
 * its cause is passed on. Anything else was thrown by a hook or a fetch of the caller's, and stays what it is.
 */
function connectionErrorOf(error: unknown, what: string): unknown {
  if (!(error instanceof Error)) return error
  const isWrapped = error.name === 'NetworkError' && 'request' in error
  const raw = isWrapped && error.cause instanceof Error ? error.cause : error
  const code = socketCode(raw)
  const isFetchFailure = raw.name === 'TypeError' && /fetch|network|load failed|connection/i.test(raw.message)
  if (!isWrapped && code === undefined && !isFetchFailure) return error
  const phase = connectCodes.has(code) ? 'connect' : 'request'
  const reason = code === undefined ? '' : ` (${code})`
  return new ConnectionError(phase, `No answer to ${what}: the connection failed${reason}.`, { cause: raw })
}

/** `ECONNRESET` and the like, from the error or what caused it. */
function socketCode(error: Error): string | undefined {
  const { code, cause } = error as { code?: unknown; cause?: { code?: unknown; errors?: Array<{ code?: unknown }> } }
  // With several addresses to try, the cause is an AggregateError.
  return [code, cause?.code, cause?.errors?.[0]?.code].find(
    (value): value is string => typeof value === 'string' && /^(?:E[A-Z_]+|UND_ERR_[A-Z_]+)$/.test(value),
  )
}
