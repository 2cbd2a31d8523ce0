import { z } from 'zod'
import type { TrustProxy } from '../http/client-address.js'
import { functionOption, objectOption } from '../options.js'
import type { IdentityStore } from '../stores/identity-store.js'

/** What the routes for administrators have in common. */
export interface AdminRouteOptions {
  readonly store: IdentityStore
  /** How long the store may take, milliseconds. Default 5,000. */
  readonly timeoutMs?: number
  /** Whose word on the caller's address is taken, for the audit log. Default `false`: nobody's, the address is the connection's. */
  readonly trustProxy?: TrustProxy
  /** Where the trusted proxies write it. Default `x-forwarded-for`. */
  readonly proxyHeader?: 'x-forwarded-for' | 'forwarded'
  /** The clock, milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

export const adminRouteOptions = z.strictObject({
  store: objectOption<IdentityStore>('an IdentityStore, for example memoryIdentityStore()', 'create', 'update', 'list'),
  timeoutMs: z.int().min(1).max(60_000).default(5_000),
  trustProxy: z.custom<TrustProxy>().default(false),
  proxyHeader: z.enum(['x-forwarded-for', 'forwarded']).default('x-forwarded-for'),
  now: functionOption<() => number>().default(() => Date.now),
})
