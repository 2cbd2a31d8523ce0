import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import type { TrustProxy } from '../http/client-address.js'
import type { RequestContext } from '../http/context.js'
import { type RateLimitFieldStyle, rateLimitFieldStyles } from '../http/rate-limit-fields.js'
import { functionOption, objectOption } from '../options.js'
import type { LimitStore } from '../stores/limit-store.js'

/** How much one caller may. */
export interface RateLimitTier {
  /** Units per window; 0 refuses everything. */
  readonly limit: number
  /** Milliseconds in which `limit` units come back, steadily. Default 60,000. */
  readonly windowMs?: number | undefined
  /** Units at once, after a pause. Default `limit`. */
  readonly burst?: number | undefined
}

export interface RateLimitOptions {
  /** Where the counts are. Default: a `memoryLimitStore()` of its own. */
  readonly store?: LimitStore | undefined
  /** Limits by `principal.tier`. Default {@link defaultRateLimitTiers}. */
  readonly tiers?: Readonly<Record<string, RateLimitTier>> | undefined
  /** For principals without a tier, or with one that `tiers` does not have. Default `free`. */
  readonly defaultTier?: string | undefined
  /** For callers without a principal. Default: the default tier. */
  readonly anonymous?: RateLimitTier | undefined
  /** Whom to count, instead of the principal or the address; `undefined` for those after all. The tenant is added. */
  readonly key?: ((req: IncomingMessage, context: RequestContext) => string | undefined) | undefined
  /** Units of this request, 0 or more. 0 passes unless more than everything is used up. Default 1. */
  readonly cost?: ((req: IncomingMessage, context: RequestContext) => number) | undefined
  /** `true`: do not count this request. */
  readonly skip?: ((req: IncomingMessage, context: RequestContext) => boolean) | undefined
  /** How the limit is told. Default `draft-11`; `false` for not at all (`Retry-After` stays). */
  readonly headers?: RateLimitFieldStyle | readonly RateLimitFieldStyle[] | false | undefined
  /** The rule's name, told to callers and part of the store's key. Limiters that share store and name share counts. Default `requests`. */
  readonly name?: string | undefined
  /** Default `false`. */
  readonly trustProxy?: TrustProxy | undefined
  /** The field that trusted proxies write. Default `x-forwarded-for`. */
  readonly proxyHeader?: 'x-forwarded-for' | 'forwarded' | undefined
  /** Bits of an IPv6 address that name one caller, 32 to 128. Default 56. */
  readonly ipv6PrefixLength?: number | undefined
  /** When the store fails: let the request pass, or answer 503. Default `open`. */
  readonly onStoreError?: 'open' | 'closed' | undefined
  /** How long an asynchronous store may take, milliseconds. Default 100. */
  readonly storeTimeoutMs?: number | undefined
}

/** A minute: free 10, pro 100, enterprise 1000. */
export const defaultRateLimitTiers: Readonly<Record<'free' | 'pro' | 'enterprise', RateLimitTier>> = Object.freeze({
  free: Object.freeze({ limit: 10 }),
  pro: Object.freeze({ limit: 100 }),
  enterprise: Object.freeze({ limit: 1000 }),
})

const units = z.number().min(0).max(Number.MAX_SAFE_INTEGER)
/** The schema of {@link RateLimitTier}. */
export const rateLimitTier = z.strictObject({
  limit: units,
  windowMs: z.number().positive().default(60_000),
  burst: units.optional(),
})
const style = z.enum(rateLimitFieldStyles)

/** The schema of {@link RateLimitOptions}; `trustProxy` has a check of its own. */
export const rateLimitOptions = z.strictObject({
  store: objectOption<LimitStore>('a LimitStore, for example memoryLimitStore()', 'take', 'release').optional(),
  tiers: z.record(z.string(), rateLimitTier).optional(),
  defaultTier: z.string().default('free'),
  anonymous: rateLimitTier.optional(),
  key: functionOption<NonNullable<RateLimitOptions['key']>>().optional(),
  cost: functionOption<NonNullable<RateLimitOptions['cost']>>().optional(),
  skip: functionOption<NonNullable<RateLimitOptions['skip']>>().optional(),
  headers: z.union([style, z.array(style), z.literal(false)]).default('draft-11'),
  name: z.string().default('requests'),
  trustProxy: z.unknown().optional(),
  proxyHeader: z.enum(['x-forwarded-for', 'forwarded']).default('x-forwarded-for'),
  ipv6PrefixLength: z.int().min(32).max(128).default(56),
  onStoreError: z.enum(['open', 'closed']).default('open'),
  storeTimeoutMs: z.number().positive().max(60_000).default(100),
})
