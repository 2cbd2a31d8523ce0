import { boundedLabel } from './bounded-label.js'
import type { MetricsRegistry } from './metrics-registry.js'

/** What upstreams say, as far as it is shown. */
export interface UpstreamLimitReport {
  readonly provider: string
  readonly model: string
  /** Which of several keys, from 1. */
  readonly key?: number
  readonly limits: ReadonlyArray<{ readonly kind: string; readonly remaining: number; readonly limit?: number }>
}

export interface UpstreamLimitMetricsOptions {
  readonly registry: MetricsRegistry
  /** Before each name. Default `tollgate_`. */
  readonly prefix?: string
  /** The most models that get a label of their own; later ones share `_other`. Default 100. */
  readonly maxModels?: number
}

/**
 * Shows what upstreams say is left of their limits for us: the gauges `upstream_limit_remaining` and `upstream_limit` by provider, model, key (its place among several; no key) and kind (`requests`, `tokens`, …), each
 * as of the last answer.
 *
 * @example gatewayService(config, { onUpstreamLimits: upstreamLimitMetrics({ registry: observed.registry }) })
 */
export function upstreamLimitMetrics(options: UpstreamLimitMetricsOptions): (report: UpstreamLimitReport) => void {
  const { registry, prefix = 'tollgate_', maxModels = 100 } = options
  const labels = ['provider', 'model', 'key', 'kind']
  const remainings = registry.gauge({
    name: `${prefix}upstream_limit_remaining`,
    help: 'What an upstream said with its last answer is left of its limit for us.',
    labels,
  })
  const wholes = registry.gauge({
    name: `${prefix}upstream_limit`,
    help: 'The limit of an upstream for us, as it said with its last answer.',
    labels,
  })
  const modelLabel = boundedLabel(maxModels)
  return ({ provider, model, key, limits }) => {
    for (const { kind, remaining, limit } of limits) {
      const values = [provider, modelLabel(model), key === undefined ? '' : String(key), kind]
      remainings.series(...values).set(remaining)
      if (limit !== undefined) wholes.series(...values).set(limit)
    }
  }
}
