import { readApiError } from './error-body.js'
import {
  type AttemptFailure,
  attachAttempts,
  type ClientError,
  isTollgateClientError,
  TimeoutError,
  UsageError,
} from './errors.js'
import { isStream } from './form-body.js'
import { type CallOptions, callOptionNames, checkApiKey, checkOptions, type Method } from './options.js'
import { randomHex } from './random-hex.js'
import { describeResponse, type ResponseInfo } from './response-info.js'
import { backoffMs, spreadMs, wasNotProcessed, wasRefusedUndone } from './retry-policy.js'
import { abortedBy, openScope, type Scope } from './scope.js'
import { type CallSettings, resolveCall, type Settings } from './settings.js'
import type { TokenSession } from './token-session.js'
import { exchange } from './transport.js'

export interface CallSpec {
  readonly method: Method
  readonly path: string
  readonly accept: 'application/json' | 'text/event-stream' | '*/*'
  /** A stream is sent once, whatever comes of it. */
  readonly body?: string | Blob | ReadableStream<Uint8Array>
  readonly contentType?: string
  /** Of a POST: does it carry an idempotency key? One that is harmless to repeat needs none. */
  readonly keyed?: boolean
  /**
   * To do it twice would be wrong, and the server may not heed an idempotency key: it is repeated only after a refusal that says it was not done,
   * and has a key only if the caller gave one.
   */
  readonly once?: boolean
  /** Instead of a token: how a login says who asks. */
  readonly authorization?: string
}

/** What `send` needs besides the settings: where tokens come from, or nothing for calls that carry no credential. */
export interface Sender {
  readonly settings: Settings
  readonly tokens?: TokenSession | undefined
  readonly anonymous?: boolean
}

/** A successful answer, in the hands of who reads it. */
export interface Answer {
  readonly response: Response
  readonly info: ResponseInfo
  /** Ends with the attempt's limits. */
  readonly scope: Scope
  /** For a stream that goes on after the call has resolved: whoever keeps the scopes open closes them by this. */
  close(): void
  /** The time limits end with the beginning of the answer. */
  lift(): void
  /** Tells an error that comes later, from a stream, which attempts were made. */
  blame(error: ClientError): void
}

/** A request's body. Whatever JSON cannot carry is the caller's mistake, told before anything is sent. */
export function jsonBody<T extends object>(request: T, change: (request: T) => object = (same) => same): string {
  if (typeof request !== 'object' || request === null || Array.isArray(request)) {
    throw new UsageError('request_invalid', 'The request must be an object.')
  }
  try {
    return JSON.stringify(change(request))
  } catch (cause) {
    throw new UsageError('request_invalid', 'The request cannot be written as JSON.', { cause })
  }
}

/**
 * Sends until an attempt succeeds, an error is not worth another, or attempts or time have run out. `consume` reads the answer; what it throws as
 * retryable counts as a failed attempt. With `keepOpen` the scopes outlive a success, and `consume` has to see that they are closed.
 */
export async function send<T>(
  sender: Sender,
  spec: CallSpec,
  options: CallOptions,
  consume: (answer: Answer) => Promise<T>,
  keepOpen = false,
): Promise<T> {
  const { settings, tokens } = sender
  checkOptions(`${spec.method} ${spec.path}`, options, callOptionNames)
  const call = resolveCall(settings, options)
  const deadline = settings.now() + call.timeoutMs
  const key = idempotencyKey(spec, call)
  const isSpent = isStream(spec.body)
  const mayRepeat = spec.once !== true && (spec.method === 'GET' || spec.keyed === false || key !== undefined)
  const isUndone = spec.once === true ? wasRefusedUndone : wasNotProcessed
  const scope = openScope(call.signal, abortedBy)
  const limitTotal = (ms: number) => scope.after(ms, () => totalTimeout(call.timeoutMs, `${spec.method} ${spec.path}`))
  let stopTotal = limitTotal(call.timeoutMs)
  const failures: AttemptFailure[] = []
  let refusedToken: string | undefined
  let succeeded = false
  try {
    if (scope.signal.aborted) throw scope.signal.reason
    for (let attempt = 1; ; attempt++) {
      const startedAt = settings.now()
      let token: string | undefined
      try {
        if (sender.anonymous !== true) token = await scope.guard(credential(sender, refusedToken))
        const result = await runAttempt(attempt, token, startedAt)
        succeeded = true
        return result
      } catch (error) {
        if (!isTollgateClientError(error)) throw error
        // Once per call, and no attempt of its own: the request was not the reason.
        if (tokens !== undefined && token !== undefined && refusedToken === undefined && !isSpent && isRefusal(error)) {
          refusedToken = token
          attempt -= 1
          continue
        }
        const failure = describeFailure(error, attempt, settings.now() - startedAt)
        // An error of the login knows its own attempts.
        const isLogin = error.attempts.length > 0
        const isFinal = isLogin || isSpent || !(mayRepeat || isUndone(error))
        const waitMs = isFinal ? undefined : waitBefore(error, attempt)
        if (waitMs === undefined) {
          if (!isLogin) attachAttempts(error, error.kind === 'usage' ? failures : [...failures, failure])
          throw error
        }
        failures.push({ ...failure, waitMs })
        const { method, path } = spec
        settings.onRetry?.({ method, path, attempt, maxAttempts: call.maxAttempts, waitMs, error })
        stopTotal()
        stopTotal = limitTotal(deadline - settings.now())
        try {
          await scope.sleep(waitMs)
        } catch (ended) {
          if (isTollgateClientError(ended)) attachAttempts(ended, failures)
          throw ended
        }
      }
    }
  } finally {
    if (!succeeded || !keepOpen) scope.close()
  }

  async function runAttempt(attempt: number, token: string | undefined, startedAt: number): Promise<T> {
    const within = openScope(scope.signal, (outer) => outer.reason)
    const limitMs = call.attemptTimeoutMs
    const stopAttempt =
      limitMs === undefined
        ? () => {}
        : within.after(limitMs, () => attemptTimeout(limitMs, `${spec.method} ${spec.path}`))
    let done = false
    try {
      const headers = requestHeaders(spec, call, key, token)
      const response = await exchange(settings, { ...spec, headers, body: spec.body }, within)
      if (!response.ok) throw await readApiError(response, within, settings.now())
      const info = describeResponse(response, attempt)
      const result = await consume({
        response,
        info,
        scope: within,
        close() {
          within.close()
          scope.close()
        },
        lift() {
          stopTotal()
          stopAttempt()
        },
        blame(error) {
          attachAttempts(error, [...failures, describeFailure(error, attempt, settings.now() - startedAt)])
        },
      })
      settings.onResponse?.(info)
      done = true
      return result
    } finally {
      if (!done) within.end()
      if (!done || !keepOpen) within.close()
    }
  }

  /** `undefined`: no further attempt. */
  function waitBefore(error: ClientError, attempt: number): number | undefined {
    if (!error.retryable || attempt >= call.maxAttempts) return undefined
    const toldMs = error.kind === 'api' ? (error.retryAfterMs ?? 0) : 0
    if (toldMs > settings.maxRetryAfterMs) return undefined
    // Being told "now" is no reason to hammer.
    const waitMs = Math.ceil(
      toldMs > 0 ? spreadMs(toldMs, Math.random) : backoffMs(attempt, settings.backoff, Math.random),
    )
    return settings.now() + waitMs < deadline ? waitMs : undefined
  }
}

async function credential({ settings, tokens }: Sender, refused: string | undefined): Promise<string | undefined> {
  if (tokens !== undefined) return tokens.token(refused)
  return settings.apiKey === undefined ? undefined : checkApiKey(await settings.apiKey())
}

function requestHeaders(
  spec: CallSpec,
  call: CallSettings,
  key: string | undefined,
  token: string | undefined,
): Headers {
  // Nothing of our own besides these: each further header would have to be allowed by the server's CORS policy.
  const headers = new Headers(call.headers)
  headers.set('accept', spec.accept)
  if (spec.contentType !== undefined) headers.set('content-type', spec.contentType)
  if (key !== undefined) headers.set('idempotency-key', key)
  if (token !== undefined) headers.set('authorization', `Bearer ${token}`)
  if (spec.authorization !== undefined) headers.set('authorization', spec.authorization)
  return headers
}

/** One per call, so that the server can tell a repetition from a second request. */
function idempotencyKey(spec: CallSpec, call: CallSettings): string | undefined {
  if (spec.method !== 'POST' || spec.keyed === false || call.idempotencyKey === false) return undefined
  if (spec.once === true) return call.idempotencyKey
  return call.idempotencyKey ?? randomHex()
}

function isRefusal(error: ClientError): boolean {
  return error.kind === 'api' && error.status === 401
}

function describeFailure(error: ClientError, attempt: number, durationMs: number): AttemptFailure {
  const { code } = error
  const status = error.kind === 'api' || error.kind === 'response' ? error.status : undefined
  return { attempt, code, ...(status === undefined ? {} : { status }), durationMs }
}

function totalTimeout(limitMs: number, what: string): TimeoutError {
  return new TimeoutError('total', `${what} was not done within ${limitMs} ms (timeoutMs).`, limitMs)
}

function attemptTimeout(limitMs: number, what: string): TimeoutError {
  return new TimeoutError('attempt', `${what} was not answered within ${limitMs} ms (attemptTimeoutMs).`, limitMs)
}
