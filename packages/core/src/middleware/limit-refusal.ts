import { TollgateError } from '../errors.js'
import { formatUsd } from '../money.js'
import type { ClaimState } from '../stores/limit-store.js'
import type { CompiledRule } from './limit-rules.js'

const quotaExceeded = 'https://iana.org/assignments/http-problem-types#quota-exceeded'

/** A claim that refused, and its rule. */
export interface Refused {
  readonly rule: CompiledRule
  readonly state: ClaimState
}

const nouns = {
  requests: 'requests',
  tokens: 'tokens',
  inputTokens: 'input tokens',
  outputTokens: 'output tokens',
  concurrency: 'requests at once',
} as const

/**
 * The answer that names the rules which refused. Over a rate: 429 with `Retry-After`. Over a budget: 402, and `x-should-retry: false` as the SDKs of OpenAI and Anthropic have it, for a budget
 * that is used up is not there a moment later.
 */
export function limitRefusal(refused: readonly Refused[], fields: Readonly<Record<string, string>>): TollgateError {
  const names = refused.map(({ rule }) => rule.name)
  const details = { type: quotaExceeded, 'violated-policies': names }
  const budget = refused.find(({ rule }) => rule.measure === 'money')
  const noRetry = { ...fields, 'x-should-retry': 'false' }
  if (budget !== undefined) {
    const { limit, used, resetMs } = budget.state
    const left = formatUsd(Math.max(0, Math.floor(limit - used)))
    return new TollgateError(
      'budget_exceeded',
      `The budget "${budget.rule.name}" of ${formatUsd(Math.floor(limit))} USD has ${left} USD left, and this request may cost more.`,
      {
        headers: noRetry,
        details: {
          ...details,
          ...(resetMs > 0 ? { resets_at: new Date(Date.now() + resetMs).toISOString() } : undefined),
        },
      },
    )
  }
  const [longest] = [...refused].sort((one, other) => other.state.retryAfterMs - one.state.retryAfterMs)
  const { rule, state } = longest as Refused
  const noun = nouns[rule.measure as keyof typeof nouns]
  const what = `Over the limit "${rule.name}": ${state.limit} ${noun}`
  if (state.retryAfterMs === Number.POSITIVE_INFINITY) {
    return new TollgateError('rate_limited', `${what}, which never lets this request through.`, {
      headers: noRetry,
      details,
    })
  }
  // Nobody knows when a place becomes free: not before the lease ends, or sooner.
  const retryAfterMs = rule.measure === 'concurrency' ? Math.min(1_000, state.retryAfterMs) : state.retryAfterMs
  return new TollgateError('rate_limited', `${what}. Try again in ${Math.max(1, Math.ceil(retryAfterMs / 1000))} s.`, {
    headers: fields,
    details,
    retryAfterMs,
  })
}
