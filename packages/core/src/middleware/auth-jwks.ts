import {
  type CryptoKey,
  createLocalJWKSet,
  errors,
  type JSONWebKeySet,
  type JWSHeaderParameters,
  type LocalJWKSet,
} from 'jose'
import { answerWithin } from '../stores/answer-within.js'
import type { Awaitable } from '../stores/awaitable.js'
import { identityUnavailable } from './auth-challenge.js'

/** Where the keys of a token come from. */
export interface KeySource {
  /**
   * The keys that may have signed it: none if it cannot be one of this issuer's. Rejects with `identity_unavailable` when that cannot be
   * found out.
   */
  keysFor(header: TokenHeader): Promise<readonly CryptoKey[]>
}

/** What the header of a token says of its key. */
export interface TokenHeader {
  readonly alg: string
  readonly kid?: string
}

/** How an issuer's documents are fetched. */
export interface FetchOptions {
  readonly now: () => number
  /** How long one document may take, head and body. */
  readonly timeoutMs: number
  readonly fetch?: typeof globalThis.fetch | undefined
}

/** Where a key set is now, if that may change. */
export interface KeySetLocation {
  /** Rejects when nobody can tell. */
  current(): Promise<URL>
  /** The key set could not be had there: it may have moved. */
  doubt(): void
}

interface JwksOptions extends FetchOptions {
  readonly location: URL | KeySetLocation
}

const freshMs = 600_000
const maxStaleMs = 86_400_000
const unknownKeyCooldownMs = 30_000
const maxBytes = 524_288
const firstBackOffMs = 1_000
const lastBackOffMs = 30_000
/** A token without `kid` is tried with every key that fits; this many at most. */
const maxCandidates = 8

/**
 * An issuer's public keys behind a URL (RFC 7517).
 *
 * A set is fresh for 10 minutes. If it cannot be fetched again, the old one is used on, up to 24 hours, while it is asked for in the background
 * after 1, 2, 4 … 30 seconds. An unknown `kid` fetches again, at most every 30 seconds. One fetch at a time, 512 KiB at most, no redirects.
 */
export function remoteKeys({ location, now, timeoutMs, fetch }: JwksOptions): KeySource {
  const load = async (): Promise<LocalJWKSet> => {
    if (location instanceof URL) return fetchKeys(location, { now, timeoutMs, fetch })
    const url = await location.current()
    try {
      return await fetchKeys(url, { now, timeoutMs, fetch })
    } catch (error) {
      location.doubt()
      throw error
    }
  }
  const sets = kept({ load, freshMs, now })
  const outage = () => identityUnavailable(sets.failure(), Math.max(firstBackOffMs, sets.retryInMs()))
  return {
    async keysFor(header) {
      const set = await sets.current()
      if (set === undefined) throw outage()
      const known = await candidates(set, header)
      if (known.length > 0) return known
      if (sets.ageMs() < unknownKeyCooldownMs) return []
      // The key may be newer than the set. If that cannot be found out, the token is not wrong: we are blind.
      const newer = await sets.renewed()
      if (newer === undefined) throw outage()
      return candidates(newer, header)
    },
  }
}

/**
 * Public keys that a function gives, asked for every token that is not known yet. The same object is read once. If it fails, does not answer within
 * `timeoutMs` or gives no keys: `identity_unavailable`.
 */
export function givenKeys(give: () => Awaitable<JSONWebKeySet>, timeoutMs: number): KeySource {
  const sets = new WeakMap<JSONWebKeySet, LocalJWKSet>()
  const current = async (): Promise<LocalJWKSet> => {
    const given = await answerWithin(Promise.resolve(give()), timeoutMs)
    const set = sets.get(given) ?? readKeys(given)
    sets.set(given, set)
    return set
  }
  return {
    async keysFor(header) {
      const set = await current().catch((cause: unknown) => {
        throw identityUnavailable(cause)
      })
      return candidates(set, header)
    },
  }
}

async function candidates(keys: LocalJWKSet, header: TokenHeader): Promise<readonly CryptoKey[]> {
  try {
    return [await keys(header as JWSHeaderParameters)]
  } catch (error) {
    if (error instanceof errors.JWKSNoMatchingKey) return []
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw identityUnavailable(error)
    const several: CryptoKey[] = []
    for await (const key of error) {
      several.push(key)
      if (several.length === maxCandidates) break
    }
    return several
  }
}

async function fetchKeys(url: URL, options: FetchOptions): Promise<LocalJWKSet> {
  const set = await fetchJson('key set', url, 'application/jwk-set+json, application/json', options)
  if (set === undefined) throw new Error('The key set answered 404.')
  return readKeys(set)
}

function readKeys(set: unknown): LocalJWKSet {
  const local = createLocalJWKSet(set as JSONWebKeySet)
  // An issuer without keys has mislaid them: better the old ones than to refuse everyone.
  if (local.jwks().keys.length === 0) throw new Error('The key set is empty.')
  return local
}

/** Something that is loaded when it is needed, and kept. */
export interface Kept<Value> {
  /** As fresh as can be had; `undefined` if there is none, or none of the last 24 hours. Never rejects. */
  current(): Promise<Value | undefined>
  /** Loaded now, unless that is still to wait; `undefined` if the last attempt failed. Never rejects. */
  renewed(): Promise<Value | undefined>
  /** It may be out of date: the next `current()` loads it, if that is not to wait. */
  doubt(): void
  /** Since it was loaded; endless if it never was. */
  ageMs(): number
  /** Until it may be loaded again after a failure; negative if it may. */
  retryInMs(): number
  /** What the last attempt that failed failed of. */
  failure(): unknown
}

interface KeptOptions<Value> {
  readonly load: () => Promise<Value>
  readonly freshMs: number
  readonly now: () => number
}

/**
 * Loads one thing at a time. What cannot be loaded again serves on, up to 24 hours, while it is tried in the background after 1, 2, 4 … 30 seconds.
 */
export function kept<Value>({ load, freshMs, now }: KeptOptions<Value>): Kept<Value> {
  let value: Value | undefined
  let loadedAt = Number.NEGATIVE_INFINITY
  let doubted = false
  let failures = 0
  let retryAt = Number.NEGATIVE_INFINITY
  let lastFailure: unknown
  let pending: Promise<void> | undefined

  /** Settles when the attempt is over, well or not: `failures` tells. */
  const attempt = (): Promise<void> => {
    pending ??= load()
      .then(
        (loaded) => {
          value = loaded
          loadedAt = now()
          doubted = false
          failures = 0
          retryAt = Number.NEGATIVE_INFINITY
        },
        (cause: unknown) => {
          lastFailure = cause
          retryAt = now() + Math.min(lastBackOffMs, firstBackOffMs * 2 ** failures)
          failures += 1
        },
      )
      .finally(() => {
        pending = undefined
      })
    return pending
  }

  const ageMs = () => now() - loadedAt
  const usable = () => (ageMs() < maxStaleMs ? value : undefined)
  return {
    ageMs,
    retryInMs: () => retryAt - now(),
    failure: () => lastFailure,
    doubt() {
      doubted = true
    },
    async current() {
      if (value !== undefined && ageMs() < freshMs && !doubted) return value
      if (now() >= retryAt) {
        const running = attempt()
        // Once an attempt has failed, nobody waits for the next one while there is something to go on with.
        if (usable() === undefined || failures === 0) await running
      }
      return usable()
    },
    async renewed() {
      if (now() >= retryAt) await attempt()
      return failures > 0 ? undefined : value
    },
  }
}

/**
 * The JSON behind a URL; `undefined` if there is nothing (404). Rejects for every other status than 200, a redirect, over 512 KiB, no JSON, and after
 * `timeoutMs`.
 *
 * @param what the document is, for errors: `key set`
 */
export async function fetchJson(what: string, url: URL, accept: string, options: FetchOptions): Promise<unknown> {
  const { timeoutMs, fetch = globalThis.fetch } = options
  const signal = AbortSignal.timeout(timeoutMs)
  const response = await fetch(url, { headers: { accept }, redirect: 'error', signal })
  if (response.status !== 200 || response.body === null) {
    await response.body?.cancel()
    if (response.status === 404) return undefined
    throw new Error(`The ${what} answered ${response.status}.`)
  }
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    length += chunk.byteLength
    // Leaving the loop cancels the body and closes the connection.
    if (length > maxBytes) throw new Error(`The ${what} is over ${maxBytes} bytes.`)
    chunks.push(chunk)
  }
  return JSON.parse(Buffer.concat(chunks, length).toString('utf8'))
}

/** May keys come from there? `https:`; `http:` only from this host, or with `allowHttp`. */
export function isTrustworthy(url: URL, allowHttp: boolean): boolean {
  if (url.protocol === 'https:') return true
  return url.protocol === 'http:' && (allowHttp || ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname))
}
