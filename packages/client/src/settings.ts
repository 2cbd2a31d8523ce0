import ky from 'ky'
import { type CallOptions, type ClientOptions, checkApiKey, checkOptions, invalid, type KyLike } from './options.js'

/** A client's options, checked, with every default in place. */
export interface Settings {
  /** Without a slash at its end. */
  readonly baseUrl: string
  readonly apiKey: (() => string | Promise<string>) | undefined
  readonly credentials: ClientOptions['credentials']
  readonly headers: Readonly<Record<string, string>>
  readonly ky: KyLike
  readonly fetch: ClientOptions['fetch']
  readonly maxAttempts: number
  readonly timeoutMs: number
  readonly attemptTimeoutMs: number | undefined
  readonly streamIdleTimeoutMs: number
  readonly maxRetryAfterMs: number
  readonly backoff: { readonly baseMs: number; readonly maxMs: number }
  readonly maxResponseBytes: number
  readonly maxEventLength: number
  readonly onRetry: NonNullable<ClientOptions['onRetry']> | undefined
  readonly onResponse: NonNullable<ClientOptions['onResponse']> | undefined
  readonly now: () => number
}

const names = [
  'baseUrl',
  'apiKey',
  'credentials',
  'headers',
  'fetch',
  'ky',
  'maxAttempts',
  'timeoutMs',
  'attemptTimeoutMs',
  'streamIdleTimeoutMs',
  'maxRetryAfterMs',
  'backoffBaseMs',
  'backoffMaxMs',
  'maxResponseBytes',
  'maxEventLength',
  'onRetry',
  'onResponse',
  'now',
] satisfies Array<keyof ClientOptions>

export function resolveSettings(options: ClientOptions): Settings {
  checkOptions('createClient', options, names)
  const { apiKey, credentials } = options
  if (apiKey !== undefined && credentials !== undefined) throw invalid('Give apiKey or credentials, not both.')
  if (credentials !== undefined) checkCredentials(credentials)
  if (apiKey !== undefined && typeof apiKey !== 'function') checkApiKey(apiKey)
  return {
    baseUrl: resolveBaseUrl(options.baseUrl),
    apiKey: typeof apiKey === 'string' ? () => apiKey : apiKey,
    credentials: credentials === undefined ? undefined : { ...credentials },
    headers: { ...options.headers },
    ky: options.ky ?? ky,
    fetch: options.fetch,
    maxAttempts: options.maxAttempts ?? 3,
    timeoutMs: options.timeoutMs ?? 120_000,
    attemptTimeoutMs: options.attemptTimeoutMs,
    streamIdleTimeoutMs: options.streamIdleTimeoutMs ?? 60_000,
    maxRetryAfterMs: options.maxRetryAfterMs ?? 60_000,
    backoff: { baseMs: options.backoffBaseMs ?? 500, maxMs: options.backoffMaxMs ?? 8000 },
    maxResponseBytes: options.maxResponseBytes ?? 64 * 1024 * 1024,
    maxEventLength: options.maxEventLength ?? 8 * 1024 * 1024,
    onRetry: options.onRetry,
    onResponse: options.onResponse,
    now: options.now ?? Date.now,
  }
}

/** Idempotency keys are per call, so a client cannot have one. */
export type CallSettings = Pick<Settings, 'maxAttempts' | 'timeoutMs' | 'attemptTimeoutMs' | 'headers'> &
  Pick<CallOptions, 'signal' | 'idempotencyKey'>

export function resolveCall(settings: Settings, options: CallOptions): CallSettings {
  return {
    signal: options.signal,
    maxAttempts: options.maxAttempts ?? settings.maxAttempts,
    timeoutMs: options.timeoutMs ?? settings.timeoutMs,
    attemptTimeoutMs: options.attemptTimeoutMs ?? settings.attemptTimeoutMs,
    headers: { ...settings.headers, ...options.headers },
    idempotencyKey: options.idempotencyKey,
  }
}

function resolveBaseUrl(baseUrl: unknown): string {
  let url: URL
  try {
    if (typeof baseUrl !== 'string' && !(baseUrl instanceof URL)) throw new TypeError('not a URL')
    // Only a page has a location to be relative to.
    const { location } = globalThis as { location?: { href?: string } }
    url = new URL(String(baseUrl), location?.href)
  } catch {
    throw invalid('baseUrl must be an absolute URL, for example https://gate.example.com')
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw invalid('baseUrl must begin with https:// or http://')
  if (url.username !== '' || url.password !== '')
    throw invalid('baseUrl must hold no credentials: use apiKey or credentials.')
  if (url.search !== '' || url.hash !== '') throw invalid('baseUrl must have no query and no fragment.')
  return url.href.replace(/\/+$/, '')
}

function checkCredentials(credentials: unknown): void {
  const { scope, ...given } = Object(credentials) as Record<string, unknown>
  const isText = (value: unknown) => typeof value === 'string' && value !== ''
  const names = Object.keys(given).filter((name) => given[name] !== undefined)
  const isOf = (...wanted: readonly string[]) =>
    names.length === wanted.length && wanted.every((name) => isText(given[name]))
  const isKnown = isOf('username', 'password') || isOf('clientId', 'clientSecret')
  if (!isKnown || !(scope === undefined || isText(scope))) {
    throw invalid(
      'credentials must be { username, password, scope? } or { clientId, clientSecret, scope? }, texts that are not empty.',
    )
  }
}
