import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { isPrincipalName, type Principal } from '../principal.js'
import { answerWithin } from '../stores/answer-within.js'
import { type Awaitable, isPromise } from '../stores/awaitable.js'
import type { ApiKeyRecord, Directory } from '../stores/directory.js'
import { type Challenges, identityUnavailable } from './auth-challenge.js'

interface ApiKeyOptions {
  readonly directory: Directory
  readonly challenges: Challenges
  /** How long an answer of an asynchronous directory is believed. */
  readonly maxStaleMs: number
  readonly cacheSize: number
  readonly timeoutMs: number
  readonly now: () => number
}

interface Remembered {
  readonly record: ApiKeyRecord | undefined
  readonly until: number
}

/**
 * Who holds this key? Throws (or rejects with) `invalid_credentials`, or `identity_unavailable` when the directory fails.
 *
 * A directory that answers at once is asked every time. The answers of one that does not are remembered for `maxStaleMs`, hits apart from
 * misses, so that guessing keys does not push out the real ones; and a key that is being looked up is not looked up again.
 */
export function apiKeyVerifier(options: ApiKeyOptions): (key: string) => Awaitable<Principal> {
  const { directory, challenges, maxStaleMs, cacheSize, timeoutMs, now } = options
  const hits = new LRUCache<string, Remembered>({ max: cacheSize })
  const misses = new LRUCache<string, Remembered>({ max: cacheSize })
  const lookups = new Map<string, Promise<ApiKeyRecord | undefined>>()
  let asynchronous = false

  const admit = (record: ApiKeyRecord | undefined): Principal => {
    if (record === undefined) throw challenges.invalid()
    const { tenant, subject, id, tier, scopes, expiresAt } = record
    // A row without a tenant would share its money and data with every other such row.
    if (!isPrincipalName(tenant) || !isPrincipalName(subject) || !Array.isArray(scopes)) {
      throw identityUnavailable(
        new TypeError(`The directory's record of key ${id} lacks a tenant, a subject or scopes.`),
      )
    }
    if (record.disabled === true || (expiresAt !== undefined && !(now() < expiresAt))) throw challenges.invalid()
    return {
      tenant,
      subject,
      method: 'api-key',
      keyId: id,
      scopes,
      ...(tier === undefined ? undefined : { tier }),
      ...(expiresAt === undefined ? undefined : { expiresAt }),
    }
  }

  const recall = (digest: string): Remembered | undefined => {
    const remembered = hits.get(digest) ?? misses.get(digest)
    return remembered !== undefined && now() < remembered.until ? remembered : undefined
  }

  const lookUp = (digest: string, answer: PromiseLike<ApiKeyRecord | undefined>): Promise<ApiKeyRecord | undefined> => {
    asynchronous = true
    const askedAt = now()
    const lookup = answerWithin(answer, timeoutMs).then(
      (found) => {
        lookups.delete(digest)
        const record = found ?? undefined
        const [into, outOf] = record === undefined ? [misses, hits] : [hits, misses]
        outOf.delete(digest)
        if (maxStaleMs > 0) into.set(digest, { record, until: askedAt + maxStaleMs })
        return record
      },
      (cause: unknown) => {
        lookups.delete(digest)
        throw identityUnavailable(cause)
      },
    )
    lookups.set(digest, lookup)
    return lookup
  }

  return (key) => {
    const digest = hash('sha256', key)
    if (asynchronous) {
      const remembered = recall(digest)
      if (remembered !== undefined) return admit(remembered.record)
      const lookup = lookups.get(digest)
      if (lookup !== undefined) return lookup.then(admit)
    }
    let answer: Awaitable<ApiKeyRecord | undefined>
    try {
      answer = directory.findApiKey(digest)
    } catch (cause) {
      throw identityUnavailable(cause)
    }
    // `null`, for directories that are not held by our types.
    if (!isPromise(answer)) return admit(answer ?? undefined)
    return lookUp(digest, answer).then(admit)
  }
}
