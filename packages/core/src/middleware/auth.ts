import type { IncomingMessage } from 'node:http'
import type { JSONWebKeySet, JWTPayload } from 'jose'
import { LRUCache } from 'lru-cache'
import { z } from 'zod'
import { isTollgateError, TollgateError } from '../errors.js'
import { addressKey, checkTrustProxy, clientAddress, isInNetworks, type TrustProxy } from '../http/client-address.js'
import { type Handler, middleware } from '../http/handler.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import type { Principal } from '../principal.js'
import { type Awaitable, isPromise } from '../stores/awaitable.js'
import type { Directory } from '../stores/directory.js'
import type { LimitStore } from '../stores/limit-store.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import { type ApiKeyVerifier, apiKeyVerifier, type KeyHolder } from './auth-api-key.js'
import { challenges, challengeText, identityUnavailable } from './auth-challenge.js'
import type { TokenIdentity } from './auth-claims.js'
import { authFailures } from './auth-failures.js'
import { type JwtAlgorithm, jwtIssuer, trustedIssuer } from './auth-issuer.js'
import { jwtVerifier, looksLikeJwt } from './auth-jwt.js'
import { type OwnTokens, ownIssuer, type TokenHolder } from './auth-own-token.js'
import { identitySource } from './identity-sources.js'

export type { JwtAlgorithm, OwnTokens, TokenIdentity }

/** An issuer of JSON Web Tokens that is believed. */
export interface JwtIssuerOptions {
  /** The `iss` of its tokens, to the letter. */
  readonly issuer: string
  /** The `aud` that its tokens must have: one of these. */
  readonly audience: string | readonly string[]
  /** HS256, HS384, HS512 with `secret`; RS, PS, ES and EdDSA with `jwksUrl`, `discovery` and `jwks`. */
  readonly algorithms: readonly JwtAlgorithm[]
  /** At least as long as the hash (32 bytes for HS256). Several while one replaces another. */
  readonly secret?: string | Uint8Array | ReadonlyArray<string | Uint8Array>
  /** Where the issuer's public keys are. Exactly one of `secret`, `jwksUrl`, `discovery` and `jwks` is needed. */
  readonly jwksUrl?: string | URL
  /**
   * Instead: its metadata tell where. `true`: `<issuer>/.well-known/openid-configuration`, and if that answers 404
   * `/.well-known/oauth-authorization-server` before the issuer's path (RFC 8414); or the URL of the metadata. Their `issuer` must be `issuer` to the letter.
   */
  readonly discovery?: boolean | string | URL
  /** Instead: a function gives them, for keys held in this process. The same object as long as they are the same; public keys only. */
  readonly jwks?: () => Awaitable<JSONWebKeySet>
  /** How long the key set, and each of the metadata, may take, milliseconds. Default 5,000. */
  readonly jwksTimeoutMs?: number
  /** Lets `jwksUrl`, the metadata and their `jwks_uri` be `http:` on other hosts than this one. Default false. */
  readonly allowHttp?: boolean
  /** For key sets and metadata behind a proxy or a private CA. Default: the global `fetch`. */
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
  /** The scopes that it may give; others are left out. Default: all but those that give `admin:all` (`*`, `admin:*`, `admin:all`). */
  readonly scopes?: readonly string[]
  /** What a token may do that has no scope claim. Default: nothing. */
  readonly defaultScopes?: readonly string[]
  /** Names of the claims. Default `tenant`, `tier`, and `scope`, `scopes` or `scp`, whichever is there. */
  readonly claims?: { readonly tenant?: string; readonly tier?: string; readonly scopes?: string }
  /** Instead of `tenants`, `scopes`, `defaultScopes` and `claims`: your own reading of verified claims; `undefined` refuses. May ask a database. */
  readonly principal?: (claims: JWTPayload) => Awaitable<TokenIdentity | undefined>
}

export interface AuthOptions {
  /**
   * Who holds which API key; of several, the first that knows a key's id decides. Without it there are no API keys, and `x-api-key` is not looked at.
   */
  readonly directory?: Directory | readonly Directory[]
  /** Whose tokens are believed. Without it (and `tokens`) there are none, and every bearer credential is an API key. */
  readonly jwt?: JwtIssuerOptions | readonly JwtIssuerOptions[]
  /** Tokens of our own token endpoint. Who holds one is looked up in `directory` at every request. */
  readonly tokens?: OwnTokens
  /** Refuses keys `tg_test_…` (or `tg_live_…`) of the other environment. Default: both are looked up. */
  readonly environment?: 'live' | 'test'
  /** Named in challenges. Default `api`. */
  readonly realm?: string
  /** Requests without credentials pass, without a principal; wrong ones are still refused. Default false. */
  readonly optional?: boolean
  /** Told in challenges (RFC 9728). Default: none. */
  readonly resourceMetadataUrl?: string
  /**
   * How long the answers of an asynchronous directory are believed, milliseconds: the bound within which a revocation takes effect, also where nobody
   * told of it. Default 10,000; 0 asks every time.
   */
  readonly maxStaleMs?: number
  /** How much longer they serve while the directory is down, milliseconds. Then it is 503. Default 60,000. */
  readonly staleIfErrorMs?: number
  /** How long an asynchronous directory may take, milliseconds. Default 5,000. */
  readonly directoryTimeoutMs?: number
  /** How long a verified token is believed before it is verified anew, milliseconds. Default 60,000, never beyond its `exp`. */
  readonly verifiedForMs?: number
  /** Wrong credentials from one address; more are answered 429 until the allowance comes back. Default 100 in a minute; `false`: no limit. */
  readonly failures?: { readonly limit: number; readonly windowMs: number } | false
  /** Counts them. Default: in this process. */
  readonly limits?: LimitStore
  /** Whose word on the caller's address is taken. Default `false`: nobody's, the address is the connection's. */
  readonly trustProxy?: TrustProxy
  /** Where the trusted proxies write it. Default `x-forwarded-for`. */
  readonly proxyHeader?: 'x-forwarded-for' | 'forwarded'
  /** Entries of each cache. Default 10,000. */
  readonly cacheSize?: number
  /** The clock, milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

const schema = z
  .strictObject({
    directory: z
      .array(objectOption<Directory>('a Directory, for example memoryDirectory()', 'findApiKey', 'digestsOf'))
      .default([]),
    jwt: z.array(jwtIssuer).default([]),
    tokens: objectOption<OwnTokens>('issuer, audience and keySet() of a token endpoint', 'keySet').optional(),
    environment: z.enum(['live', 'test']).optional(),
    realm: z.string().regex(challengeText, 'must be printable ASCII without " and \\').default('api'),
    optional: z.boolean().default(false),
    resourceMetadataUrl: z.url().regex(challengeText).optional(),
    maxStaleMs: z.int().min(0).default(10_000),
    staleIfErrorMs: z.int().min(0).max(86_400_000).default(60_000),
    directoryTimeoutMs: z.int().min(1).max(60_000).default(5_000),
    verifiedForMs: z.int().min(0).default(60_000),
    failures: z
      .union([z.literal(false), z.strictObject({ limit: z.int().min(1), windowMs: z.int().min(1) })])
      .default({ limit: 100, windowMs: 60_000 }),
    limits: objectOption<LimitStore>('a LimitStore, for example memoryLimitStore()', 'take').optional(),
    trustProxy: z.custom<TrustProxy>().default(false),
    proxyHeader: z.enum(['x-forwarded-for', 'forwarded']).default('x-forwarded-for'),
    cacheSize: z.int().min(1).default(10_000),
    now: functionOption<() => number>().default(() => Date.now),
  })
  .superRefine(({ directory, jwt, tokens }, context) => {
    if (directory.length === 0 && jwt.length === 0) {
      context.addIssue({ code: 'custom', message: 'give a directory of API keys, or jwt, or both' })
    }
    if (tokens !== undefined && directory.length === 0) {
      context.addIssue({ code: 'custom', path: ['tokens'], message: 'needs a directory to look their holders up in' })
    }
    jwt.forEach((issuer, index) => {
      const issue = (path: string, message: string) =>
        context.addIssue({ code: 'custom', path: ['jwt', index, path], message })
      if (issuer.issuer === tokens?.issuer || jwt.findIndex((other) => other.issuer === issuer.issuer) < index) {
        issue('issuer', 'is there twice')
      }
      if (jwt.length > 1 && issuer.tenants === undefined && issuer.principal === undefined) {
        issue('tenants', "with several issuers, say for which tenants each may speak: 'any', 'own', or a list")
      }
    })
  })

/**
 * Who calls? Accepts an API key (`x-api-key`, or `Authorization: Bearer`) and JSON Web Tokens (`Authorization: Bearer`; anything of three
 * base64url parts is taken for one when `jwt` or `tokens` is given). Writes the slot `principal`.
 *
 * Credentials are taken from these two headers only, never from a URL. Answers of a directory in memory, keys and tokens verified a moment ago
 * are known at once: such a request stays on the synchronous path.
 *
 * @throws TollgateError `unauthenticated` (401: none), `malformed_credentials` (400: unreadable, or two at once), `invalid_credentials` (401; the
 * same bytes for a key that is unknown, disabled, expired, of another environment or mistyped), `forbidden` (403: a good key from an address that
 * it may not be used from), `rate_limited` (429: too many wrong ones from this address), `identity_unavailable` (503: the directory or the key
 * set is down); with `WWW-Authenticate` as in RFC 6750. The factory: `config_invalid`.
 * @example
 * const apiKeys = [{ key: 'a-long-random-string', tenant: 'acme', subject: 'website', tier: 'pro' }]
 * app.use('/v1', auth({ directory: memoryDirectory({ apiKeys }) }))
 */
export function auth(options: AuthOptions): Handler {
  const settings = checkedOptions('auth', schema, listed(options))
  const { jwt: issuers, directory: directories, tokens, now, cacheSize, optional, trustProxy, proxyHeader } = settings
  checkTrustProxy(trustProxy)
  const refuse = challenges(settings.realm, settings.resourceMetadataUrl)
  const addressOf = (req: IncomingMessage) => clientAddress(req, { trustProxy, proxyHeader })
  const sources = directories.map((directory) =>
    identitySource(directory, {
      freshMs: settings.maxStaleMs,
      staleIfErrorMs: settings.staleIfErrorMs,
      timeoutMs: settings.directoryTimeoutMs,
      cacheSize,
      now,
    }),
  )
  const byKey =
    sources.length === 0
      ? undefined
      : apiKeyVerifier({ sources, challenges: refuse, environment: settings.environment, cacheSize, now })
  const trusted = issuers.map((issuer) => trustedIssuer(issuer, now))
  if (tokens !== undefined) trusted.push(ownIssuer(tokens, sources, refuse, now))
  const byToken =
    trusted.length === 0
      ? undefined
      : jwtVerifier({ issuers: trusted, challenges: refuse, cacheSize, verifiedForMs: settings.verifiedForMs, now })
  const failures =
    settings.failures === false
      ? undefined
      : authFailures({
          ...settings.failures,
          store: settings.limits ?? memoryLimitStore(),
          addressOf: (req) => addressKey(addressOf(req)),
          now,
        })
  const noteUse = usesOf(now)

  const fromKey = (key: string, req: IncomingMessage): Awaitable<Principal> => {
    const verifier = byKey as ApiKeyVerifier
    const admit = (holder: KeyHolder) => {
      mayCallFrom(holder.record.addresses, req)
      noteUse(holder)
      return holder.principal
    }
    let holder = verifier.recall(key)
    if (holder === undefined) {
      // Who is known already is let in even when others guess behind the same address.
      failures?.check(req)
      holder = verifier.verify(key)
    }
    return isPromise(holder) ? holder.then(admit) : admit(holder)
  }

  const fromToken = (token: string, req: IncomingMessage): Awaitable<Principal> => {
    const admit = ({ principal, addresses }: TokenHolder) => {
      mayCallFrom(addresses, req)
      return principal
    }
    const holder = (byToken as NonNullable<typeof byToken>)(token)
    return isPromise(holder) ? holder.then(admit) : admit(holder)
  }

  const mayCallFrom = (addresses: readonly string[] | undefined, req: IncomingMessage): void => {
    if (addresses === undefined) return
    let listedThere: boolean
    try {
      listedThere = isInNetworks(addressOf(req), addresses)
    } catch (cause) {
      throw identityUnavailable(cause)
    }
    if (!listedThere) throw new TollgateError('forbidden', 'This key may not be used from this address.')
  }

  const authenticate = (req: IncomingMessage): Awaitable<Principal | undefined> => {
    const key = byKey === undefined ? undefined : req.headers['x-api-key']
    const authorization = req.headers.authorization
    if (byKey !== undefined && key !== undefined) {
      if (authorization !== undefined) throw refuse.malformed('Send either x-api-key or Authorization, not both.')
      // Node joins repeated headers with a comma and a space, which no key has.
      if (typeof key !== 'string' || !credentialsPattern.test(key)) throw refuse.malformed(unreadable)
      return fromKey(key, req)
    }
    const credentials = authorization === undefined ? undefined : bearerCredentials(authorization)
    if (credentials === undefined) {
      if (optional) return undefined
      throw refuse.missing()
    }
    if (!credentialsPattern.test(credentials)) throw refuse.malformed(unreadable)
    // Node keeps the first of them in silence; a proxy before us may have looked at the last.
    if (isRepeated(req.rawHeaders, 'authorization')) throw refuse.malformed('Send one Authorization header.')
    if (byToken !== undefined && looksLikeJwt(credentials)) return fromToken(credentials, req)
    if (byKey === undefined) throw refuse.invalid()
    return fromKey(credentials, req)
  }

  const failed = (error: unknown, req: IncomingMessage): unknown => {
    if (isTollgateError(error, 'invalid_credentials')) failures?.count(req)
    return error
  }

  return middleware('auth', (context, req) => {
    let principal: Awaitable<Principal | undefined>
    try {
      principal = authenticate(req)
    } catch (error) {
      throw failed(error, req)
    }
    if (!isPromise(principal)) {
      context.principal = principal
      return
    }
    return principal.then(
      (known) => {
        context.principal = known
      },
      (error: unknown) => {
        throw failed(error, req)
      },
    )
  })
}

const noteEveryMs = 60_000

/** Tells the directory of a key's use, once a minute. A directory that is down loses a minute of that, and nothing else. */
function usesOf(now: () => number) {
  const noted = new LRUCache<string, number>({ max: 10_000 })
  return ({ record, source: { directory } }: KeyHolder): void => {
    if (directory.keyUsed === undefined) return
    const at = now()
    const last = noted.get(record.id)
    if (last !== undefined && at - last < noteEveryMs && at >= last) return
    noted.set(record.id, at)
    try {
      const kept = directory.keyUsed(record.id, at)
      if (isPromise(kept)) kept.catch(() => {})
    } catch {
      // As above.
    }
  }
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

/** One issuer, and one directory, is a list of one. */
function listed(options: AuthOptions): unknown {
  const { jwt, directory } = options
  return {
    ...options,
    ...(jwt === undefined || Array.isArray(jwt) ? undefined : { jwt: [jwt] }),
    ...(directory === undefined || Array.isArray(directory) ? undefined : { directory: [directory] }),
  }
}
