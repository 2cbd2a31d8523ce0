import { randomUUID } from 'node:crypto'
import {
  createLocalJWKSet,
  errors,
  type JSONWebKeySet,
  type JWTPayload,
  jwtVerify,
  type LocalJWKSet,
  SignJWT,
} from 'jose'
import type { SigningKeyRing } from './signing-key-ring.js'

interface AccessTokenOptions {
  readonly ring: SigningKeyRing
  readonly issuer: string
  readonly audience: string | readonly string[]
  readonly lifetimeSeconds: number
  readonly now: () => number
}

/** For whom a token is made. */
export interface TokenHolderClaims {
  readonly subject: string
  readonly tenant: string
  readonly scopes: readonly string[]
  readonly clientId: string
  /** Of a key: its public id, and which of its secrets (`keyVersionOf`): the token ends with that one. */
  readonly keyId?: string
  readonly keyVersion?: string
  /** Of a login: its family of refresh tokens, and the generation that the user was in. */
  readonly sid?: string
  readonly loginGeneration?: number
  /** When its holder ends, milliseconds since the epoch: it does not live longer. */
  readonly until?: number | undefined
}

/** Access tokens as RFC 9068 has them. */
export interface AccessTokens {
  issue(holder: TokenHolderClaims): Promise<{ readonly token: string; readonly expiresIn: number }>
  /** Its claims; `undefined` for a token that is not ours, changed, or over. */
  verify(token: string): Promise<JWTPayload | undefined>
}

/** Rejects with `identity_unavailable` when there are no keys to be had. */
export function accessTokens({ ring, issuer, audience, lifetimeSeconds, now }: AccessTokenOptions): AccessTokens {
  const audiences = typeof audience === 'string' ? audience : [...audience]
  const sets = new WeakMap<JSONWebKeySet, LocalJWKSet>()
  return {
    async issue({ subject, tenant, scopes, clientId, until = Number.POSITIVE_INFINITY, ...holder }) {
      const { keyId, keyVersion, sid, loginGeneration } = holder
      const { kid, key } = await ring.signer()
      const issuedAt = Math.floor(now() / 1000)
      const expiresIn = Math.max(1, Math.min(lifetimeSeconds, Math.floor(until / 1000) - issuedAt))
      const claims = {
        tenant,
        client_id: clientId,
        ...(scopes.length === 0 ? undefined : { scope: scopes.join(' ') }),
        ...(keyId === undefined ? undefined : { key_id: keyId }),
        ...(keyVersion === undefined ? undefined : { key_version: keyVersion }),
        ...(sid === undefined ? undefined : { sid }),
        ...(loginGeneration === undefined ? undefined : { login_generation: loginGeneration }),
      }
      const token = await new SignJWT(claims)
        .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid })
        .setIssuer(issuer)
        .setSubject(subject)
        .setAudience(audiences)
        .setIssuedAt(issuedAt)
        .setExpirationTime(issuedAt + expiresIn)
        .setJti(randomUUID())
        .sign(key)
      return { token, expiresIn }
    },
    async verify(token) {
      const keys = await ring.keySet()
      const set = sets.get(keys) ?? createLocalJWKSet(keys)
      sets.set(keys, set)
      try {
        const { payload } = await jwtVerify(token, set, {
          issuer,
          audience: audiences,
          algorithms: ['ES256'],
          typ: 'at+jwt',
          currentDate: new Date(now()),
          requiredClaims: ['sub', 'iat', 'exp', 'jti'],
        })
        return payload
      } catch (error) {
        if (error instanceof errors.JOSEError) return undefined
        throw error
      }
    },
  }
}
