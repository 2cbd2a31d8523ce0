import {
  createLocalJWKSet,
  errors,
  type JSONWebKeySet,
  type JWSHeaderParameters,
  type JWTPayload,
  type LocalJWKSet,
} from 'jose'
import type { Principal } from '../principal.js'
import { commonScopes } from '../scopes.js'
import { isPromise } from '../stores/awaitable.js'
import type { ApiKeyRecord, UserRecord } from '../stores/directory.js'
import type { KeySecret } from '../stores/identity-store.js'
import { isOver } from './auth-api-key.js'
import { type Challenges, identityUnavailable } from './auth-challenge.js'
import type { KeySource } from './auth-jwks.js'
import type { TrustedIssuer } from './auth-jwt.js'
import type { IdentitySource } from './identity-sources.js'
import type { Answer, Remembered } from './remembered.js'

/** The tokens of a token endpoint of our own. */
export interface OwnTokens {
  /** The `iss` of its tokens. */
  readonly issuer: string
  /** The `aud` that they must have: one of these. */
  readonly audience: string | readonly string[]
  /** Its public keys (RFC 7517). The same object as long as they are the same; rejects when they cannot be had. */
  keySet(): Promise<JSONWebKeySet>
}

/** The issuer whose tokens (RFC 9068, ES256) stand for keys and users of the directories. */
export function ownIssuer(
  tokens: OwnTokens,
  sources: readonly IdentitySource[],
  challenges: Challenges,
  now: () => number,
): TrustedIssuer {
  const { issuer, audience } = tokens
  return {
    issuer,
    audience: typeof audience === 'string' ? [audience] : audience,
    algorithms: ['ES256'],
    typ: 'at+jwt',
    clockToleranceSeconds: 5,
    keys: ownKeys(tokens),
    identify: () => undefined,
    holder: ownTokenHolder(sources, challenges, now),
  }
}

function ownKeys(tokens: OwnTokens): KeySource {
  const sets = new WeakMap<JSONWebKeySet, LocalJWKSet>()
  return {
    async keysFor(header) {
      try {
        const keys = await tokens.keySet()
        const set = sets.get(keys) ?? createLocalJWKSet(keys)
        sets.set(keys, set)
        return [await set(header as JWSHeaderParameters)]
      } catch (error) {
        if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) return []
        throw identityUnavailable(error)
      }
    },
  }
}

/** Whom a token stands for now. */
export interface TokenHolder {
  readonly principal: Principal
  readonly addresses: readonly string[] | undefined
}

type Holder = ApiKeyRecord | UserRecord

/** Which secret of a key a token came from (claim `key_version`): enough of its digest to tell it from the others. */
export function keyVersionOf({ digest }: KeySecret): string {
  return digest.slice(0, 16)
}

/** Which logins of a user are good (claim `login_generation`). */
export function generationOf({ loginGeneration = 0 }: { readonly loginGeneration?: number }): number {
  return loginGeneration
}

/** Does the holder of a token still stand behind it? A token ends with the secret of the key that it came from, and with the user's generation of logins. */
export function standsFor(claims: JWTPayload, record: Holder, now: number): boolean {
  if (record.disabled === true) return false
  if ('username' in record) return generationOf(record) === (claims['login_generation'] ?? 0)
  const { key_version: version } = claims
  const secret = record.secrets.find((each) => keyVersionOf(each) === version)
  return secret !== undefined && !isOver(secret.expiresAt, now) && !isOver(record.expiresAt, now)
}

/**
 * For tokens of our own token endpoint: the key (`key_id`) or the user (`sub`) is looked up at every request, among what is remembered, so that a token ends
 * with its holder. It never has more than its holder has now. Rejects with `invalid_credentials` or `identity_unavailable`.
 */
function ownTokenHolder(sources: readonly IdentitySource[], challenges: Challenges, now: () => number) {
  const made = new WeakMap<JWTPayload, { record: Holder; holder: TokenHolder }>()
  return async (claims: JWTPayload): Promise<TokenHolder> => {
    const { jti, sid, sub, key_id: keyId, tenant } = claims
    const ids = [jti, sid].filter((id) => typeof id === 'string' && id !== '')
    if (typeof sub !== 'string' || ids.length === 0) throw challenges.invalid()
    for (const { keys, users, tokens } of sources) {
      const record: Holder | undefined =
        typeof keyId === 'string' ? await answerOf(keys, keyId) : await answerOf(users, sub)
      if (record === undefined) continue
      if ((await answerOf(tokens, ids.join(' ')))?.revoked !== false) throw challenges.invalid()
      if (record.tenant !== tenant || !standsFor(claims, record, now())) throw challenges.invalid()
      const known = made.get(claims)
      if (known?.record === record) return known.holder
      const holder = holderOf(claims, record)
      made.set(claims, { record, holder })
      return holder
    }
    throw challenges.invalid()
  }
}

async function answerOf<Value>(from: Remembered<Value>, id: string): Promise<Value | undefined> {
  const answer = from.get(id)
  const { value }: Answer<Value> = isPromise(answer) ? await answer : answer
  return value
}

function holderOf(claims: JWTPayload, record: Holder): TokenHolder {
  const { tenant, team, tier, models, limits } = record
  const claimed = typeof claims['scope'] === 'string' ? claims['scope'].split(' ').filter((scope) => scope !== '') : []
  const principal: Principal = Object.freeze({
    tenant,
    subject: 'id' in record ? record.subject : record.username,
    method: 'jwt',
    scopes: Object.freeze(commonScopes(claimed, record.scopes)),
    expiresAt: (claims.exp ?? 0) * 1000,
    ...('id' in record ? { keyId: record.id } : undefined),
    ...(team === undefined ? undefined : { team }),
    ...(tier === undefined ? undefined : { tier }),
    ...(models === undefined ? undefined : { models }),
    ...(limits === undefined ? undefined : { limits }),
  })
  return { principal, addresses: 'addresses' in record ? record.addresses : undefined }
}
