import { z } from 'zod'
import type { TrustProxy } from '../http/client-address.js'
import { challengeText } from '../middleware/auth-challenge.js'
import { functionOption, objectOption } from '../options.js'
import type { IdentityStore } from '../stores/identity-store.js'
import type { LimitStore } from '../stores/limit-store.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import { decoyPasswordHash, isPasswordHash, phcShape } from '../stores/password-hash.js'
import { threadsToSpare } from './hash-queue.js'
import type { FailureLimit } from './token-throttle.js'

export interface AuthorizationServerOptions {
  /** Where keys, users, refresh tokens and signing keys are. */
  readonly store: IdentityStore
  /** `iss` of the tokens, and where clients reach the server: an https URL without query; http on localhost only. */
  readonly issuer: string
  /** `aud` of the tokens. */
  readonly audience: string | readonly string[]
  /** Do users log in with a password? Default `false`; `true` warns once of RFC 9700. */
  readonly passwordGrant?: boolean
  /** How long an access token is good for. Default 900, at most 86,400. */
  readonly accessTokenSeconds?: number
  /** How long a refresh token is good for, each anew. Default 2,592,000 (30 days), from `accessTokenSeconds` to 31,536,000. */
  readonly refreshTokenSeconds?: number
  /** A signing key this old gets a successor. Default 30, at most 365. */
  readonly signingKeyDays?: number
  /** Which API keys are clients here. Default `live`. */
  readonly environment?: 'live' | 'test'
  /** Counts failures. Default `memoryLimitStore()`, which counts those of this process only. */
  readonly limits?: LimitStore
  /** Default 10 in 15 minutes. */
  readonly failuresPerUser?: FailureLimit
  /** Counted by address too. Default 10 in 15 minutes. */
  readonly failuresPerClient?: FailureLimit
  /** Default 100 in 15 minutes. */
  readonly failuresPerAddress?: FailureLimit
  /** How long the store may take for an answer, milliseconds. Default 5,000. */
  readonly directoryTimeoutMs?: number
  /** Whose word on the caller's address is taken. Default `false`: nobody's, the address is the connection's. */
  readonly trustProxy?: TrustProxy
  /** Where the trusted proxies write it. Default `x-forwarded-for`. */
  readonly proxyHeader?: 'x-forwarded-for' | 'forwarded'
  /** Hashes at once. Default: one less than libuv has threads or the machine has cores, at least 1. */
  readonly maxConcurrentHashes?: number
  /** Logins that wait for one; more are answered 503. Default 32. */
  readonly maxQueuedHashes?: number
  /** The hash that is worked through when there is no such user. */
  readonly decoyHash?: string
  /** Where token, revoke and introspect are mounted, for the metadata. Default `/v1`. */
  readonly basePath?: string
  /** Default 16,384. */
  readonly maxBodyBytes?: number
  /** Named in the challenge to a client. Default `token`. */
  readonly realm?: string
  /** The clock, milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

const wholeNumber = z.int().min(1)
const failureLimit = (limit: number) =>
  z.strictObject({ limit: wholeNumber, windowMs: wholeNumber }).default({ limit, windowMs: 900_000 })

const fields = z.strictObject({
  store: objectOption<IdentityStore>(
    'an IdentityStore, for example memoryIdentityStore()',
    'findApiKey',
    'redeemRefreshToken',
    'addSigningKey',
  ),
  issuer: z.string().refine(isIssuer, 'must be an https URL without query or fragment (http on localhost only)'),
  audience: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)], 'must be a string or a list of strings'),
  passwordGrant: z.boolean().default(false),
  accessTokenSeconds: wholeNumber.max(86_400).default(900),
  refreshTokenSeconds: wholeNumber.max(31_536_000).default(2_592_000),
  signingKeyDays: wholeNumber.max(365).default(30),
  environment: z.enum(['live', 'test']).default('live'),
  limits: objectOption<LimitStore>('a LimitStore, for example memoryLimitStore()', 'take', 'release', 'peek').default(
    () => memoryLimitStore(),
  ),
  failuresPerUser: failureLimit(10),
  failuresPerClient: failureLimit(10),
  failuresPerAddress: failureLimit(100),
  directoryTimeoutMs: wholeNumber.max(60_000).default(5_000),
  trustProxy: z.custom<TrustProxy>().default(false),
  proxyHeader: z.enum(['x-forwarded-for', 'forwarded']).default('x-forwarded-for'),
  maxConcurrentHashes: wholeNumber.default(threadsToSpare),
  maxQueuedHashes: wholeNumber.default(32),
  decoyHash: z
    .string()
    .refine(isPasswordHash, `must be ${phcShape}`)
    .default(() => decoyPasswordHash()),
  basePath: z
    .string()
    .regex(/^(?:\/[A-Za-z0-9._~-]+)*$/, 'must begin with / and not end with it')
    .default('/v1'),
  maxBodyBytes: wholeNumber.default(16_384),
  realm: z.string().regex(challengeText).default('token'),
  now: functionOption<() => number>().default(() => Date.now),
})

/** A login that is revoked is remembered for the life of a refresh token, which must cover its access tokens too. */
export const authorizationServerOptions = fields.refine(
  ({ accessTokenSeconds, refreshTokenSeconds }) => accessTokenSeconds <= refreshTokenSeconds,
  { path: ['refreshTokenSeconds'], message: 'must not be less than accessTokenSeconds' },
)

function isIssuer(text: string): boolean {
  if (!URL.canParse(text) || /[?#\s]/.test(text)) return false
  const { protocol, hostname, username, password } = new URL(text)
  if (username !== '' || password !== '') return false
  const local = hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
  return protocol === 'https:' || (protocol === 'http:' && local)
}
