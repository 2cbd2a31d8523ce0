import type { IncomingMessage, ServerResponse } from 'node:http'
import { z } from 'zod'
import { configInvalid, isTollgateError } from '../errors.js'
import { isJsonType, jsonBody } from '../http/body.js'
import { addressKey, checkTrustProxy, clientAddress, type TrustProxy } from '../http/client-address.js'
import type { RequestContext } from '../http/context.js'
import { isFormType } from '../http/form-field.js'
import { type Handler, middleware } from '../http/handler.js'
import { onEnd, type RequestEnd } from '../http/observe.js'
import { type RateLimitFieldStyle, rateLimitFieldStyles } from '../http/rate-limit-fields.js'
import { type EarlierCalls, earlierCalls, onDispatch, onUsage } from '../http/record-usage.js'
import { costNanoUsd } from '../money.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import type { PriceTable } from '../price-table.js'
import { type Principal, principalKey } from '../principal.js'
import { isPromise } from '../stores/awaitable.js'
import type { Claim, ClaimState, LimitStore } from '../stores/limit-store.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import type { Target } from '../target.js'
import { completionTokens, promptTokens, totalTokens, type Usage } from '../usage.js'
import { estimateFromBody, estimateOfForm, type LimitEstimate, learnedOutput } from './limit-estimate.js'
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
 * Tokens and money are reserved beforehand (the prompt as counted, the output as bounded by the caller, or learned) and settled at the end by what was used; nothing for a call that failed or was
 * answered from the cache. What is held by a process that has died is free again after `leaseMs`.
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
  const learned = learnedOutput(settings.defaultOutputTokens)
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

  /** Units that a rule is asked for beforehand. */
  const costOf = (rule: CompiledRule, subject: LimitSubject, of: LimitEstimate | undefined): number => {
    if (rule.measure === 'requests') return rule.units(subject)
    if (rule.measure === 'concurrency') return 1
    if (of === undefined) return 0
    const { principal, target } = subject
    const { inputTokens, model = '' } = of
    const outputTokens = of.maxOutputTokens ?? learned.expect(callerOf(principal), target?.model ?? model)
    const usage = { inputTokens, outputTokens, estimated: true }
    if (rule.measure !== 'money') return tokensOf(rule.measure, usage)
    const price = tableOf(principal)?.price(target ?? { provider: '', model }, usage)
    return price === undefined ? 0 : costNanoUsd(usage, price)
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
    const own = await settings.estimate?.(req, context)
    if (own !== undefined || req.method !== 'POST') return own
    if (isFormType(req.headers['content-type'])) return estimateOfForm
    if (!isJsonType(req.headers['content-type'])) return undefined
    try {
      return estimateFromBody(await jsonBody(req), countTokens)
    } catch (error) {
      // A body that is none is counted all the same; whoever reads it next says what is wrong with it.
      if (isTollgateError(error) && error.code !== 'client_closed') return undefined
      throw error
    }
  }

  /** What the model that was called last has used: of several that were, its part. */
  const ownOf = ({ subject: { context }, own, earlier }: Running): Used => {
    const { usage, costNanoUsd: nanoUsd } = context
    if (earlier === undefined) return { usage, nanoUsd }
    const before = earlier.costNanoUsd
    return { usage: own, nanoUsd: nanoUsd === undefined || before === undefined ? undefined : nanoUsd - before }
  }
  /** Units of a rule that this is; `undefined` if nothing is known. */
  const unitsUsed = (
    rule: CompiledRule,
    { usage, nanoUsd }: Used,
    target: Target | undefined,
    { principal }: LimitSubject,
  ): number | undefined => {
    if (rule.measure === 'requests' || rule.measure === 'concurrency') return undefined
    if (rule.measure !== 'money') return usage === undefined ? undefined : tokensOf(rule.measure, usage)
    if (nanoUsd !== undefined) return nanoUsd
    const price = usage === undefined || target === undefined ? undefined : tableOf(principal)?.price(target, usage)
    return usage === undefined || price === undefined ? undefined : costNanoUsd(usage, price)
  }
  /** An attempt before, that failed: what it has used is its model's. What counts for all models is settled at the end. */
  const endAttempt = (run: Running): void => {
    const { subject, ofModel, dispatched, own } = run
    run.ofModel = []
    for (const taken of ofModel) {
      if (own === undefined) giveBack(taken, subject)
      else {
        const used = ownOf(run)
        const actual = taken.entries.map(({ rule, claim }) => {
          if (!rule.perModel || rule.measure === 'concurrency') return 0
          return unitsUsed(rule, used, dispatched, subject) ?? unitsOf(claim)
        })
        settle(taken, actual, subject)
      }
    }
    run.own = undefined
    run.earlier = earlierCalls(subject.context)
  }

  /** What the model that is called asks for: its own rules, money that its price needs beyond what was reserved, and what attempts before have used of that. */
  const dispatch = (run: Running, target: Target, address: () => string, res: ServerResponse): void | Promise<void> => {
    const subject = { ...run.subject, target }
    endAttempt(run)
    run.dispatched = target
    // An earlier target may have been refused, and this one taken instead.
    run.refused = false
    const reserved = (name: string) =>
      run.taken.flatMap(({ entries }) => entries).find(({ rule }) => rule.name === name)?.claim
    const more = (rule: CompiledRule): number => {
      const before = rule.perModel ? 0 : spentOf(rule, run.earlier)
      // Tokens are reserved at the arrival, whatever the model.
      if (!rule.perModel && rule.measure !== 'money') return before
      const claim = reserved(rule.name)
      const cost = before + costOf(rule, subject, run.estimate)
      return claim === undefined || claim.kind === 'lease' ? cost : cost - claim.cost
    }
    const wanted = (rule: CompiledRule) => rule.perModel || more(rule) > 0
    const entries = entriesOf(subject, address, wanted, (rule) => Math.max(0, more(rule)))
    if (entries.length === 0) return undefined
    const keep = (taken: Taken | undefined) => {
      if (taken !== undefined) run.ofModel = [taken]
    }
    const refuse = (error: unknown) => {
      run.refused = true
      throw error
    }
    try {
      const taken = taking.take(subject, res, entries)
      return isPromise(taken) ? taken.then(keep, refuse) : keep(taken)
    } catch (error) {
      return refuse(error)
    }
  }

  const finish = (run: Running, end: RequestEnd): void => {
    running.delete(run)
    const { subject, taken, ofModel, dispatched, refused } = run
    const { context, principal } = subject
    const { usage, costNanoUsd: nanoUsd, target = dispatched } = context
    const isCached = context.cache === 'hit' || context.cache === 'collapsed'
    if (usage !== undefined && !isCached && target !== undefined) {
      learned.learn(callerOf(principal), target.model, completionTokens(usage))
    }
    const failed = end.aborted || end.status >= 400 || context.error !== undefined
    /** What a rule was really used by; of what nobody told, all that was reserved, if there was a call and it did not fail. */
    const usedOf = (rule: CompiledRule, reserved: number): number => {
      if (rule.measure === 'requests') return reserved
      if (rule.measure === 'concurrency' || isCached) return 0
      const used = rule.perModel ? ownOf(run) : { usage, nanoUsd }
      const units = unitsUsed(rule, used, target, subject)
      return units ?? (used.usage === undefined && (failed || dispatched === undefined) ? 0 : reserved)
    }
    const parts = [...taken, ...ofModel]
    // Refused by the last model: an attempt before it may have used something all the same.
    if (refused && usage === undefined) {
      for (const part of parts) giveBack(part, subject)
      return
    }
    const [only] = parts
    if (only !== undefined && parts.length === 1) {
      // What is counted in requests was charged at the arrival, and nothing of it changes.
      if (only.entries.every(({ rule }) => rule.measure === 'requests')) return
      settle(
        only,
        only.entries.map(({ rule, claim }) => usedOf(rule, unitsOf(claim))),
        subject,
      )
      return
    }
    const left = new Map<string, number>()
    for (const { name } of rules) {
      const claims = parts.flatMap(({ entries }) => entries).filter(({ rule }) => rule.name === name)
      const reserved = claims.reduce((sum, { claim }) => sum + unitsOf(claim), 0)
      const [first] = claims
      if (first !== undefined) left.set(name, usedOf(first.rule, reserved))
    }
    parts.forEach((part, index) => {
      const later = new Set(parts.slice(index + 1).flatMap(({ entries }) => entries.map(({ rule }) => rule.name)))
      const actual = part.entries.map(({ rule, claim }) => {
        const all = left.get(rule.name) ?? 0
        // The last part of a rule bears what is over.
        const own = later.has(rule.name) ? Math.min(all, unitsOf(claim)) : all
        left.set(rule.name, all - own)
        return own
      })
      settle(part, actual, subject)
    })
  }

  const settle = ({ store: from, reservation, entries }: Taken, actual: readonly number[], subject: LimitSubject) => {
    const settled = (states: readonly ClaimState[]) => {
      entries.forEach(({ rule, claim }, index) => {
        const state = states[index]
        if (state === undefined || claim.kind !== 'window' || claim.holdMs === undefined) return
        taking.crossed(subject, rule, state, actual[index] ?? 0)
      })
    }
    guarded(subject, () => {
      const answer = from.settle(reservation, actual)
      return isPromise(answer) ? answer.then(settled) : settled(answer)
    })
  }
  const giveBack = ({ store: from, reservation }: Taken, subject: LimitSubject) =>
    guarded(subject, () => from.release(reservation))

  const handler = middleware('limits', (context, req, res) => {
    if (skip?.(req, context) === true) return undefined
    const address = addressOf(req)
    const subject: LimitSubject = { req, context, principal: context.principal, target: undefined }
    const begin = (estimate: LimitEstimate | undefined) => {
      const arriving = entriesOf(
        subject,
        address,
        ({ perModel }) => !perModel,
        (rule) => costOf(rule, subject, estimate),
      )
      const entries = notCountedYet(req, arriving)
      const admit = (taken: Taken | undefined): void => {
        if (!wantsEstimate && !asksAgain && !hasPlaces) return
        const run: Running = {
          subject,
          estimate,
          taken: taken === undefined ? [] : [taken],
          ofModel: [],
          dispatched: undefined,
          own: undefined,
          earlier: undefined,
          refused: false,
        }
        if (wantsEstimate || asksAgain) {
          onDispatch(context, (_context, target) => dispatch(run, target, address, res))
          onUsage(context, (_context, call) => {
            run.own = call.usage
          })
        }
        running.add(run)
        onEnd(req, res, (end) => finish(run, end))
      }
      const taken = taking.take(subject, res, entries)
      return isPromise(taken) ? taken.then(admit) : admit(taken)
    }
    return wantsEstimate ? estimateOf(req, context).then(begin) : begin(undefined)
  })

  /** All rules that hold for a caller, with what a request of this size asks of each. */
  const allEntries = (req: IncomingMessage, context: RequestContext, target?: Target, of?: LimitEstimate): Entry[] => {
    const subject: LimitSubject = { req, context, principal: context.principal, target }
    return entriesOf(
      subject,
      addressOf(req),
      () => true,
      (rule) => costOf(rule, subject, of),
    )
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

/** What a call came to, as far as it is known. */
interface Used {
  readonly usage: Usage | undefined
  readonly nanoUsd: number | undefined
}

/** Settling goes on behind the answer: what fails there is told to the log. */
function guarded({ context }: LimitSubject, work: () => unknown): void {
  const log = (error: unknown) => context.log?.error({ err: error }, 'what a request used was not settled')
  try {
    const done = work()
    if (isPromise(done)) done.then(undefined, log)
  } catch (error) {
    log(error)
  }
}

/** Units that attempts before have used of a rule over all models. */
function spentOf({ measure }: CompiledRule, earlier: EarlierCalls | undefined): number {
  if (earlier === undefined || measure === 'requests' || measure === 'concurrency') return 0
  return measure === 'money' ? (earlier.costNanoUsd ?? 0) : tokensOf(measure, earlier.usage)
}

function tokensOf(measure: 'tokens' | 'inputTokens' | 'outputTokens', usage: Usage): number {
  if (measure === 'tokens') return totalTokens(usage)
  return measure === 'inputTokens' ? promptTokens(usage) : completionTokens(usage)
}

function unitsOf(claim: Claim): number {
  return claim.kind === 'lease' ? 1 : claim.cost
}

function callerOf(principal: Principal | undefined): string {
  return principal === undefined ? '' : principalKey(principal)
}
