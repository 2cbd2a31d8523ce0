import type { IncomingMessage } from 'node:http'
import type { JWTPayload } from 'jose'
import { z } from 'zod'
import { type Handler, middleware } from '../http/handler.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import type { Principal } from '../principal.js'
import { type Awaitable, isPromise } from '../stores/awaitable.js'
import type { Directory } from '../stores/directory.js'
import { apiKeyVerifier } from './auth-api-key.js'
import { challenges, challengeText } from './auth-challenge.js'
import type { TokenIdentity } from './auth-claims.js'
import { type JwtAlgorithm, jwtIssuer, trustedIssuer } from './auth-issuer.js'
import { jwtVerifier, looksLikeJwt } from './auth-jwt.js'

export type { JwtAlgorithm, TokenIdentity }

/** An issuer of JSON Web Tokens that is believed. */
export interface JwtIssuerOptions {
  /** The `iss` of its tokens, to the letter. */
  readonly issuer: string
  /** The `aud` that its tokens must have: one of these. */
  readonly audience: string | readonly string[]
  /** HS256, HS384, HS512 with `secret`; RS, PS, ES and EdDSA with `jwksUrl`. */
  readonly algorithms: readonly JwtAlgorithm[]
  /** At least as long as the hash (32 bytes for HS256). Several while one replaces another. */
  readonly secret?: string | Uint8Array | ReadonlyArray<string | Uint8Array>
  /** Where the issuer's public keys are. */
  readonly jwksUrl?: string | URL
  /** How long the key set may take, milliseconds. Default 5,000. */
  readonly jwksTimeoutMs?: number
  /** Lets `jwksUrl` be `http:` on other hosts than this one. Default false. */
  readonly allowHttp?: boolean
  /** For key sets behind a proxy or a private CA. Default: the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch
  /** How far clocks may differ. Default 5. */
  readonly clockToleranceSeconds?: number
  /** Refuses tokens issued longer ago (`iat`), whatever their `exp`. Default: no limit. */
  readonly maxTokenAgeSeconds?: number
  /** The `typ` that the header must have: `at+jwt` for access tokens of RFC 9068. Default: any. */
  readonly typ?: string
  /**
   * Which tenants this issuer may speak for. `any`: its tenant claim is taken as it is (without one, `<iss>|<sub>`). `own`: never outside
   * itself, `<iss>|<tenant claim>`, else `<iss>||<sub>`. A list: the tenant claim must be in it. Default `any` for a single issuer; with several, say.
   */
  readonly tenants?: 'any' | 'own' | readonly string[]
  /** Names of the claims. Default `tenant`, `tier`, and `scope`, `scopes` or `scp`, whichever is there. */
  readonly claims?: { readonly tenant?: string; readonly tier?: string; readonly scopes?: string }
  /** Instead of `tenants` and `claims`: your own reading of verified claims; `undefined` refuses. May ask a database. */
  readonly principal?: (claims: JWTPayload) => Awaitable<TokenIdentity | undefined>
}

export interface AuthOptions {
  /** Who holds which API key. Without it there are no API keys, and `x-api-key` is not looked at. */
  readonly directory?: Directory
  /** Whose tokens are believed. Without it there are none, and every bearer credential is an API key. */
  readonly jwt?: JwtIssuerOptions | readonly JwtIssuerOptions[]
  /** Named in challenges. Default `api`. */
  readonly realm?: string
  /** Requests without credentials pass, without a principal; wrong ones are still refused. Default false. */
  readonly optional?: boolean
  /** Told in challenges (RFC 9728). Default: none. */
  readonly resourceMetadataUrl?: string
  /** How long the answers of an asynchronous directory are believed, milliseconds. Default 10,000; 0 asks every time. */
  readonly maxStaleMs?: number
  /** How long an asynchronous directory may take, milliseconds. Default 5,000. */
  readonly directoryTimeoutMs?: number
  /** How long a verified token is believed before it is verified anew, milliseconds. Default 60,000, never beyond its `exp`. */
  readonly verifiedForMs?: number
  /** Entries of each cache. Default 10,000. */
  readonly cacheSize?: number
  /** The clock, milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

const schema = z
  .strictObject({
    directory: objectOption<Directory>('a Directory, for example memoryDirectory()', 'findApiKey').optional(),
    jwt: z.array(jwtIssuer).default([]),
    realm: z.string().regex(challengeText, 'must be printable ASCII without " and \\').default('api'),
    optional: z.boolean().default(false),
    resourceMetadataUrl: z.url().regex(challengeText).optional(),
    maxStaleMs: z.int().min(0).default(10_000),
    directoryTimeoutMs: z.int().min(1).max(60_000).default(5_000),
    verifiedForMs: z.int().min(0).default(60_000),
    cacheSize: z.int().min(1).default(10_000),
    now: functionOption<() => number>().default(() => Date.now),
  })
  .superRefine(({ directory, jwt }, context) => {
    if (directory === undefined && jwt.length === 0) {
      context.addIssue({ code: 'custom', message: 'give a directory of API keys, or jwt, or both' })
    }
    jwt.forEach((issuer, index) => {
      const issue = (path: string, message: string) =>
        context.addIssue({ code: 'custom', path: ['jwt', index, path], message })
      if (jwt.findIndex((other) => other.issuer === issuer.issuer) < index) issue('issuer', 'is there twice')
      if (jwt.length > 1 && issuer.tenants === undefined && issuer.principal === undefined) {
        issue('tenants', "with several issuers, say for which tenants each may speak: 'any', 'own', or a list")
      }
    })
  })

/**
 * Who calls? Accepts an API key (`x-api-key`, or `Authorization: Bearer`) and JSON Web Tokens (`Authorization: Bearer`; anything of three
 * base64url parts is taken for one when `jwt` is given). Writes the slot `principal`.
 *
 * Credentials are taken from these two headers only, never from a URL. Answers of a directory in memory and tokens verified a moment ago
 * are known at once: such a request stays on the synchronous path.
 *
 * @throws TollgateError `unauthenticated` (401: none), `malformed_credentials` (400: unreadable, or two at once), `invalid_credentials` (401; the
 * same bytes for a key that is unknown, disabled or expired), `identity_unavailable` (503: the directory or the key set is down); with
 * `WWW-Authenticate` as in RFC 6750. The factory: `config_invalid`.
 * @example
 * const apiKeys = [{ key: 'a-long-random-string', tenant: 'acme', subject: 'website', tier: 'pro' }]
 * app.use('/v1', auth({ directory: memoryDirectory({ apiKeys }) }))
 */
export function auth(options: AuthOptions): Handler {
  const {
    jwt: issuers,
    directory,
    now,
    cacheSize,
    optional,
    ...settings
  } = checkedOptions('auth', schema, listed(options))
  const refuse = challenges(settings.realm, settings.resourceMetadataUrl)
  const byKey =
    directory === undefined
      ? undefined
      : apiKeyVerifier({
          directory,
          challenges: refuse,
          maxStaleMs: settings.maxStaleMs,
          timeoutMs: settings.directoryTimeoutMs,
          cacheSize,
          now,
        })
  const byToken =
    issuers.length === 0
      ? undefined
      : jwtVerifier({
          issuers: issuers.map((issuer) => trustedIssuer(issuer, now)),
          challenges: refuse,
          cacheSize,
          verifiedForMs: settings.verifiedForMs,
          now,
        })

  const authenticate = (req: IncomingMessage): Awaitable<Principal | undefined> => {
    const key = byKey === undefined ? undefined : req.headers['x-api-key']
    const authorization = req.headers.authorization
    if (byKey !== undefined && key !== undefined) {
      if (authorization !== undefined) throw refuse.malformed('Send either x-api-key or Authorization, not both.')
      // Node joins repeated headers with a comma and a space, which no key has.
      if (typeof key !== 'string' || !credentialsPattern.test(key)) throw refuse.malformed(unreadable)
      return byKey(key)
    }
    const credentials = authorization === undefined ? undefined : bearerCredentials(authorization)
    if (credentials === undefined) {
      if (optional) return undefined
      throw refuse.missing()
    }
    if (!credentialsPattern.test(credentials)) throw refuse.malformed(unreadable)
    // Node keeps the first of them in silence; a proxy before us may have looked at the last.
    if (isRepeated(req.rawHeaders, 'authorization')) throw refuse.malformed('Send one Authorization header.')
    if (byToken !== undefined && looksLikeJwt(credentials)) return byToken(credentials)
    if (byKey === undefined) throw refuse.invalid()
    return byKey(credentials)
  }

  return middleware('auth', (context, req) => {
    const principal = authenticate(req)
    if (!isPromise(principal)) {
      context.principal = principal
      return
    }
    return principal.then((known) => {
      context.principal = known
    })
  })
}

/** Visible ASCII without spaces; longer than Node's own limit on headers it cannot be, unless that was raised. */
const credentialsPattern = /^[\x21-\x7e]{1,16384}$/
const unreadable = 'The credentials are empty or hold characters that no key and no token has.'

/** What follows the scheme `Bearer`, in any case and after any blanks; `undefined` for another scheme. */
function bearerCredentials(authorization: string): string | undefined {
  if (authorization.startsWith('Bearer ') && authorization.charCodeAt(7) > 0x20) return authorization.slice(7)
  return /^bearer(?:[ \t]+|$)(.*)$/is.exec(authorization)?.[1] ?? (authorization === '' ? '' : undefined)
}

function isRepeated(rawHeaders: readonly string[], name: string): boolean {
  let seen = false
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const header = rawHeaders[index]
    if (header?.length !== name.length || header.toLowerCase() !== name) continue
    if (seen) return true
    seen = true
  }
  return false
}

/** One issuer is a list of one. */
function listed(options: AuthOptions): unknown {
  const { jwt } = options
  return jwt === undefined || Array.isArray(jwt) ? options : { ...options, jwt: [jwt] }
}
