import type { LimitEvent } from './limits.js'
import type { MetricsRegistry } from './metrics-registry.js'

/**
 * Counts what `limits` tells: `limit_refusals_total` by rule, measure and mode (`enforced`, `shadow`), `limit_thresholds_total` by rule and threshold, `limit_store_failures_total` by policy. No caller is a label.
 *
 * @param prefix before each name; default `tollgate_`
 * @example limits({ rules, onEvent: limitMetrics(observed.registry) })
 */
export function limitMetrics(registry: MetricsRegistry, prefix = 'tollgate_'): (event: LimitEvent) => void {
  const refusals = registry.counter({
    name: `${prefix}limit_refusals_total`,
    help: 'Requests that a rule of limits refused, or would have refused.',
    labels: ['rule', 'measure', 'mode'],
  })
  const thresholds = registry.counter({
    name: `${prefix}limit_thresholds_total`,
    help: 'Parts of calendar limits that were passed.',
    labels: ['rule', 'threshold'],
  })
  const failures = registry.counter({
    name: `${prefix}limit_store_failures_total`,
    help: 'Rules that were asked while the limit store failed.',
    labels: ['policy'],
  })
  return (event) => {
    if (event.type === 'threshold') thresholds.series(event.rule, String(event.threshold)).add(1)
    else if (event.type === 'store-failed') failures.series(event.policy).add(1)
    else refusals.series(event.rule, event.measure, event.type === 'refused' ? 'enforced' : 'shadow').add(1)
  }
}
