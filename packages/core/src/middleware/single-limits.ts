import type { LimitMeasure, LimitRule, Limits, LimitsOptions } from './limits.js'
import { limits } from './limits.js'

/** The options of {@link limits} and of its one rule, together. */
export type SingleLimitOptions = Omit<LimitsOptions, 'rules'> &
  Omit<LimitRule, 'measure' | 'name'> & { readonly name?: string }

/**
 * Limits tokens, input and output together: {@link limits} with one rule. Several rules in one `limits` are decided in one step.
 *
 * @example app.use(tokenLimit({ limit: { free: 10_000, default: 100_000 } }))
 */
export function tokenLimit(options: SingleLimitOptions): Limits {
  return singleLimit('tokens', 'tokens', options)
}

/**
 * Limits US dollars, by the calendar month unless you say otherwise: {@link limits} with one rule.
 *
 * @example app.use(budget({ prices, limit: '50.00', per: 'tenant', timeZone: 'Europe/Berlin' }))
 */
export function budget(options: SingleLimitOptions & Required<Pick<LimitsOptions, 'prices'>>): Limits {
  const calendar = options.windowMs === undefined ? { calendar: 'month' as const } : {}
  return singleLimit('money', 'budget', { ...calendar, ...options })
}

/**
 * Limits the requests that run at once: {@link limits} with one rule.
 *
 * @example app.use(concurrencyLimit({ limit: 5, per: 'key' }))
 */
export function concurrencyLimit(options: SingleLimitOptions): Limits {
  return singleLimit('concurrency', 'concurrency', options)
}

const ofTheRule = [
  'per',
  'limit',
  'cost',
  'windowMs',
  'burst',
  'calendar',
  'timeZone',
  'leaseMs',
  'shadow',
  'onStoreError',
  'thresholds',
]

/** {@link limits} with one rule of this measure. */
export function singleLimit(measure: LimitMeasure, defaultName: string, options: SingleLimitOptions): Limits {
  const { name = defaultName, ...rest } = options
  const entries = Object.entries(rest)
  const rule = Object.fromEntries(entries.filter(([key]) => ofTheRule.includes(key)))
  const others = Object.fromEntries(entries.filter(([key]) => !ofTheRule.includes(key)))
  return limits({ ...others, rules: [{ ...rule, name, measure } as LimitRule] })
}
