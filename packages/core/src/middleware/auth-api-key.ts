import { hash, timingSafeEqual } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { isPrincipalName, type Principal } from '../principal.js'
import { credentialId, looksLikeApiKey, parseApiKey } from '../stores/api-key.js'
import { type Awaitable, isPromise } from '../stores/awaitable.js'
import type { ApiKeyRecord } from '../stores/directory.js'
import { type Challenges, identityUnavailable } from './auth-challenge.js'
import type { IdentitySource } from './identity-sources.js'
import type { Answer } from './remembered.js'

interface ApiKeyOptions {
  readonly sources: readonly IdentitySource[]
  readonly challenges: Challenges
  /** Keys of our own form for another environment are refused without asking anyone. */
  readonly environment: 'live' | 'test' | undefined
  readonly cacheSize: number
  readonly now: () => number
}

/** A key that was good a moment ago. */
interface Proven {
  readonly source: IdentitySource
  readonly id: string
  readonly digest: string
}

/** Whose key it is. */
export interface KeyHolder {
  readonly principal: Principal
  readonly record: ApiKeyRecord
  readonly source: IdentitySource
}

export interface ApiKeyVerifier {
  /** A key that was proven before; `undefined` if it was not. Does not count as a guess. Throws or rejects as `verify`. */
  recall(key: string): Awaitable<KeyHolder> | undefined
  /** Throws (or rejects with) `invalid_credentials`, or `identity_unavailable` when no directory can tell. */
  verify(key: string): Awaitable<KeyHolder>
}

/** Who holds this key? Directories are asked in their order; the first that knows its id decides. */
export function apiKeyVerifier(options: ApiKeyOptions): ApiKeyVerifier {
  const { sources, challenges, environment, cacheSize, now } = options
  const proven = new LRUCache<string, Proven>({ max: cacheSize })

  /** The holder, if the secret with this digest is good now. */
  const admit = (source: IdentitySource, record: ApiKeyRecord, digest: string): KeyHolder => {
    const secret = record.secrets.find((each) => each.digest === digest)
    if (secret === undefined || isOver(secret.expiresAt, now())) throw challenges.invalid()
    if (record.disabled === true || isOver(record.expiresAt, now())) throw challenges.invalid()
    return { principal: keyPrincipal(record), record, source }
  }

  const check = (source: IdentitySource, record: ApiKeyRecord, key: string, proof: string): KeyHolder => {
    // A row that is not whole is an outage, not a wrong key.
    keyPrincipal(record)
    const id = credentialId(key)
    const candidates = source.directory.digestsOf(key).map((digest) => Buffer.from(digest, 'hex'))
    let matching: string | undefined
    for (const { digest } of record.secrets) {
      const kept = Buffer.from(digest, 'hex')
      for (const candidate of candidates) {
        if (kept.length === candidate.length && timingSafeEqual(kept, candidate)) matching = digest
      }
    }
    if (matching === undefined) throw challenges.invalid()
    const holder = admit(source, record, matching)
    proven.set(proof, { source, id, digest: matching })
    return holder
  }

  const from = (index: number, id: string, key: string, proof: string): Awaitable<KeyHolder> => {
    const source = sources[index]
    if (source === undefined) throw challenges.invalid()
    const answer = source.keys.get(id)
    if (isPromise(answer)) {
      return answer.then(({ value }) =>
        value === undefined ? from(index + 1, id, key, proof) : check(source, value, key, proof),
      )
    }
    return answer.value === undefined ? from(index + 1, id, key, proof) : check(source, answer.value, key, proof)
  }

  return {
    recall(key) {
      const known = proven.get(hash('sha256', key))
      if (known === undefined) return undefined
      const { source, id, digest } = known
      const answer = source.keys.get(id)
      const again = ({ value }: Answer<ApiKeyRecord>) => {
        if (value === undefined) throw challenges.invalid()
        return admit(source, value, digest)
      }
      return isPromise(answer) ? answer.then(again) : again(answer)
    },
    verify(key) {
      const parsed = parseApiKey(key)
      const fits =
        parsed === undefined
          ? !looksLikeApiKey(key)
          : parsed.kind !== 'refresh' && (environment === undefined || parsed.kind === environment)
      if (!fits) throw challenges.invalid()
      return from(0, parsed?.id ?? credentialId(key), key, hash('sha256', key))
    },
  }
}

const principals = new WeakMap<ApiKeyRecord, Principal>()

/** The principal of a key's record, made once for each record. */
export function keyPrincipal(record: ApiKeyRecord): Principal {
  const known = principals.get(record)
  if (known !== undefined) return known
  const { tenant, team, subject, id, tier, scopes, models, limits, expiresAt } = record
  // A row without a tenant would share its money and data with every other such row.
  const lists = Array.isArray(scopes) && Array.isArray(record.secrets)
  if (!isPrincipalName(tenant) || !isPrincipalName(subject) || !lists) {
    throw identityUnavailable(
      new TypeError(`The directory's record of key ${id} lacks a tenant, a subject, scopes or secrets.`),
    )
  }
  const principal: Principal = Object.freeze({
    tenant,
    subject,
    method: 'api-key',
    keyId: id,
    scopes,
    ...(team === undefined ? undefined : { team }),
    ...(tier === undefined ? undefined : { tier }),
    ...(models === undefined ? undefined : { models }),
    ...(limits === undefined ? undefined : { limits }),
    ...(expiresAt === undefined ? undefined : { expiresAt }),
  })
  principals.set(record, principal)
  return principal
}

/** Has this time come? */
export function isOver(expiresAt: number | undefined, now: number): boolean {
  return expiresAt !== undefined && !(now < expiresAt)
}
