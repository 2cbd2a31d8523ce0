import type { ClientError } from './errors.js'
import { UsageError } from './errors.js'
import type { ResponseInfo } from './response-info.js'

export type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE'

/** What the client needs of a ky: every instance of ky 1.14 and ky 2 is one. */
export type KyLike = (
  url: string,
  options: {
    method: Method
    headers: Headers
    body?: string | Blob | ReadableStream<Uint8Array>
    signal: AbortSignal
    redirect: 'manual'
    retry: 0
    timeout: false
    throwHttpErrors: false
    fetch?: typeof globalThis.fetch
  },
) => PromiseLike<Response>

/** What `onRetry` is told before the client waits. */
export interface RetryNotice {
  readonly method: Method
  readonly path: string
  /** The attempt that failed, from 1. */
  readonly attempt: number
  readonly maxAttempts: number
  readonly waitMs: number
  readonly error: ClientError
}

/** Of a user. Where the server gives a refresh token with the login, that is used from then on. */
export interface PasswordCredentials {
  readonly username: string
  readonly password: string
  /** Space-separated; default: all that the user may. */
  readonly scope?: string | undefined
  readonly clientId?: undefined
  readonly clientSecret?: undefined
}

/** Of a program. For a Tollgate server `clientId` is the public id of an API key and `clientSecret` the whole key. */
export interface ClientCredentials {
  readonly clientId: string
  readonly clientSecret: string
  /** Space-separated; default: all that the key may. */
  readonly scope?: string | undefined
  readonly username?: undefined
  readonly password?: undefined
}

export type Credentials = PasswordCredentials | ClientCredentials

export interface ClientOptions {
  /** Where the Tollgate server is mounted, without `/v1`: `https://gate.example.com`. In a browser it may be relative to the page. */
  readonly baseUrl: string | URL
  /** Sent as `Authorization: Bearer`. A function is asked before each attempt, for keys that rotate. Not with `credentials`. */
  readonly apiKey?: string | (() => string | Promise<string>) | undefined
  /** Log in at `POST /v1/token` when the first call needs it, and again before the token expires or once it is refused. Not with `apiKey`. */
  readonly credentials?: Credentials | undefined
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Instead of the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined
  /** A ky instance of your own, with its hooks. Its retries and time limits are switched off: the client has its own. */
  readonly ky?: KyLike | undefined
  /** Requests per call at most, 1 to 20. Default 3. */
  readonly maxAttempts?: number | undefined
  /** For a whole call: logins, attempts, waits and the body. Of a stream: until its answer begins. Default 120,000. */
  readonly timeoutMs?: number | undefined
  /** For one attempt with its body. Of a stream: until its answer begins. Default: what is left of `timeoutMs`. */
  readonly attemptTimeoutMs?: number | undefined
  /** The longest silence on a stream while it is being read; a server's heartbeats count as life. Default 60,000. */
  readonly streamIdleTimeoutMs?: number | undefined
  /** If the server asks for a longer wait, the call fails at once with `retryAfterMs`. Default 60,000. */
  readonly maxRetryAfterMs?: number | undefined
  /** The first wait after a failure, before jitter; it doubles from there. Default 500. */
  readonly backoffBaseMs?: number | undefined
  /** The longest such wait. Default 8,000. */
  readonly backoffMaxMs?: number | undefined
  /** The largest answer that is buffered, in bytes. Default 64 MiB. */
  readonly maxResponseBytes?: number | undefined
  /** The largest event of a stream, in characters. Default 8,388,608. */
  readonly maxEventLength?: number | undefined
  /** Called before each wait. What it throws ends the call. */
  readonly onRetry?: ((notice: RetryNotice) => void) | undefined
  /** Called with each answer that a call resolves with, and as a stream begins. What it throws ends the call. */
  readonly onResponse?: ((info: ResponseInfo) => void) | undefined
  /** The clock, in milliseconds since the epoch. Default `Date.now`. */
  readonly now?: (() => number) | undefined
}

/** Every method takes these as its last argument. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined
  /** As in {@link ClientOptions}. */
  readonly maxAttempts?: number | undefined
  /** As in {@link ClientOptions}. */
  readonly timeoutMs?: number | undefined
  /** As in {@link ClientOptions}. */
  readonly attemptTimeoutMs?: number | undefined
  /** Sent besides the client's; the call's win. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /**
   * Your own key for a POST, so that a repetition by you counts as the same request too. Default: a new one per call, the same on each attempt.
   * `false`: none, and the call is repeated only if nothing was done: no connection, 425, 429, 503.
   */
  readonly idempotencyKey?: string | false | undefined
}

const numbers = {
  maxAttempts: [1, 20],
  timeoutMs: [1, 86_400_000],
  attemptTimeoutMs: [1, 86_400_000],
  streamIdleTimeoutMs: [1, 86_400_000],
  maxRetryAfterMs: [0, 86_400_000],
  backoffBaseMs: [0, 86_400_000],
  backoffMaxMs: [0, 86_400_000],
  maxResponseBytes: [1, Number.MAX_SAFE_INTEGER],
  maxEventLength: [1, Number.MAX_SAFE_INTEGER],
  chunkSize: [1, 1000],
  concurrency: [1, 64],
} as const satisfies Record<string, readonly [number, number]>

const functions = ['fetch', 'ky', 'onRetry', 'onResponse', 'now', 'onProgress'] as const

/** Refuses an option that is unknown (nobody would notice a misspelt time limit) or out of range. */
export function checkOptions(what: string, options: object, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw invalid(`The options of ${what} must be an object.`)
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw invalid(`${what} has no option ${name}; it has ${known.join(', ')}.`)
  }
  const given = options as Readonly<Record<string, unknown>>
  for (const [name, [min, max]] of Object.entries(numbers)) {
    const value = given[name]
    if (value === undefined) continue
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
      throw invalid(`${name} must be a whole number from ${min} to ${max}, not ${describe(value)}.`)
    }
  }
  for (const name of functions) {
    if (given[name] !== undefined && typeof given[name] !== 'function') throw invalid(`${name} must be a function.`)
  }
  if (given['signal'] !== undefined && typeof (given['signal'] as AbortSignal)?.addEventListener !== 'function') {
    throw invalid('signal must be an AbortSignal.')
  }
  checkHeaders(given['headers'])
  const key = given['idempotencyKey']
  if (key !== undefined && key !== false && (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key))) {
    throw invalid('idempotencyKey must be 1 to 255 visible ASCII characters, or false.')
  }
}

export const callOptionNames: readonly string[] = [
  'signal',
  'maxAttempts',
  'timeoutMs',
  'attemptTimeoutMs',
  'headers',
  'idempotencyKey',
] satisfies Array<keyof CallOptions>

/** A header that cannot be sent fails here, by name: what fetch throws for it would quote the value. */
function checkHeaders(headers: unknown): void {
  if (headers === undefined) return
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers) || headers instanceof Headers) {
    throw invalid('headers must be an object of names and values.')
  }
  for (const [name, value] of Object.entries(headers)) {
    try {
      if (typeof value !== 'string') throw new TypeError('not a string')
      new Headers([[name, value]])
    } catch {
      throw invalid(`headers: ${JSON.stringify(name)} cannot be sent. Its name or value is not what HTTP allows.`)
    }
  }
}

/** A secret goes into no message. */
export function checkApiKey(key: unknown): string {
  if (typeof key !== 'string' || !/^[\x21-\x7e]+$/.test(key)) {
    throw invalid('apiKey must be a string of visible ASCII characters. Is there a line end at its end?')
  }
  return key
}

export function invalid(message: string): UsageError {
  return new UsageError('options_invalid', message)
}

function describe(value: unknown): string {
  return typeof value === 'number' ? String(value) : `a ${typeof value}`
}
