import type { IncomingMessage, ServerResponse } from 'node:http'
import { z } from 'zod'
import { checkedOptions, configInvalid, isTollgateError, TollgateError } from '../errors.js'
import { addressKey, checkTrustProxy, clientAddress, type TrustProxy } from '../http/client-address.js'
import type { RequestContext } from '../http/context.js'
import { type Handler, middleware } from '../http/handler.js'
import {
  addRateLimitFields,
  type RateLimitFieldStyle,
  type RateLimitPolicy,
  rateLimitFieldStyles,
  rateLimitPolicy,
} from '../http/rate-limit-fields.js'
import { principalKey } from '../principal.js'
import type { BucketClaim, ClaimState, LimitStore, Verdict } from '../stores/limit-store.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'

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
  /** Where the counts are. Default: a {@link memoryLimitStore} of its own. */
  readonly store?: LimitStore | undefined
  /** Limits by `principal.tier`. Default {@link defaultRateLimitTiers}. */
  readonly tiers?: Readonly<Record<string, RateLimitTier>> | undefined
  /** For principals without a tier, or with one that `tiers` does not have. Default `free`. */
  readonly defaultTier?: string | undefined
  /** For callers without a principal. Default: the default tier. */
  readonly anonymous?: RateLimitTier | undefined
  /** Whom to count, instead of the principal or the address; `undefined` for those after all. The tenant is added. */
  readonly key?: ((req: IncomingMessage, context: RequestContext) => string | undefined) | undefined
  /** Units of this request, 0 or more. 0 is let through unless nothing at all is left. Default 1. */
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
const tier = z.strictObject({
  limit: units,
  windowMs: z.number().positive().default(60_000),
  burst: units.optional(),
})
const callback = <Callback>() =>
  z.custom<Callback>((value) => typeof value === 'function', 'must be a function').optional()
const style = z.enum(rateLimitFieldStyles)

const schema = z.strictObject({
  store: z
    .custom<LimitStore>(
      (value) => typeof (value as LimitStore | null)?.take === 'function',
      'must be a LimitStore, for example memoryLimitStore()',
    )
    .optional(),
  tiers: z.record(z.string(), tier).optional(),
  defaultTier: z.string().default('free'),
  anonymous: tier.optional(),
  key: callback<NonNullable<RateLimitOptions['key']>>(),
  cost: callback<NonNullable<RateLimitOptions['cost']>>(),
  skip: callback<NonNullable<RateLimitOptions['skip']>>(),
  headers: z.union([style, z.array(style), z.literal(false)]).default('draft-11'),
  name: z.string().default('requests'),
  trustProxy: z.unknown().optional(),
  proxyHeader: z.enum(['x-forwarded-for', 'forwarded']).default('x-forwarded-for'),
  ipv6PrefixLength: z.int().min(32).max(128).default(56),
  onStoreError: z.enum(['open', 'closed']).default('open'),
  storeTimeoutMs: z.number().positive().max(60_000).default(100),
})

const quotaExceeded = 'https://iana.org/assignments/http-problem-types#quota-exceeded'

const countedKey = Symbol.for('tollgate.counted')

interface Carrier {
  [countedKey]?: Counted
}

/** What has counted a request, the latest first. */
interface Counted {
  readonly store: LimitStore
  readonly key: string
  readonly before: Counted | undefined
}

interface Rule extends Required<Omit<RateLimitTier, 'burst'>> {
  readonly tier: string
  readonly limit: number
  readonly windowMs: number
  readonly burst: number
  readonly policy: RateLimitPolicy
}

/**
 * Limits requests per principal, or per client address where there is none: a bucket that refills steadily, so there is no window
 * edge to wait for or to burst at. Refused requests are not charged. Tells the limit on every answer.
 *
 * Mount it after `auth` to limit by tier; before `auth` too, under another `name`, to limit by address those who guess credentials.
 * It counts whatever reaches it: mount health checks and CORS preflights (`OPTIONS`) before it, or `skip` them. Two that would
 * count the same caller in the same store under the same name count one request once.
 *
 * Reads `context.principal`, `context.log`; writes no slot.
 *
 * @throws TollgateError `rate_limited` (429) with `Retry-After`; `invalid_request` if the cost is over the burst; `store_unavailable`
 * (503) if the store fails and `onStoreError` is `closed`; `config_invalid` here for wrong options, at a request for a `cost` or `key` that
 * returns no number or no string
 * @example app.use(auth(…), rateLimit({ tiers: { free: { limit: 10 }, pro: { limit: 100, burst: 20 } } }))
 */
export function rateLimit(options: RateLimitOptions = {}): Handler {
  const checked = checkedOptions('rateLimit', schema, options)
  const { key: customKey, cost, skip, name, defaultTier, ipv6PrefixLength, onStoreError, storeTimeoutMs } = checked
  const { trustProxy = false } = checked
  checkTrustProxy(trustProxy)
  const addressOptions = { trustProxy, proxyHeader: checked.proxyHeader }
  const store: LimitStore = checked.store ?? memoryLimitStore()
  const styles = checked.headers === false ? [] : [checked.headers].flat()
  const rules = new Map(
    Object.entries(checked.tiers ?? tierDefaults()).map(([tierName, limits]) => [
      tierName,
      ruleOf(name, tierName, limits),
    ]),
  )
  const fallback = rules.get(defaultTier)
  if (fallback === undefined) {
    throw configInvalid(
      `rateLimit: defaultTier "${defaultTier}" is not among the tiers: ${[...rules.keys()].join(', ')}.`,
    )
  }
  const fallbackRule = fallback
  const anonymous = checked.anonymous === undefined ? fallback : ruleOf(name, 'anonymous', checked.anonymous)
  const warnings = new Set<string>()
  let storeWarnedAt = Number.NEGATIVE_INFINITY

  return middleware('rateLimit', (context, req, res) => {
    if (skip !== undefined && skip(req, context) === true) return undefined
    const key = keyOf(req, context)
    if (countedBefore(req, key)) return undefined
    const rule = ruleFor(context)
    const claim: BucketClaim = {
      kind: 'bucket',
      rule: name,
      key,
      limit: rule.limit,
      windowMs: rule.windowMs,
      burst: rule.burst,
      cost: cost === undefined ? 1 : costOf(req, context, cost),
    }
    let answer: Verdict | Promise<Verdict>
    try {
      answer = store.take([claim])
    } catch (error) {
      return storeFailed(error, context)
    }
    if (!isPromise(answer)) return decide(answer, rule, claim, res)
    return inTime(answer).then(
      (verdict) => decide(verdict, rule, claim, res),
      (error: unknown) => storeFailed(error, context),
    )
  })

  function decide(verdict: Verdict, rule: Rule, claim: BucketClaim, res: ServerResponse): void {
    const state = verdict.states[0] as ClaimState
    const fields = styles.length === 0 ? {} : addRateLimitFields(res, styles, rule.policy, state)
    if (verdict.allowed) return
    throw refusal(rule, claim, state, fields)
  }

  function keyOf(req: IncomingMessage, context: RequestContext): string {
    const { principal } = context
    const chosen = customKey?.(req, context)
    if (chosen !== undefined) {
      if (typeof chosen !== 'string' || chosen === '') {
        throw configInvalid('rateLimit: key() must return a string that is not empty, or undefined, at once.')
      }
      // Whatever is in the caller's part, it is last, so it cannot reach into the tenant's.
      return `${name}|key|${principal === undefined ? '' : encodeURIComponent(principal.tenant)}|${chosen}`
    }
    if (principal !== undefined) return `${name}|principal|${principalKey(principal)}`
    const { headers } = req
    if (options.trustProxy === undefined && (headers['x-forwarded-for'] ?? headers['forwarded']) !== undefined) {
      warnOnce(
        'proxy',
        'rateLimit: a request came with X-Forwarded-For or Forwarded, but trustProxy is not set: everyone behind a proxy shares one limit. Set trustProxy, to false if there is no proxy.',
      )
    }
    return `${name}|address|${addressKey(clientAddress(req, addressOptions), ipv6PrefixLength)}`
  }

  function ruleFor({ principal }: RequestContext): Rule {
    if (principal === undefined) return anonymous
    const { tier: tierName } = principal
    if (tierName === undefined) return fallbackRule
    const rule = rules.get(tierName)
    if (rule !== undefined) return rule
    warnOnce(
      `tier ${tierName}`,
      `rateLimit: no tier "${tierName}" is configured; its callers get the limits of "${defaultTier}".`,
    )
    return fallbackRule
  }

  function countedBefore(req: IncomingMessage, key: string): boolean {
    const carrier = req as Carrier
    const latest = carrier[countedKey]
    for (let each = latest; each !== undefined; each = each.before) {
      if (each.store !== store || each.key !== key) continue
      warnOnce(
        'twice',
        `rateLimit: two limiters named "${name}" with one store saw the same request; it is counted once. Mount one, or give the second another name.`,
      )
      return true
    }
    carrier[countedKey] = { store, key, before: latest }
    return false
  }

  function storeFailed(error: unknown, context: RequestContext): void {
    // A mistake in the program is no outage.
    if (isTollgateError(error, 'config_invalid')) throw error
    const now = performance.now()
    if (now - storeWarnedAt >= 60_000) {
      storeWarnedAt = now
      const passed = onStoreError === 'open' ? 'requests pass unlimited' : 'requests are refused'
      const message = `rateLimit: the store failed; ${passed} until it answers again.`
      const reason = error instanceof Error ? error.message : String(error)
      if (context.log === undefined) process.emitWarning(`${message} ${reason}`, { code: 'TOLLGATE_STORE_FAILED' })
      else context.log.warn({ reason }, message)
    }
    if (onStoreError === 'open') return
    throw new TollgateError('store_unavailable', 'Limits cannot be checked right now. Try again in a moment.', {
      retryAfterMs: 1000,
      cause: error,
    })
  }

  function inTime(answer: Promise<Verdict>): Promise<Verdict> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`no answer within ${storeTimeoutMs} ms`))
        if (onStoreError === 'closed') answer.then(giveBack, () => undefined)
      }, storeTimeoutMs)
      answer.then(resolve, reject).finally(() => clearTimeout(timer))
    })
  }

  // The request was refused before the store had answered: what it took is not used.
  async function giveBack({ reservation }: Verdict): Promise<void> {
    try {
      if (reservation !== undefined) await store.release(reservation)
    } catch {
      // It refills by itself.
    }
  }

  function warnOnce(about: string, message: string): void {
    // Tiers come from credentials: a bound, should someone issue one per caller.
    if (warnings.has(about) || warnings.size >= 20) return
    warnings.add(about)
    process.emitWarning(message, { code: 'TOLLGATE_RATE_LIMIT' })
  }
}

function tierDefaults(): Readonly<Record<string, z.output<typeof tier>>> {
  return z.record(z.string(), tier).parse(defaultRateLimitTiers)
}

function ruleOf(name: string, tierName: string, { limit, windowMs, burst = limit }: z.output<typeof tier>): Rule {
  return { tier: tierName, limit, windowMs, burst, policy: rateLimitPolicy({ name, limit, windowMs, burst }) }
}

function costOf(
  req: IncomingMessage,
  context: RequestContext,
  cost: (req: IncomingMessage, context: RequestContext) => number,
): number {
  const units = cost(req, context)
  if (typeof units === 'number' && units >= 0 && units <= Number.MAX_SAFE_INTEGER) return units
  throw configInvalid(`rateLimit: cost() must return a number from 0 up, at once, not ${String(units)}.`)
}

function refusal(
  rule: Rule,
  claim: BucketClaim,
  { retryAfterMs }: ClaimState,
  fields: Readonly<Record<string, string>>,
): TollgateError {
  const { policy, limit, burst, windowMs } = rule
  const never = retryAfterMs === Number.POSITIVE_INFINITY
  if (never && limit > 0) {
    return new TollgateError(
      'invalid_request',
      `This request costs ${claim.cost}; at most ${burst} pass at once under the limit "${policy.name}", so it never can.`,
      { headers: fields },
    )
  }
  const details = { type: quotaExceeded, 'violated-policies': [policy.name] }
  if (never) {
    return new TollgateError(
      'rate_limited',
      `The limit "${policy.name}" of tier "${rule.tier}" lets nothing through.`,
      {
        // Honoured by the SDKs of OpenAI and Anthropic, which else retry every 429.
        headers: { ...fields, 'x-should-retry': 'false' },
        details,
      },
    )
  }
  return new TollgateError(
    'rate_limited',
    `Over the limit "${policy.name}": ${limit} per ${windowMs / 1000} s (tier "${rule.tier}"). Try again in ${Math.max(1, Math.ceil(retryAfterMs / 1000))} s.`,
    { headers: fields, details, retryAfterMs },
  )
}

function isPromise(value: Verdict | Promise<Verdict>): value is Promise<Verdict> {
  return typeof (value as Promise<Verdict>).then === 'function'
}
