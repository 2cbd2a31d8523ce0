import type { LimitAmount, Limits } from './limits.js'
import { type SingleLimitOptions, singleLimit } from './single-limits.js'

/** The options of {@link rateLimit}. */
export type RateLimitOptions = Omit<SingleLimitOptions, 'limit' | 'leaseMs'> & {
  /** How much, as of a rule of `limits`. Default {@link defaultRateLimit}. */
  readonly limit?: SingleLimitOptions['limit']
}

/** Requests a minute by tier: free 10, pro 100, enterprise 1,000, others 10. */
export const defaultRateLimit: Readonly<Record<'free' | 'pro' | 'enterprise' | 'default', LimitAmount>> = Object.freeze(
  { free: 10, pro: 100, enterprise: 1_000, default: 10 },
)

/**
 * Limits requests: `limits` with one rule, by principal, or by address where there is none. A bucket that refills steadily, so there is no window edge to wait for or to burst at. Refused requests
 * are not charged. Several rules in one `limits` are decided in one step.
 *
 * Mount it after `auth` to limit by tier; before `auth` too, under another `name`, to limit by address those who guess credentials. It counts whatever reaches it: mount health checks and CORS
 * preflights (`OPTIONS`) before it, or `skip` them.
 *
 * @throws TollgateError as `limits`
 * @example app.use(auth(…), rateLimit({ limit: { free: 10, pro: 100, default: 10 }, burst: 20 }))
 */
export function rateLimit(options: RateLimitOptions = {}): Limits {
  return singleLimit('requests', 'requests', { limit: defaultRateLimit, ...options })
}
