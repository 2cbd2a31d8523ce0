import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { type CalendarUnit, type CalendarWindow, calendarWindows } from '../calendar-window.js'
import { configInvalid } from '../errors.js'
import type { RequestContext } from '../http/context.js'
import { type RateLimitPolicy, rateLimitPolicy } from '../http/rate-limit-fields.js'
import { parseUsd } from '../money.js'
import { functionOption } from '../options.js'
import type { Principal } from '../principal.js'
import type { Claim } from '../stores/limit-store.js'
import type { Target } from '../target.js'

/** What is counted: requests, tokens (input and output together, or one of them), US dollars, or requests that run at once. */
export type LimitMeasure = 'requests' | 'tokens' | 'inputTokens' | 'outputTokens' | 'money' | 'concurrency'

/** Whose count it is. `address`: the caller's network address, also where the others have no principal to go by. */
export type LimitPer = 'key' | 'user' | 'team' | 'tenant' | 'model' | 'address'

/** Units: a number; for `money` US dollars, best as a decimal text (`'49.90'`). */
export type LimitAmount = number | string

/** What a rule may look at. */
export interface LimitSubject {
  readonly req: IncomingMessage
  readonly context: RequestContext
  readonly principal: Principal | undefined
  /** The model that is about to be called; `undefined` before that. */
  readonly target: Target | undefined
}

export interface LimitRule {
  /** Told to callers and part of the store's key: 1 to 64 letters, digits, `_`, `.` and `-`. Rules that share store and name share counts. */
  readonly name: string
  readonly measure: LimitMeasure
  /** Several: each combination has a count of its own. A function names whose count it is; `undefined`: the rule does not apply. Default `user`. */
  readonly per?: LimitPer | readonly LimitPer[] | ((subject: LimitSubject) => string | undefined)
  /**
   * How much, asked at every request: an amount, one by `principal.tier` (`default` for the others), or a function. `undefined`: the rule does not apply; 0 refuses everything.
   * An amount of the same name in `principal.limits` wins.
   */
  readonly limit:
    | LimitAmount
    | Readonly<Record<string, LimitAmount>>
    | ((subject: LimitSubject) => LimitAmount | undefined)
  /** Units of this request, 0 or more; for `requests` only. Default 1. One that asks for more than there can ever be at once passes when there is all. */
  readonly cost?: (subject: LimitSubject) => number
  /** Milliseconds in which `limit` units come back, steadily. Default 60,000, unless `calendar` is given. Not for `concurrency`. */
  readonly windowMs?: number
  /** Units at once, after a pause. Default `limit`. Not with `calendar`. */
  readonly burst?: number
  /** Instead of `windowMs`: counts to `limit`, and anew with each hour, day, week, month or year. */
  readonly calendar?: CalendarUnit
  /** Of `calendar`: IANA name. Default `UTC`. */
  readonly timeZone?: string
  /** How long a place, or what is reserved of a calendar rule, is held for a process that has died, milliseconds. Default 120,000. */
  readonly leaseMs?: number
  /** Refuses nothing, but says in events and metrics what it would have refused. Default `false`. */
  readonly shadow?: boolean
  /**
   * When the store fails or is late: `open` lets pass, `closed` answers 503, `local` counts in this process to `limit` through `instances`. Default `open`; `closed` for `money`.
   */
  readonly onStoreError?: 'open' | 'closed' | 'local'
  /** Parts of a calendar limit whose crossing is an event: `[0.5, 0.8, 1]`. Default none. */
  readonly thresholds?: readonly number[]
}

const amount = z.union([z.number().min(0), z.string().regex(/^\d+(\.\d+)?$/, 'must be a decimal, 0 or more')])
const per = z.enum(['key', 'user', 'team', 'tenant', 'model', 'address'])

export const limitRule = z
  .strictObject({
    name: z.string().regex(/^[\w.-]{1,64}$/, 'must be 1 to 64 letters, digits, "_", "." and "-"'),
    measure: z.enum(['requests', 'tokens', 'inputTokens', 'outputTokens', 'money', 'concurrency']),
    per: z
      .union([per, z.array(per).min(1), functionOption<(subject: LimitSubject) => string | undefined>()])
      .default('user'),
    limit: z.union([
      amount,
      z.record(z.string(), amount),
      functionOption<(subject: LimitSubject) => LimitAmount | undefined>(),
    ]),
    cost: functionOption<(subject: LimitSubject) => number>().optional(),
    windowMs: z.number().positive().optional(),
    burst: z.number().min(0).optional(),
    calendar: z.enum(['hour', 'day', 'week', 'month', 'year']).optional(),
    timeZone: z.string().optional(),
    leaseMs: z.int().min(1_000).max(86_400_000).default(120_000),
    shadow: z.boolean().default(false),
    onStoreError: z.enum(['open', 'closed', 'local']).optional(),
    thresholds: z.array(z.number().positive().max(1)).default([]),
  })
  .superRefine((rule, issues) => {
    const wrong = (path: string, message: string) => issues.addIssue({ code: 'custom', path: [path], message })
    const { measure, windowMs, burst, calendar, timeZone, thresholds } = rule
    if (rule.cost !== undefined && measure !== 'requests') wrong('cost', 'is for requests; the others are counted')
    if (measure === 'concurrency') {
      for (const name of ['windowMs', 'burst', 'calendar'] as const) {
        if (rule[name] !== undefined) wrong(name, 'is not for concurrency, which has no window')
      }
    }
    if (calendar !== undefined && windowMs !== undefined) wrong('calendar', 'give calendar or windowMs, not both')
    if (calendar !== undefined && burst !== undefined) wrong('burst', 'is for rules that refill, not for calendar')
    if (calendar === undefined && timeZone !== undefined) wrong('timeZone', 'is for calendar')
    if (calendar === undefined && thresholds.length > 0) wrong('thresholds', 'are for calendar')
  })

/** A rule, ready to be asked. */
export interface CompiledRule {
  readonly name: string
  readonly measure: LimitMeasure
  /** Its count is one for each model: it can be asked only when that is known. */
  readonly perModel: boolean
  readonly shadow: boolean
  readonly onStoreError: 'open' | 'closed' | 'local'
  readonly thresholds: readonly number[]
  readonly calendar: CalendarUnit | undefined
  /** Units of a request, for `requests`. Throws `config_invalid` for what is none. */
  units(subject: LimitSubject): number
  /** Whose count, and the claim for so many units; `undefined` if the rule does not apply. */
  claim(subject: LimitSubject, cost: number, address: () => string, now: number): Claim | undefined
  /** As it is told in fields; `undefined` for money. */
  policy(claim: Claim): RateLimitPolicy | undefined
}

/** What a claim has of whoever calls; all of it, where nothing else is needed. */
interface Base {
  readonly rule: string
  readonly key: string
  readonly partition: string
  readonly limit: number
  readonly shadow?: boolean
  readonly whole?: Claim
}

const units: Readonly<Record<Exclude<LimitMeasure, 'money'>, string>> = {
  requests: 'requests',
  tokens: 'tokens',
  inputTokens: 'input-tokens',
  outputTokens: 'output-tokens',
  concurrency: 'concurrent-requests',
}

/** @throws TollgateError `config_invalid` for a time zone that is not known */
export function compileRule(rule: z.output<typeof limitRule>): CompiledRule {
  const { name, measure, calendar, leaseMs, shadow, windowMs = 60_000, thresholds } = rule
  const pers = typeof rule.per === 'function' ? [] : [rule.per].flat()
  const windowOf = calendar === undefined ? undefined : calendarWindows(calendar, rule.timeZone ?? 'UTC')
  const policies = new Map<string, RateLimitPolicy>()
  const amounts = new Map<LimitAmount, number>()
  /** What follows from the principal alone is made once for each: those of `auth` are the same object as long as nothing has changed. */
  const known = new WeakMap<Principal, Base | 'none'>()
  const isOfPrincipal =
    typeof rule.per !== 'function' &&
    typeof rule.limit !== 'function' &&
    !pers.some((each) => each === 'model' || each === 'address')

  const unitsOf = (given: LimitAmount): number => {
    const before = amounts.get(given)
    if (before !== undefined) return before
    const read = readUnits(given)
    if (amounts.size < 100) amounts.set(given, read)
    return read
  }
  const readUnits = (given: LimitAmount): number => {
    if (measure === 'money') return parseUsd(given)
    const number = Number(given)
    if (number >= 0 && number <= Number.MAX_SAFE_INTEGER) return number
    throw configInvalid(`The limit "${name}" must be a number from 0 up, not ${String(given)}.`)
  }
  /** What a directory holds is no reason to fail a request: too much is as much as can be counted, and no amount at all is nothing. */
  const ownUnitsOf = (given: LimitAmount): number => {
    const number = Number(given)
    if (!(number >= 0)) return 0
    try {
      return unitsOf(given)
    } catch {
      return Math.min(Math.floor(measure === 'money' ? number * 1e9 : number), Number.MAX_SAFE_INTEGER)
    }
  }
  const limitOf = (subject: LimitSubject): number | undefined => {
    const { principal } = subject
    const own = principal?.limits
    if (own !== undefined && Object.hasOwn(own, name)) return ownUnitsOf(own[name] as LimitAmount)
    const { limit } = rule
    if (typeof limit === 'function') {
      const given = limit(subject)
      return given === undefined ? undefined : unitsOf(given)
    }
    if (typeof limit !== 'object') return unitsOf(limit)
    const tier = principal?.tier
    const given = tier !== undefined && Object.hasOwn(limit, tier) ? limit[tier] : limit['default']
    return given === undefined ? undefined : unitsOf(given)
  }

  /** Whose count, and what is kept together with it. */
  const holderOf = (subject: LimitSubject, address: () => string): { key: string; partition: string } | undefined => {
    const { principal, target } = subject
    if (typeof rule.per === 'function') {
      const key = rule.per(subject)
      if (key !== undefined && (typeof key !== 'string' || key === '')) {
        throw configInvalid(`The limit "${name}": per() must return a text that is not empty, or undefined, at once.`)
      }
      const partition = principal === undefined ? '' : principal.tenant
      return key === undefined ? undefined : { key: `custom=${part(key)}`, partition }
    }
    const parts: string[] = []
    let partition = '*'
    for (const each of pers) {
      if (each === 'model') {
        if (target === undefined) return undefined
        parts.push(`model=${part(`${target.provider}/${target.model}`)}`)
      } else if (each === 'address' || principal === undefined) {
        // A stranger has no key, no team and no tenant: what can be counted is where they come from.
        parts.push(`address=${part(address())}`)
        if (partition === '*') partition = `address ${address()}`
      } else {
        if (each === 'team' && principal.team === undefined) return undefined
        partition = principal.tenant
        const { keyId = `of ${principal.subject}`, subject: user, team = '' } = principal
        const value = { key: keyId, user, team, tenant: '' }[each]
        parts.push(`${each}=${part(value)}`)
      }
    }
    return { key: parts.join('&'), partition }
  }

  const makeBase = (subject: LimitSubject, address: () => string): Base | undefined => {
    const limit = limitOf(subject)
    const holder = limit === undefined ? undefined : holderOf(subject, address)
    if (limit === undefined || holder === undefined) return undefined
    const { partition } = holder
    const key = `${part(partition)}|${name}|${holder.key}`
    const base = { rule: name, key, partition, limit, ...(shadow ? { shadow } : undefined) }
    if (measure === 'concurrency') return { ...base, whole: { ...base, kind: 'lease', leaseMs } }
    if (measure !== 'requests' || windowOf !== undefined || rule.cost !== undefined) return base
    return { ...base, whole: { ...base, kind: 'bucket', windowMs, burst: rule.burst ?? limit, cost: 1 } }
  }
  const baseOf = (subject: LimitSubject, address: () => string): Base | undefined => {
    const { principal } = subject
    if (!isOfPrincipal || principal === undefined) return makeBase(subject, address)
    const before = known.get(principal)
    if (before !== undefined) return before === 'none' ? undefined : before
    const made = makeBase(subject, address)
    known.set(principal, made ?? 'none')
    return made
  }
  let last:
    | { readonly limit: number; readonly length: number | undefined; readonly policy: RateLimitPolicy }
    | undefined

  return {
    name,
    measure,
    perModel: pers.includes('model'),
    shadow,
    onStoreError: rule.onStoreError ?? (measure === 'money' ? 'closed' : 'open'),
    thresholds,
    calendar,
    units(subject) {
      const asked = rule.cost?.(subject) ?? 1
      if (typeof asked === 'number' && asked >= 0 && asked <= Number.MAX_SAFE_INTEGER) return asked
      throw configInvalid(`The limit "${name}": cost() must return a number from 0 up, at once, not ${String(asked)}.`)
    },
    claim(subject, cost, address, now) {
      const base = baseOf(subject, address)
      if (base === undefined) return undefined
      if (base.whole !== undefined) return base.whole
      const { whole: _, ...common } = base
      if (windowOf === undefined) {
        const { burst = common.limit } = rule
        // One that asks for more than there can ever be at once passes when there is all, and is paid for after.
        return { ...common, kind: 'bucket', windowMs, burst, cost: measure === 'money' ? cost : Math.min(cost, burst) }
      }
      const { startsAt, endsAt }: CalendarWindow = windowOf(now)
      const held = measure === 'requests' ? undefined : { holdMs: leaseMs }
      return { ...common, kind: 'window', startsAt, endsAt, cost, ...held }
    },
    policy(claim) {
      if (measure === 'money') return undefined
      const { limit } = claim
      const burst = claim.kind === 'bucket' ? claim.burst : undefined
      const length =
        claim.kind === 'bucket' ? windowMs : claim.kind === 'window' ? claim.endsAt - claim.startsAt : undefined
      if (last?.limit === limit && last.length === length) return last.policy
      const key = `${limit}/${length}`
      const kept = policies.get(key) ?? rateLimitPolicy({ name, limit, unit: units[measure], windowMs: length, burst })
      // As many as there are tiers; a function that gives many limits shall not fill the memory.
      if (policies.size < 100) policies.set(key, kept)
      last = { limit, length, policy: kept }
      return kept
    },
  }
}

/** Without the characters that separate: two holders never share a key. */
function part(text: string): string {
  return encodeURIComponent(text.replace(/\p{Surrogate}/gu, (half) => `\\u${half.charCodeAt(0).toString(16)}`))
}
