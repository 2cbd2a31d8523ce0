import type { CryptoKey, JSONWebKeySet, JWTPayload } from 'jose'
import { z } from 'zod'
import { functionOption } from '../options.js'
import { isScope } from '../scopes.js'
import type { Awaitable } from '../stores/awaitable.js'
import { identityOf, type TokenIdentity } from './auth-claims.js'
import { discoveredKeySet, metadataPlaces } from './auth-discovery.js'
import { givenKeys, isTrustworthy, type KeySource, remoteKeys } from './auth-jwks.js'
import type { TrustedIssuer } from './auth-jwt.js'

const secretAlgorithms = ['HS256', 'HS384', 'HS512'] as const
const publicKeyAlgorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
] as const

/** A signature that may be trusted; `none` is not one. */
export type JwtAlgorithm = (typeof secretAlgorithms)[number] | (typeof publicKeyAlgorithms)[number]

const nonEmpty = z.string().min(1)
const secret = z.union([z.string(), z.instanceof(Uint8Array)], 'must be a string or bytes')
const https = 'must be https: whoever can change the keys on their way can be anyone (allowHttp: true lets it be)'

/** The options of one issuer. The algorithms must all fit the kind of key, so that no public key is ever taken for a secret. */
export const jwtIssuer = z
  .strictObject({
    issuer: nonEmpty.regex(/^[^|]+$/, 'must not hold |, which separates issuer and subject in names of tenants'),
    audience: z.preprocess((value) => (typeof value === 'string' ? [value] : value), z.array(nonEmpty).min(1)),
    algorithms: z.array(z.enum([...secretAlgorithms, ...publicKeyAlgorithms])).min(1),
    secret: z
      .preprocess(
        (value) => (value === undefined || Array.isArray(value) ? value : [value]),
        z.array(secret).min(1).optional(),
      )
      .transform((secrets) =>
        secrets?.map((each) => (typeof each === 'string' ? Buffer.from(each) : Buffer.copyBytesFrom(each))),
      ),
    jwksUrl: z
      .union([z.url(), z.instanceof(URL)], 'must be a URL')
      .transform((url) => new URL(url))
      .optional(),
    discovery: z
      .union([z.boolean(), z.url({ abort: true }), z.instanceof(URL)], 'must be true, or the URL of the metadata')
      .transform((where) => (typeof where === 'boolean' ? where || undefined : new URL(where)))
      .optional(),
    jwks: functionOption<() => Awaitable<JSONWebKeySet>>().optional(),
    jwksTimeoutMs: z.int().min(1).max(60_000).default(5_000),
    allowHttp: z.boolean().default(false),
    fetch: functionOption<typeof globalThis.fetch>().optional(),
    clockToleranceSeconds: z.number().min(0).max(300).default(5),
    maxTokenAgeSeconds: z.number().positive().optional(),
    typ: nonEmpty.optional(),
    tenants: z.union([z.enum(['any', 'own']), z.array(nonEmpty).min(1)], "must be 'any', 'own', or a list").optional(),
    scopes: z.array(z.string().refine(isScope, 'must be one scope')).optional(),
    defaultScopes: z.array(z.string().refine(isScope, 'must be one scope')).optional(),
    claims: z.strictObject({ tenant: nonEmpty, tier: nonEmpty, scopes: nonEmpty }).partial().optional(),
    principal: functionOption<(claims: JWTPayload) => Awaitable<TokenIdentity | undefined>>().optional(),
  })
  .superRefine((issuer, context) => {
    const issue = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
    const { jwksUrl, discovery, jwks, allowHttp } = issuer
    if ([issuer.secret, jwksUrl, discovery, jwks].filter((keys) => keys !== undefined).length !== 1) {
      issue('secret', 'give exactly one of secret, jwksUrl, discovery and jwks')
    }
    const fitting: readonly string[] = issuer.secret === undefined ? publicKeyAlgorithms : secretAlgorithms
    if (issuer.algorithms.some((algorithm) => !fitting.includes(algorithm))) {
      const keys = issuer.secret === undefined ? 'jwksUrl, discovery and jwks' : 'secret'
      issue('algorithms', `must be of ${fitting.join(', ')} with ${keys}`)
    }
    // RFC 7518, 3.2: a secret as long as the hash, or it is the weakest part.
    const leastBytes = Math.max(...issuer.algorithms.map((algorithm) => Number(algorithm.slice(2)) / 8 || 0))
    if (issuer.secret?.some((each) => each.length < leastBytes)) {
      issue(
        'secret',
        `must have ${leastBytes} bytes or more: node -p "crypto.randomBytes(${leastBytes}).toString('base64url')"`,
      )
    }
    if (jwksUrl !== undefined && !isTrustworthy(jwksUrl, allowHttp)) issue('jwksUrl', https)
    if (discovery !== undefined) {
      const places = metadataPlaces(issuer.issuer, discovery)
      if (places.length === 0) {
        issue('discovery', 'give the URL of the metadata: the issuer is no http(s) URL without ? and #')
      } else if (!places.every((place) => isTrustworthy(place, allowHttp))) issue('discovery', https)
    }
    const read = [issuer.tenants, issuer.claims, issuer.scopes, issuer.defaultScopes]
    if (issuer.principal !== undefined && read.some((option) => option !== undefined)) {
      issue('principal', 'replaces tenants, claims, scopes and defaultScopes: leave them out')
    }
  })

/** The issuer that the options describe. Keys are imported once, at first use. */
export function trustedIssuer(options: z.output<typeof jwtIssuer>, now: () => number): TrustedIssuer {
  const { issuer, tenants = 'any', scopes, defaultScopes = [], claims, principal, ...rest } = options
  const reading = {
    issuer,
    tenants,
    scopes,
    defaultScopes,
    claims: {
      tenant: claims?.tenant ?? 'tenant',
      tier: claims?.tier ?? 'tier',
      scopes: claims?.scopes === undefined ? ['scope', 'scopes', 'scp'] : [claims.scopes],
    },
  }
  return {
    issuer,
    audience: rest.audience,
    algorithms: rest.algorithms,
    clockToleranceSeconds: rest.clockToleranceSeconds,
    maxTokenAgeSeconds: rest.maxTokenAgeSeconds,
    typ: rest.typ,
    keys: keysOf(options, now),
    identify: principal ?? ((payload) => identityOf(payload, reading)),
  }
}

function keysOf(options: z.output<typeof jwtIssuer>, now: () => number): KeySource {
  const { issuer, secret: secrets = [], jwksUrl, discovery, jwks, allowHttp, fetch, jwksTimeoutMs: timeoutMs } = options
  if (jwks !== undefined) return givenKeys(jwks, timeoutMs)
  if (jwksUrl !== undefined) return remoteKeys({ location: jwksUrl, now, fetch, timeoutMs })
  if (discovery === undefined) return secretKeys(secrets)
  const places = metadataPlaces(issuer, discovery)
  const location = discoveredKeySet({ issuer, places, allowHttp, now, fetch, timeoutMs })
  return remoteKeys({ location, now, fetch, timeoutMs })
}

function secretKeys(secrets: readonly Uint8Array[]): KeySource {
  const imported = new Map<string, Promise<readonly CryptoKey[]>>()
  return {
    keysFor({ alg }) {
      const known = imported.get(alg)
      if (known !== undefined) return known
      const keys = Promise.all(secrets.map((bytes) => importSecret(bytes, alg)))
      imported.set(alg, keys)
      return keys
    },
  }
}

/** Verifying with a `CryptoKey` takes a fifth of the time that raw bytes take, which are imported at every call. */
function importSecret(bytes: Uint8Array, alg: string): Promise<CryptoKey> {
  const hash = `SHA-${alg.slice(2)}`
  return crypto.subtle.importKey('raw', new Uint8Array(bytes), { name: 'HMAC', hash }, false, ['sign', 'verify'])
}
