import { isTollgateError } from '../errors.js'
import type { Log } from '../http/context.js'
import { roundedMs } from '../http/rounded-ms.js'
import type { Target } from '../target.js'
import { completionTokens, promptTokens, type Usage } from '../usage.js'
import type { MetricsRegistry } from './metrics-registry.js'

/** What `shadowed` tells, as far as it is reported. */
export interface ShadowReport {
  readonly outcome: 'ok' | 'failed' | 'dropped'
  readonly requestId: string
  readonly target: Target
  readonly usage: Usage
  readonly latencyMs: number
  readonly error?: unknown
  readonly answered: { readonly latencyMs: number }
}

export interface ShadowReportsOptions {
  /** Counts `shadow_calls_total` by provider, model and outcome, `shadow_tokens_total` by provider, model and type, `shadow_duration_seconds` by provider and model. */
  readonly registry?: MetricsRegistry
  /** Before each name. Default `tollgate_`. */
  readonly prefix?: string
  /** Gets a line for each: `info`, or `warn` for one that failed. No prompt and no answer. */
  readonly log?: Log
}

const bucketsSeconds = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120]

/**
 * Counts and logs what became of shadows. No caller is a label.
 *
 * @example gatewayService(config, { onShadow: shadowReports({ registry: observed.registry }) })
 */
export function shadowReports(options: ShadowReportsOptions): (result: ShadowReport) => void {
  const { registry, prefix = 'tollgate_', log } = options
  const count = registry === undefined ? undefined : instruments(registry, prefix)
  return (result) => {
    count?.(result)
    if (log === undefined) return
    const { outcome, requestId, target, usage, latencyMs, error, answered } = result
    const line = {
      request_id: requestId,
      provider: target.provider,
      model: target.model,
      outcome,
      prompt_tokens: promptTokens(usage),
      completion_tokens: completionTokens(usage),
      duration_ms: roundedMs(latencyMs),
      answered_ms: roundedMs(answered.latencyMs),
      ...(outcome === 'failed' ? { error: isTollgateError(error) ? error.code : 'internal' } : {}),
    }
    log[outcome === 'failed' ? 'warn' : 'info'](line, 'shadow')
  }
}

function instruments(registry: MetricsRegistry, prefix: string): (result: ShadowReport) => void {
  const calls = registry.counter({
    name: `${prefix}shadow_calls_total`,
    help: 'Calls that were to be sent to another model too, by what became of that.',
    labels: ['provider', 'model', 'outcome'],
  })
  const tokens = registry.counter({
    name: `${prefix}shadow_tokens_total`,
    help: 'Tokens of shadows, which nobody is billed for.',
    labels: ['provider', 'model', 'type'],
  })
  const duration = registry.histogram({
    name: `${prefix}shadow_duration_seconds`,
    help: 'Duration of shadows that were answered, in seconds.',
    labels: ['provider', 'model'],
    buckets: bucketsSeconds,
  })
  return ({ target: { provider, model }, outcome, usage, latencyMs }) => {
    calls.series(provider, model, outcome).add(1)
    tokens.series(provider, model, 'input').add(promptTokens(usage))
    tokens.series(provider, model, 'output').add(completionTokens(usage))
    if (outcome === 'ok') duration.series(provider, model).observe(latencyMs / 1_000)
  }
}
