import { hash } from 'node:crypto'
import { type CryptoKey, decodeJwt, decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from 'jose'
import { LRUCache } from 'lru-cache'
import { isPrincipalName, type Principal } from '../principal.js'
import type { Awaitable } from '../stores/awaitable.js'
import { type Challenges, identityUnavailable } from './auth-challenge.js'
import type { TokenIdentity } from './auth-claims.js'
import type { KeySource, TokenHeader } from './auth-jwks.js'
import type { TokenHolder } from './auth-own-token.js'

/** One issuer whose tokens are accepted. */
export interface TrustedIssuer {
  readonly issuer: string
  readonly audience: readonly string[]
  readonly algorithms: readonly string[]
  readonly keys: KeySource
  readonly clockToleranceSeconds: number
  readonly maxTokenAgeSeconds?: number | undefined
  readonly typ?: string | undefined
  /** Whom the verified claims stand for. */
  identify(claims: JWTPayload): Awaitable<TokenIdentity | undefined>
  /** Instead: whoever holds the token is looked up at every request. */
  readonly holder?: (claims: JWTPayload) => Promise<TokenHolder>
}

interface JwtOptions {
  readonly issuers: readonly TrustedIssuer[]
  readonly challenges: Challenges
  readonly cacheSize: number
  /** How long a verified token is believed without looking at it again, if it does not end earlier. */
  readonly verifiedForMs: number
  readonly now: () => number
}

interface Verified {
  readonly holder: TokenHolder | undefined
  readonly claims: JWTPayload
  readonly issuer: TrustedIssuer
  readonly until: number
}

const tokenPattern = /^[\w-]+\.[\w-]+\.[\w-]*$/

/** Three parts of base64url with dots between. The last may be empty, as in `alg: none`. */
export function looksLikeJwt(credentials: string): boolean {
  return tokenPattern.test(credentials)
}

/**
 * Who holds this token? Rejects with `invalid_credentials`, or `identity_unavailable` when the keys cannot be had. A token that was verified
 * a moment ago is answered at once.
 */
export function jwtVerifier(options: JwtOptions): (token: string) => Awaitable<TokenHolder> {
  const { challenges, cacheSize, verifiedForMs, now } = options
  const issuers = new Map(options.issuers.map((issuer) => [issuer.issuer, issuer]))
  const verified = new LRUCache<string, Verified>({ max: cacheSize })
  const verifying = new Map<string, Promise<TokenHolder>>()

  const verify = async (token: string, cacheKey: string): Promise<TokenHolder> => {
    const startedAt = now()
    const { issuer, header } = trustedIssuer(token)
    const payload = await claimsOf(token, await issuer.keys.keysFor(header), header.alg, issuer)
    const expiresAt = (payload.exp ?? Number.NaN) * 1000
    if (!Number.isSafeInteger(Math.trunc(expiresAt))) throw challenges.invalid()
    const until = Math.min(startedAt + verifiedForMs, expiresAt + issuer.clockToleranceSeconds * 1000)
    const keep = (holder: TokenHolder | undefined) => {
      if (now() < until) verified.set(cacheKey, { holder, claims: payload, issuer, until })
    }
    if (issuer.holder !== undefined) {
      const holder = await issuer.holder(payload)
      keep(undefined)
      return holder
    }
    const identity = await issuer.identify(payload)
    if (identity === undefined) throw challenges.invalid()
    const holder = { principal: principalOf(identity, expiresAt), addresses: undefined }
    keep(holder)
    return holder
  }

  /** What is wrong without asking anyone for a key: an issuer that is not ours, an algorithm that it does not use, `none`. */
  const trustedIssuer = (token: string): { issuer: TrustedIssuer; header: TokenHeader } => {
    let header: { alg?: unknown; kid?: unknown }
    let claimed: unknown
    try {
      header = decodeProtectedHeader(token)
      claimed = decodeJwt(token).iss
    } catch {
      throw challenges.invalid()
    }
    const issuer = typeof claimed === 'string' ? issuers.get(claimed) : undefined
    const { alg, kid } = header
    if (issuer === undefined) throw challenges.invalid(unfitClaim('iss'))
    if (typeof alg !== 'string' || !issuer.algorithms.includes(alg)) throw challenges.invalid()
    if (kid !== undefined && typeof kid !== 'string') throw challenges.invalid()
    return { issuer, header: kid === undefined ? { alg } : { alg, kid } }
  }

  const claimsOf = async (
    token: string,
    keys: readonly CryptoKey[],
    algorithm: string,
    issuer: TrustedIssuer,
  ): Promise<JWTPayload> => {
    for (const key of keys) {
      try {
        const { payload } = await jwtVerify(token, key, {
          algorithms: [algorithm],
          issuer: issuer.issuer,
          audience: [...issuer.audience],
          requiredClaims: ['exp'],
          clockTolerance: issuer.clockToleranceSeconds,
          currentDate: new Date(now()),
          ...(issuer.maxTokenAgeSeconds === undefined ? {} : { maxTokenAge: issuer.maxTokenAgeSeconds }),
          ...(issuer.typ === undefined ? {} : { typ: issuer.typ }),
        })
        return payload
      } catch (error) {
        if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw refusalOf(error)
      }
    }
    throw challenges.invalid()
  }

  // Claims are looked at only once the signature is good: their names tell a holder of a real token what to mend, and nobody else.
  const refusalOf = (error: unknown): Error => {
    if (error instanceof errors.JWTExpired) return challenges.invalid('The token has expired.')
    if (error instanceof errors.JWTClaimValidationFailed) return challenges.invalid(unfitClaim(error.claim))
    if (error instanceof errors.JOSEError) return challenges.invalid()
    // A key of the issuer's that is not fit for use, a short RSA key for one.
    return identityUnavailable(error)
  }

  return (token) => {
    const cacheKey = hash('sha256', token)
    const known = verified.get(cacheKey)
    if (known !== undefined) {
      if (now() < known.until) return known.holder ?? known.issuer.holder?.(known.claims) ?? verify(token, cacheKey)
      verified.delete(cacheKey)
    }
    const running = verifying.get(cacheKey)
    if (running !== undefined) return running
    const run = verify(token, cacheKey).finally(() => verifying.delete(cacheKey))
    verifying.set(cacheKey, run)
    return run
  }
}

function principalOf(identity: TokenIdentity, expiresAt: number): Principal {
  const { tenant, subject, team, tier, scopes = [], models } = identity
  if (!isPrincipalName(tenant) || !isPrincipalName(subject)) {
    throw new TypeError(
      'auth: the principal() of a jwt issuer must give a tenant and a subject, or undefined to refuse.',
    )
  }
  return Object.freeze({
    tenant,
    subject,
    method: 'jwt',
    scopes: Object.freeze([...scopes]),
    expiresAt,
    ...(team === undefined ? undefined : { team }),
    ...(tier === undefined ? undefined : { tier }),
    ...(models === undefined ? undefined : { models }),
  })
}

function unfitClaim(claim: string): string {
  return `The token's ${claim} is missing or does not fit.`
}
