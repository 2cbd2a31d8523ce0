import type { CryptoKey, JWTPayload } from 'jose'
import { z } from 'zod'
import { functionOption } from '../options.js'
import type { Awaitable } from '../stores/awaitable.js'
import { identityOf, type TokenIdentity } from './auth-claims.js'
import { type KeySource, remoteKeys } from './auth-jwks.js'
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
    jwksTimeoutMs: z.int().min(1).max(60_000).default(5_000),
    allowHttp: z.boolean().default(false),
    fetch: functionOption<typeof globalThis.fetch>().optional(),
    clockToleranceSeconds: z.number().min(0).max(300).default(5),
    maxTokenAgeSeconds: z.number().positive().optional(),
    typ: nonEmpty.optional(),
    tenants: z.union([z.enum(['any', 'own']), z.array(nonEmpty).min(1)], "must be 'any', 'own', or a list").optional(),
    claims: z.strictObject({ tenant: nonEmpty, tier: nonEmpty, scopes: nonEmpty }).partial().optional(),
    principal: functionOption<(claims: JWTPayload) => Awaitable<TokenIdentity | undefined>>().optional(),
  })
  .superRefine((issuer, context) => {
    const issue = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
    if ((issuer.secret === undefined) === (issuer.jwksUrl === undefined))
      issue('secret', 'give either secret or jwksUrl')
    const fitting: readonly string[] = issuer.secret === undefined ? publicKeyAlgorithms : secretAlgorithms
    if (issuer.algorithms.some((algorithm) => !fitting.includes(algorithm))) {
      issue('algorithms', `must be of ${fitting.join(', ')} with ${issuer.secret === undefined ? 'jwksUrl' : 'secret'}`)
    }
    // RFC 7518, 3.2: a secret as long as the hash, or it is the weakest part.
    const leastBytes = Math.max(...issuer.algorithms.map((algorithm) => Number(algorithm.slice(2)) / 8 || 0))
    if (issuer.secret?.some((each) => each.length < leastBytes)) {
      issue(
        'secret',
        `must have ${leastBytes} bytes or more: node -p "crypto.randomBytes(${leastBytes}).toString('base64url')"`,
      )
    }
    if (issuer.jwksUrl !== undefined && !isTrustworthy(issuer.jwksUrl, issuer.allowHttp)) {
      issue(
        'jwksUrl',
        'must be https: whoever can change the keys on their way can be anyone (allowHttp: true lets it be)',
      )
    }
    if (issuer.principal !== undefined && (issuer.tenants !== undefined || issuer.claims !== undefined)) {
      issue('principal', 'replaces tenants and claims: leave them out')
    }
  })

/** The issuer that the options describe. Keys are imported once, at first use. */
export function trustedIssuer(options: z.output<typeof jwtIssuer>, now: () => number): TrustedIssuer {
  const { issuer, tenants = 'any', claims, principal, secret: secrets = [], jwksUrl: url, fetch, ...rest } = options
  const reading = {
    issuer,
    tenants,
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
    keys: url === undefined ? secretKeys(secrets) : remoteKeys({ url, now, fetch, timeoutMs: rest.jwksTimeoutMs }),
    identify: principal ?? ((payload) => identityOf(payload, reading)),
  }
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
export function importSecret(bytes: Uint8Array, alg: string): Promise<CryptoKey> {
  const hash = `SHA-${alg.slice(2)}`
  return crypto.subtle.importKey('raw', new Uint8Array(bytes), { name: 'HMAC', hash }, false, ['sign', 'verify'])
}

function isTrustworthy(url: URL, allowHttp: boolean): boolean {
  if (url.protocol === 'https:') return true
  return url.protocol === 'http:' && (allowHttp || ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname))
}
