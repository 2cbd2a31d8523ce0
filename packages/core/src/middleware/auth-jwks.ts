import {
  type CryptoKey,
  createLocalJWKSet,
  errors,
  type JSONWebKeySet,
  type JWSHeaderParameters,
  type LocalJWKSet,
} from 'jose'
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

interface JwksOptions {
  readonly url: URL
  readonly now: () => number
  readonly timeoutMs: number
  readonly fetch?: typeof globalThis.fetch | undefined
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
export function remoteKeys({ url, now, timeoutMs, fetch = globalThis.fetch }: JwksOptions): KeySource {
  let keys: LocalJWKSet | undefined
  let fetchedAt = Number.NEGATIVE_INFINITY
  let failures = 0
  let retryAt = Number.NEGATIVE_INFINITY
  let lastFailure: unknown
  let pending: Promise<void> | undefined

  /** Settles when the attempt is over, well or not: `failures` tells. */
  const refresh = (): Promise<void> => {
    pending ??= fetchKeys(url, timeoutMs, fetch)
      .then(
        (set) => {
          keys = set
          fetchedAt = now()
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

  const unavailable = () => identityUnavailable(lastFailure, Math.max(firstBackOffMs, retryAt - now()))

  /** A set to look into, as fresh as can be had. */
  const current = async (): Promise<LocalJWKSet> => {
    const age = now() - fetchedAt
    if (keys !== undefined && age < freshMs) return keys
    const usable = keys !== undefined && age < maxStaleMs
    if (now() >= retryAt) {
      const attempt = refresh()
      // Once an attempt has failed, nobody waits for the next one while there are keys to go on with.
      if (!usable || failures === 0) await attempt
    }
    if (keys === undefined || now() - fetchedAt >= maxStaleMs) throw unavailable()
    return keys
  }

  return {
    async keysFor(header) {
      const known = await candidates(await current(), header)
      if (known.length > 0) return known
      if (now() - fetchedAt < unknownKeyCooldownMs) return []
      // The key may be newer than the set. If that cannot be found out, the token is not wrong: we are blind.
      if (now() >= retryAt) await refresh()
      if (failures > 0 || keys === undefined) throw unavailable()
      return candidates(keys, header)
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

async function fetchKeys(url: URL, timeoutMs: number, fetch: typeof globalThis.fetch): Promise<LocalJWKSet> {
  const response = await fetch(url, {
    headers: { accept: 'application/jwk-set+json, application/json' },
    redirect: 'error',
    signal: AbortSignal.timeout(timeoutMs),
  })
  if (response.status !== 200 || response.body === null) {
    await response.body?.cancel()
    throw new Error(`The key set answered ${response.status}.`)
  }
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    length += chunk.byteLength
    // Leaving the loop cancels the body and closes the connection.
    if (length > maxBytes) throw new Error(`The key set is over ${maxBytes} bytes.`)
    chunks.push(chunk)
  }
  const set: unknown = JSON.parse(Buffer.concat(chunks, length).toString('utf8'))
  const local = createLocalJWKSet(set as JSONWebKeySet)
  // An issuer without keys has mislaid them: better the old ones than to refuse everyone.
  if (local.jwks().keys.length === 0) throw new Error('The key set is empty.')
  return local
}
