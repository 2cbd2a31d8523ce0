import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { type CryptoKey, SignJWT } from 'jose'
import { z } from 'zod'
import { addressKey, checkTrustProxy, clientAddress, type TrustProxy } from '../http/client-address.js'
import type { RequestContext } from '../http/context.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import { challengeText } from '../middleware/auth-challenge.js'
import { importSecret } from '../middleware/auth-issuer.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import { isPrincipalName } from '../principal.js'
import { answerWithin } from '../stores/answer-within.js'
import type { Directory, UserRecord } from '../stores/directory.js'
import type { LimitStore } from '../stores/limit-store.js'
import { decoyPasswordHash, isPasswordHash, phcShape, verifyPassword } from '../stores/password-hash.js'
import type { TokenResponse } from '../wire/token.js'
import { hashQueue, threadsToSpare } from './hash-queue.js'
import { type TokenRefusal, tokenDelay, tokenRefusal } from './token-refusal.js'
import { type PasswordGrant, passwordGrant } from './token-request.js'
import { type Attempt, type FailureLimit, tokenThrottle } from './token-throttle.js'

export interface TokenRouteOptions {
  /** Where the users are. */
  readonly directory: Directory
  /** `iss` of the tokens; give `auth` the same. */
  readonly issuer: string
  /** `aud` of the tokens; give `auth` the same. */
  readonly audience: string | readonly string[]
  /** Signs the tokens (HS256), 32 bytes or more; give `auth` the same. */
  readonly secret: string | Uint8Array
  /** How long a token is good for. Default 3,600, at most 86,400. */
  readonly lifetimeSeconds?: number
  /** How long the directory may take, milliseconds. Default 5,000. */
  readonly directoryTimeoutMs?: number
  /** Counts wrong passwords by user and by address. Without it nothing slows a guesser but the cost of a hash. */
  readonly limits?: LimitStore
  /** Default 10 in 15 minutes. Needs `limits`. */
  readonly failuresPerUser?: FailureLimit
  /** Default 100 in 15 minutes. Needs `limits`. */
  readonly failuresPerAddress?: FailureLimit
  /** Whose word on the caller's address is taken. Default `false`: nobody's, the address is the connection's. */
  readonly trustProxy?: TrustProxy
  /** Where the trusted proxies write it. Default `x-forwarded-for`. */
  readonly proxyHeader?: 'x-forwarded-for' | 'forwarded'
  /**
   * The hash that is worked through when there is no such user, so that the answer takes as long. Give one of your own (any password) if
   * your users' hashes do not have the default parameters.
   */
  readonly decoyHash?: string
  /** Hashes at once. Default: one less than libuv has threads or the machine has cores, at least 1. */
  readonly maxConcurrentHashes?: number
  /** Requests that wait for one; more are answered 503. Default 32. */
  readonly maxQueuedHashes?: number
  /** Default 16,384. */
  readonly maxBodyBytes?: number
  /** Named in the challenge to a client that authenticates itself. Default `token`. */
  readonly realm?: string
  /** The clock, milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

const wholeNumber = z.int().min(1)
const failureLimit = (limit: number) =>
  z.strictObject({ limit: wholeNumber, windowMs: wholeNumber }).default({ limit, windowMs: 900_000 })

const schema = z.strictObject({
  directory: objectOption<Directory>('a Directory, for example memoryDirectory()', 'findUser'),
  issuer: z.string().min(1),
  audience: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)], 'must be a string or a list of strings'),
  secret: z
    .union([z.string(), z.instanceof(Uint8Array)], 'must be a string or bytes')
    .transform((secret) => (typeof secret === 'string' ? Buffer.from(secret) : Buffer.copyBytesFrom(secret)))
    .refine((secret) => secret.length >= 32, 'must have 32 bytes or more (RFC 7518, 3.2)'),
  lifetimeSeconds: wholeNumber.max(86_400).default(3600),
  directoryTimeoutMs: wholeNumber.max(60_000).default(5_000),
  limits: objectOption<LimitStore>('a LimitStore, for example memoryLimitStore()', 'take', 'release').optional(),
  failuresPerUser: failureLimit(10),
  failuresPerAddress: failureLimit(100),
  trustProxy: z.custom<TrustProxy>().default(false),
  proxyHeader: z.enum(['x-forwarded-for', 'forwarded']).default('x-forwarded-for'),
  decoyHash: z
    .string()
    .refine(isPasswordHash, `must be ${phcShape}`)
    .default(() => decoyPasswordHash()),
  maxConcurrentHashes: wholeNumber.default(threadsToSpare),
  maxQueuedHashes: wholeNumber.default(32),
  maxBodyBytes: wholeNumber.default(16_384),
  realm: z.string().regex(challengeText).default('token'),
  now: functionOption<() => number>().default(() => Date.now),
})

const wrongPassword = tokenRefusal('invalid_grant', 'The username or the password is wrong.', {
  code: 'invalid_credentials',
})

/**
 * `POST /v1/token`: exchanges a username and a password for a JSON Web Token (RFC 6749, 4.3; RFC 9068) that `auth` accepts. Answers, also
 * refusals, have OAuth's own bodies and are never cached. An unknown user, a disabled one and a wrong password get the same bytes after
 * the same work. Clients have no credentials here: one that sends any is `invalid_client`.
 *
 * RFC 9700 says that this grant must not be used where another can be; making the route says so once, as a process warning. Mount it only if
 * you have users.
 *
 * @throws TollgateError `config_invalid` from the factory; `client_closed` to `next` when the caller leaves
 * @example app.use('/v1/token', tokenRoute({ directory, issuer: 'https://api.acme.com', audience: 'acme', secret, limits: memoryLimitStore() }))
 */
export function tokenRoute(options: TokenRouteOptions): Handler {
  const settings = checkedOptions('tokenRoute', schema, options)
  const { directory, issuer, audience, lifetimeSeconds, limits, trustProxy, proxyHeader, now } = settings
  checkTrustProxy(trustProxy)
  warnOnce()
  const queue = hashQueue({ maxConcurrent: settings.maxConcurrentHashes, maxQueued: settings.maxQueuedHashes })
  const throttle =
    limits === undefined
      ? undefined
      : tokenThrottle({
          limits,
          perUser: settings.failuresPerUser,
          perAddress: settings.failuresPerAddress,
          addressOf: (req) => addressKey(clientAddress(req, { trustProxy, proxyHeader })),
        })
  let signingKey: Promise<CryptoKey> | undefined

  /** The user whose password this is; a refusal else. */
  const logIn = async ({ username, password }: PasswordGrant, context: RequestContext) => {
    let user: UserRecord | undefined
    try {
      user =
        (await answerWithin(Promise.resolve(directory.findUser(username)), settings.directoryTimeoutMs)) ?? undefined
      if (user !== undefined && !(isPrincipalName(user.tenant) && Array.isArray(user.scopes))) {
        throw new TypeError("The directory's record of a user lacks a tenant or scopes.")
      }
    } catch (error) {
      context.log?.error({ err: error }, 'the directory failed')
      return tokenDelay('identity_unavailable', 'Users cannot be looked up right now.', 1000)
    }
    const kept = user?.passwordHash
    const passwordHash = kept !== undefined && isPasswordHash(kept) ? kept : undefined
    const right = await queue.run(() => verifyPassword(password, passwordHash ?? settings.decoyHash), context.signal)
    if (right === undefined) return tokenDelay('overloaded', 'Too many log in at once.', 5000)
    return user !== undefined && passwordHash !== undefined && right && user.disabled !== true ? user : wrongPassword
  }

  const tokenFor = async (user: UserRecord, scopes: readonly string[], clientId: string | undefined) => {
    signingKey ??= importSecret(settings.secret, 'HS256')
    const issuedAt = Math.floor(now() / 1000)
    const claims = {
      tenant: user.tenant,
      scope: scopes.join(' '),
      ...(user.tier === undefined ? undefined : { tier: user.tier }),
      ...(clientId === undefined ? undefined : { client_id: clientId }),
    }
    return new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256', typ: 'at+jwt' })
      .setIssuer(issuer)
      .setSubject(user.username)
      .setAudience(audience)
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + lifetimeSeconds)
      .setJti(randomUUID())
      .sign(await signingKey)
  }

  const grant = async (context: RequestContext, req: IncomingMessage): Promise<TokenResponse | TokenRefusal> => {
    const request = await passwordGrant(req, settings)
    if ('status' in request) return request

    let attempt: Attempt | undefined
    try {
      attempt = await throttle?.(req, request.username)
    } catch (error) {
      // Not knowing how often someone has guessed is no reason to let them guess.
      context.log?.error({ err: error }, 'the limit store failed')
      return tokenDelay('overloaded', 'Nobody can log in right now.', 1000)
    }
    if (attempt?.allowed === false) {
      return tokenDelay('rate_limited', 'Too many wrong passwords: wait, then try again.', attempt.retryAfterMs)
    }
    let outcome: UserRecord | TokenRefusal | undefined
    try {
      outcome = await logIn(request, context)
    } finally {
      // Only a password that was looked at and found wrong counts.
      if (outcome !== wrongPassword) await attempt?.forgive().catch(() => {})
    }
    if ('status' in outcome) return outcome

    const scopes = request.scopes ?? outcome.scopes
    if (!scopes.every((scope) => outcome.scopes.includes(scope))) {
      return tokenRefusal('invalid_scope', 'The user does not have all of these scopes.')
    }
    return {
      access_token: await tokenFor(outcome, scopes, request.clientId),
      token_type: 'Bearer',
      expires_in: lifetimeSeconds,
      scope: scopes.join(' '),
    }
  }

  return endpoint('tokenRoute', async (context, req, res) => {
    context.route ??= '/v1/token'
    // Before anything can fail: RFC 6749, 5.1.
    res.setHeader('cache-control', 'no-store').setHeader('pragma', 'no-cache')
    const answer = await grant(context, req)
    if ('status' in answer) {
      context.error = answer.code
      sendJson(res, answer.status, answer.body, answer.headers)
    } else sendJson(res, 200, answer)
  })
}

let warned = false

function warnOnce(): void {
  if (warned) return
  warned = true
  process.emitWarning(
    'tokenRoute: the password grant hands passwords to clients, and RFC 9700 (2.4) says it must not be used. Prefer API keys, or tokens of an ' +
      'identity provider (auth({ jwt: { jwksUrl } })).',
    { code: 'TOLLGATE_PASSWORD_GRANT' },
  )
}
