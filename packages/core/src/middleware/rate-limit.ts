import type { IncomingMessage, ServerResponse } from 'node:http'
import { z } from 'zod'
import { configInvalid, isTollgateError, TollgateError } from '../errors.js'
import { addressKey, checkTrustProxy, clientAddress } from '../http/client-address.js'
import type { RequestContext } from '../http/context.js'
import { type Handler, middleware } from '../http/handler.js'
import { addRateLimitFields, type RateLimitPolicy, rateLimitPolicy } from '../http/rate-limit-fields.js'
import { checkedOptions } from '../options.js'
import { principalKey } from '../principal.js'
import { answerWithin } from '../stores/answer-within.js'
import { isPromise } from '../stores/awaitable.js'
import type { BucketClaim, ClaimState, LimitStore, Verdict } from '../stores/limit-store.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import { defaultRateLimitTiers, type RateLimitOptions, rateLimitOptions, rateLimitTier } from './rate-limit-options.js'

export { defaultRateLimitTiers, type RateLimitOptions, type RateLimitTier } from './rate-limit-options.js'

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

interface Rule {
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
  const checked = checkedOptions('rateLimit', rateLimitOptions, options)
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
    return decideLater(answer, rule, claim, context, res)
  })

  function decideLater(
    answer: Promise<Verdict>,
    rule: Rule,
    claim: BucketClaim,
    context: RequestContext,
    res: ServerResponse,
  ): Promise<void> {
    return answerWithin(answer, storeTimeoutMs).then(
      (verdict) => decide(verdict, rule, claim, res),
      (error: unknown) => {
        // Refused before the store has answered: what it takes all the same is not used.
        if (onStoreError === 'closed') answer.then(giveBack, () => {})
        storeFailed(error, context)
      },
    )
  }

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

function tierDefaults(): Readonly<Record<string, z.output<typeof rateLimitTier>>> {
  return z.record(z.string(), rateLimitTier).parse(defaultRateLimitTiers)
}

function ruleOf(
  name: string,
  tierName: string,
  { limit, windowMs, burst = limit }: z.output<typeof rateLimitTier>,
): Rule {
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
