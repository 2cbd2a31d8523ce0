import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { configInvalid, isTollgateError } from '../errors.js'
import { isJsonType, jsonBody } from '../http/body.js'
import { addressKey, checkTrustProxy, clientAddress, type TrustProxy } from '../http/client-address.js'
import type { RequestContext } from '../http/context.js'
import { isFormType } from '../http/form-field.js'
import { type Handler, middleware } from '../http/handler.js'
import { onEnd } from '../http/observe.js'
import { type RateLimitFieldStyle, rateLimitFieldStyles } from '../http/rate-limit-fields.js'
import { onBranchEnd, onDispatch, onUsage } from '../http/record-usage.js'
import { pathOf } from '../http/route-template.js'
import { costNanoUsd } from '../money.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import type { PriceTable } from '../price-table.js'
import type { Principal } from '../principal.js'
import { isPromise } from '../stores/awaitable.js'
import type { ClaimState, LimitStore } from '../stores/limit-store.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import type { Target } from '../target.js'
import type { Usage } from '../usage.js'
import { limitAttempts, tokensOf } from './limit-attempts.js'
import { estimateFromBody, estimateOfForm, type LimitEstimate } from './limit-estimate.js'
import { limitExpectation } from './limit-expectation.js'
import {
  type CompiledRule,
  compileRule,
  type LimitMeasure,
  type LimitRule,
  type LimitSubject,
  limitRule,
} from './limit-rules.js'
import { type Running, runningRequests } from './limit-running.js'
import { type Entry, type LimitEvent, limitTaking, type Taken } from './limit-taking.js'

export type { LimitAmount, LimitPer } from './limit-rules.js'
export type { LimitEstimate, LimitEvent, LimitMeasure, LimitRule, LimitSubject }

/** How a caller stands with one rule. */
export interface LimitStanding {
  readonly rule: string
  readonly measure: LimitMeasure
  /** Milliseconds; `null` for concurrency. */
  readonly windowMs: number | null
  /** Would a request pass? */
  readonly allowed: boolean
  /** Units; nano-USD for money. */
  readonly limit: number
  readonly used: number
  /** Of `used`, for requests that are not over. */
  readonly held: number
  readonly remaining: number
  readonly resetMs: number
  readonly shadow: boolean
}

export interface LimitsOptions {
  readonly rules: readonly LimitRule[]
  /** Where the counts are. Default: a `memoryLimitStore()` of its own. */
  readonly store?: LimitStore
  /** Needed for rules of money: what models cost. */
  readonly prices?: PriceTable
  /** Prices of whoever calls, instead of `prices`: a tenant's own, or `markedUp(prices, 20)`. `undefined`: those of `prices`. */
  readonly pricesOf?: (principal: Principal | undefined) => PriceTable | undefined
  /** How much a request will use, where the default (JSON bodies of OpenAI and Anthropic) cannot tell. */
  readonly estimate?: (
    req: IncomingMessage,
    context: RequestContext,
  ) => LimitEstimate | undefined | Promise<LimitEstimate | undefined>
  /** Counts the tokens of a text. Default: its bytes by three. */
  readonly countTokens?: (text: string, model: string | undefined) => number
  /** Output that is reserved for callers of whom nothing is known and who do not bound it, tokens. Default 1,024. */
  readonly defaultOutputTokens?: number
  /** Told of refusals, thresholds and failures. Must not throw. */
  readonly onEvent?: (event: LimitEvent) => void
  /** `true`: do not count this request. */
  readonly skip?: (req: IncomingMessage, context: RequestContext) => boolean
  /** How limits are told. Default `draft-11` and `openai`; `false` for not at all (`Retry-After` stays). */
  readonly headers?: RateLimitFieldStyle | readonly RateLimitFieldStyle[] | false
  /** Processes that share the callers, for `onStoreError: 'local'`. Default 1. */
  readonly instances?: number
  /** How long an asynchronous store may take, milliseconds. Default 500. */
  readonly storeTimeoutMs?: number
  readonly trustProxy?: TrustProxy
  readonly proxyHeader?: 'x-forwarded-for' | 'forwarded'
  /** Bits of an IPv6 address that name one caller, 32 to 128. Default 56. */
  readonly ipv6PrefixLength?: number
  /** Milliseconds since the epoch, for calendar rules. Default `Date.now`. */
  readonly now?: () => number
}

/** The middleware, and what the routes about limits ask. */
export interface Limits extends Handler {
  /** How the caller stands now; with `model`, also with the rules of that model. Takes nothing. Rejects with `store_unavailable`. */
  standing(req: IncomingMessage, context: RequestContext, target?: Target): Promise<readonly LimitStanding[]>
  /** Would a request of this size pass, and by which rules not? Takes nothing. Rejects with `store_unavailable`. */
  check(
    req: IncomingMessage,
    context: RequestContext,
    estimate: LimitEstimate,
  ): Promise<{ readonly allowed: boolean; readonly refusedBy: readonly string[] }>
  /** Stops renewing what is held. */
  close(): void
}

/** What answers there is no text, most likely: its route tells how much it is. */
const mediaPath = /\/(?:images\/(?:generations|edits)|audio\/speech)$/

const countedKey = Symbol.for('tollgate.counted')

/** What has counted a request, the latest first. */
interface Counted {
  readonly store: LimitStore
  readonly entries: readonly Entry[]
  readonly before: Counted | undefined
}

const style = z.enum(rateLimitFieldStyles)
const schema = z.strictObject({
  rules: z
    .array(limitRule)
    .min(1)
    .refine((rules) => new Set(rules.map(({ name }) => name)).size === rules.length, 'must have names of their own'),
  store: objectOption<LimitStore>('a LimitStore, for example memoryLimitStore()', 'take', 'settle', 'renew').optional(),
  prices: objectOption<PriceTable>('a PriceTable, for example priceTable()', 'price').optional(),
  pricesOf: functionOption<NonNullable<LimitsOptions['pricesOf']>>().optional(),
  estimate: functionOption<NonNullable<LimitsOptions['estimate']>>().optional(),
  countTokens: functionOption<NonNullable<LimitsOptions['countTokens']>>().optional(),
  defaultOutputTokens: z.int().min(0).default(1_024),
  onEvent: functionOption<NonNullable<LimitsOptions['onEvent']>>().optional(),
  skip: functionOption<NonNullable<LimitsOptions['skip']>>().optional(),
  headers: z.union([style, z.array(style), z.literal(false)]).default(['draft-11', 'openai']),
  instances: z.int().min(1).default(1),
  storeTimeoutMs: z.int().min(1).max(60_000).default(500),
  trustProxy: z.custom<TrustProxy>().default(false),
  proxyHeader: z.enum(['x-forwarded-for', 'forwarded']).default('x-forwarded-for'),
  ipv6PrefixLength: z.int().min(32).max(128).default(56),
  now: functionOption<() => number>().default(() => Date.now),
})

/**
 * Limits requests, tokens, money and concurrency, per key, user, team, tenant, model or address, by as many rules as you like. All rules that can be told at the arrival of a request are decided in one step
 * of the store, all or nothing; those of the model that is called, and what its price needs beyond what was reserved, in one more before it is called. A refusal charges nothing, and names
 * the rules that refused.
 *
 * Tokens and money are reserved beforehand (the prompt as counted, the output as bounded by the caller, or learned; pictures, sound and rows as their routes tell it) and settled at the end by what was used;
 * nothing for a call that failed or was answered from the cache. What is held by a process that has died is free again after `leaseMs`.
 *
 * Mount it after `auth` and before `cost`, `cache` and the routes. Reads `principal`, `usage`, `costNanoUsd`, `cache`; writes no slot.
 *
 * @throws TollgateError `rate_limited` (429, with `Retry-After`), `budget_exceeded` (402, not to be retried), `store_unavailable` (503, for rules that are `closed`); from the factory `config_invalid`
 * @example
 * app.use(auth({ directory }), limits({ prices, rules: [
 *   { name: 'rpm', measure: 'requests', per: 'key', limit: { free: 10, default: 600 } },
 *   { name: 'month', measure: 'money', per: 'tenant', limit: '50.00', calendar: 'month', timeZone: 'Europe/Berlin' },
 * ] }))
 */
export function limits(options: LimitsOptions): Limits {
  const settings = checkedOptions('limits', schema, options)
  const { prices, pricesOf, countTokens, skip, storeTimeoutMs, now, onEvent, instances } = settings
  const tableOf = (principal: Principal | undefined) => pricesOf?.(principal) ?? prices
  checkTrustProxy(settings.trustProxy)
  const rules = settings.rules.map(compileRule)
  if (prices === undefined && rules.some(({ measure }) => measure === 'money')) {
    throw configInvalid('limits: rules of money need prices, for example priceTable().')
  }
  const store = settings.store ?? memoryLimitStore()
  const styles = settings.headers === false ? [] : [settings.headers].flat()
  const taking = limitTaking({ store, storeTimeoutMs, instances, styles, onEvent })
  const expectation = limitExpectation(settings.defaultOutputTokens)
  const running = runningRequests(Math.min(20_000, ...settings.rules.map(({ leaseMs }) => leaseMs / 3)))
  const asksAgain = rules.some(({ perModel }) => perModel)
  const hasPlaces = rules.some(({ measure }) => measure === 'concurrency')
  const wantsEstimate = rules.some(({ measure }) => measure !== 'requests' && measure !== 'concurrency')

  const addressOf = (req: IncomingMessage) => {
    let address: string | undefined
    return () => {
      const { 'x-forwarded-for': forwardedFor, forwarded } = req.headers
      if (options.trustProxy === undefined && (forwardedFor ?? forwarded) !== undefined) {
        warnOnce(
          'A request came with X-Forwarded-For or Forwarded, but trustProxy is not set: everyone behind a proxy shares one limit. Set trustProxy, to false if there is no proxy.',
        )
      }
      address ??= addressKey(clientAddress(req, settings), settings.ipv6PrefixLength)
      return address
    }
  }

  const nanoUsdOf = (principal: Principal | undefined, target: Target, usage: Usage): number | undefined => {
    const price = tableOf(principal)?.price(target, usage)
    return price === undefined ? undefined : costNanoUsd(usage, price)
  }
  /** What it may cost at the most: nobody knows beforehand whether a model will think, draw or write. */
  const mostNanoUsdOf = (principal: Principal | undefined, target: Target, usage: Usage): number | undefined => {
    const price = tableOf(principal)?.price(target, usage)
    if (price === undefined) return undefined
    const { outputToken, reasoningToken = 0, outputImageToken = 0 } = price
    return costNanoUsd(usage, { ...price, outputToken: Math.max(outputToken, reasoningToken, outputImageToken) })
  }
  /** Units that rules are asked for beforehand, for a request of this size. */
  const costsOf = (subject: LimitSubject, of: LimitEstimate | undefined): ((rule: CompiledRule) => number) => {
    const { principal, target = { provider: '', model: of?.model ?? '' } } = subject
    let known: { readonly usage: Usage | undefined } | undefined
    return (rule) => {
      if (rule.measure === 'requests') return rule.units(subject)
      if (rule.measure === 'concurrency') return 1
      known ??= { usage: expectation.usage(subject, of) }
      const { usage } = known
      if (usage === undefined) return 0
      return rule.measure === 'money' ? (mostNanoUsdOf(principal, target, usage) ?? 0) : tokensOf(rule.measure, usage)
    }
  }

  const entriesOf = (
    subject: LimitSubject,
    address: () => string,
    wanted: (rule: CompiledRule) => boolean,
    cost: (rule: CompiledRule) => number,
  ): Entry[] => {
    const time = now()
    const entries: Entry[] = []
    for (const rule of rules) {
      if (!wanted(rule)) continue
      const claim = rule.claim(subject, cost(rule), address, time)
      if (claim !== undefined) entries.push({ rule, claim })
    }
    return entries
  }

  const warned = new Set<string>()
  const warnOnce = (message: string): void => {
    if (warned.has(message)) return
    warned.add(message)
    process.emitWarning(`limits: ${message}`, { code: 'TOLLGATE_LIMITS' })
  }

  /** Two that would count the same caller in the same store by the same rule count a request once. */
  const notCountedYet = (req: IncomingMessage, entries: Entry[]): Entry[] => {
    const carrier = req as { [countedKey]?: Counted }
    const before = carrier[countedKey]
    carrier[countedKey] = { store, entries, before }
    if (before === undefined) return entries
    return entries.filter(({ rule, claim }) => {
      for (let each: Counted | undefined = before; each !== undefined; each = each.before) {
        if (each.store !== store || !each.entries.some((other) => other.claim.key === claim.key)) continue
        warnOnce(
          `Two rules named "${rule.name}" with one store saw the same request; it is counted once. Mount one, or give the second another name.`,
        )
        return false
      }
      return true
    })
  }

  const estimateOf = async (req: IncomingMessage, context: RequestContext): Promise<LimitEstimate | undefined> => {
    const own = settings.estimate === undefined ? undefined : await settings.estimate(req, context)
    if (own !== undefined || req.method !== 'POST') return own
    if (isFormType(req.headers['content-type'])) return estimateOfForm
    // What a parser of the host has read is taken by the routes, whatever its type.
    const { body } = req as { body?: unknown }
    if (body === undefined && !isJsonType(req.headers['content-type'])) return undefined
    try {
      return estimateFromBody(await jsonBody(req), countTokens)
    } catch (error) {
      // A body that is none is counted all the same; whoever reads it next says what is wrong with it.
      if (isTollgateError(error) && error.code !== 'client_closed') return undefined
      throw error
    }
  }

  const attempts = limitAttempts({
    rules,
    taking,
    costsOf,
    entriesOf,
    nanoUsdOf,
    learn: expectation.learn,
  })

  const handler = middleware('limits', (context, req, res) => {
    if (skip?.(req, context) === true) return undefined
    const address = addressOf(req)
    const subject: LimitSubject = { req, context, principal: context.principal, target: undefined }
    const begin = (estimate: LimitEstimate | undefined) => {
      const isMedia = estimate !== undefined && estimate !== estimateOfForm && mediaPath.test(pathOf(req))
      const arriving = isMedia ? { ...estimate, maxOutputTokens: 0 } : estimate
      const asked = entriesOf(subject, address, ({ perModel }) => !perModel, costsOf(subject, arriving))
      const entries = notCountedYet(req, asked)
      const admit = (taken: Taken | undefined): void => {
        if (!wantsEstimate && !asksAgain && !hasPlaces) return
        const run: Running = {
          subject,
          estimate,
          isWhole: !isMedia,
          taken: taken === undefined ? [] : [taken],
          lanes: new Map(),
          settled: new Map(),
        }
        if (wantsEstimate || asksAgain) {
          onDispatch(context, (_context, target, branch) => attempts.dispatch(run, target, branch, address, res))
          onUsage(context, (_context, call) => attempts.used(run, call))
          onBranchEnd(context, (_context, branch) => attempts.end(run, branch))
        }
        const over = running.add(run)
        onEnd(req, res, (end) => {
          over()
          attempts.finish(run, end)
        })
      }
      const taken = taking.take(subject, res, entries)
      return isPromise(taken) ? taken.then(admit) : admit(taken)
    }
    return wantsEstimate ? estimateOf(req, context).then(begin) : begin(undefined)
  })

  /** All rules that hold for a caller, with what a request of this size asks of each. */
  const allEntries = (req: IncomingMessage, context: RequestContext, target?: Target, of?: LimitEstimate): Entry[] => {
    const subject: LimitSubject = { req, context, principal: context.principal, target }
    return entriesOf(subject, addressOf(req), () => true, costsOf(subject, of))
  }

  return Object.assign(handler, {
    async standing(req: IncomingMessage, context: RequestContext, target?: Target): Promise<readonly LimitStanding[]> {
      const entries = allEntries(req, context, target)
      const states = await taking.peek(entries)
      return entries.map(({ rule, claim }, index): LimitStanding => {
        const { allowed, limit, used, held, remaining, resetMs } = states[index] as ClaimState
        const { name, measure, shadow } = rule
        const windowMs =
          claim.kind === 'bucket' ? claim.windowMs : claim.kind === 'window' ? claim.endsAt - claim.startsAt : null
        return { rule: name, measure, windowMs, allowed, limit, used, held, remaining, resetMs, shadow }
      })
    },
    async check(req: IncomingMessage, context: RequestContext, estimate: LimitEstimate) {
      const { model } = estimate
      const entries = allEntries(req, context, model === undefined ? undefined : { provider: '', model }, estimate)
      const states = await taking.peek(entries)
      const refusedBy = entries.filter(({ rule }, index) => !rule.shadow && states[index]?.allowed === false)
      return { allowed: refusedBy.length === 0, refusedBy: refusedBy.map(({ rule }) => rule.name) }
    },
    close: () => running.close(),
  })
}
