import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import type { RequestContext } from '../http/context.js'
import { functionOption, objectOption } from '../options.js'
import type { CacheStore } from '../stores/cache-store.js'
import type { CacheScope } from './cache-key.js'

export interface CacheOptions {
  /** Default: a `memoryCacheStore()` of this cache's own. */
  readonly store?: CacheStore | undefined
  /** How long an asynchronous store may take to find an answer, milliseconds; then the handler answers. Default 100. */
  readonly storeTimeoutMs?: number | undefined
  /** How long an answer is kept, in milliseconds; a handler's `Cache-Control: max-age` may shorten it. Default 60,000. */
  readonly ttlMs?: number | undefined
  /** Among whom answers are shared. Default `'principal'`. */
  readonly scope?: CacheScope | undefined
  /** Callers without a principal: not cached, or sharing among themselves if they sent no credentials at all. Default `'bypass'`. */
  readonly anonymous?: 'bypass' | 'share' | undefined
  /** Default `['POST']`. */
  readonly methods?: ReadonlyArray<'GET' | 'POST'> | undefined
  /** Return false for requests to leave alone. Default: none. */
  readonly cacheable?: ((req: IncomingMessage, body: unknown) => boolean) | undefined
  /** Also keep answers to requests with a `temperature` over 0, so that a repeated question gets the same answer. Default false. */
  readonly nondeterministic?: boolean | undefined
  /** Request headers that answers depend on, besides those of the default. Default: none. */
  readonly keyHeaders?: readonly string[] | undefined
  /** Response headers kept besides `Content-Type` and `Content-Language`. Default: none. */
  readonly keepHeaders?: readonly string[] | undefined
  /** Larger answers are not kept. Bytes. Default 1 MiB. */
  readonly maxEntryBytes?: number | undefined
  /** How many requests may wait for one answer; further ones run on their own. Default 1,000. */
  readonly maxWaiters?: number | undefined
  /** How long one waits, in milliseconds, before it runs on its own. Default 30,000. */
  readonly maxWaitMs?: number | undefined
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly now?: (() => number) | undefined
  /** What the cache is called in `Cache-Status` and in keys. Default `'tollgate'`. */
  readonly name?: string | undefined
  /** Makes what a hit answers of the JSON that was stored: a route's own request id, `cached: true`. Default: the stored bytes as they are. */
  readonly onHit?: ((stored: unknown, context: RequestContext) => unknown) | undefined
}

const token = z
  .string()
  .regex(/^[A-Za-z*][\w!#$%&'*+.^`|~:/-]{0,63}$/, 'must be a token of RFC 9211: letters, digits, dashes')
const headerName = z.string().regex(/^[\w!#$%&'*+.^`|~-]+$/, 'must be the name of a header')

/** The schema of {@link CacheOptions}. */
export const cacheOptions = z.strictObject({
  store: objectOption<CacheStore>('a CacheStore, for example memoryCacheStore()', 'get', 'set').optional(),
  storeTimeoutMs: z.number().positive().max(60_000).default(100),
  ttlMs: z.int().min(1).default(60_000),
  scope: z.union([z.enum(['principal', 'tenant']), functionOption<Exclude<CacheScope, string>>()]).default('principal'),
  anonymous: z.enum(['bypass', 'share']).default('bypass'),
  methods: z
    .array(z.enum(['GET', 'POST']))
    .min(1)
    .default(['POST']),
  cacheable: functionOption<NonNullable<CacheOptions['cacheable']>>().optional(),
  nondeterministic: z.boolean().default(false),
  keyHeaders: z.array(headerName).default([]),
  keepHeaders: z.array(headerName).default([]),
  maxEntryBytes: z.int().min(1).default(1_048_576),
  maxWaiters: z.int().min(0).default(1_000),
  maxWaitMs: z.int().min(1).max(600_000).default(30_000),
  now: functionOption<() => number>().default(() => Date.now),
  name: token.default('tollgate'),
  onHit: functionOption<NonNullable<CacheOptions['onHit']>>().optional(),
})
