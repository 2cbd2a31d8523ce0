import type { Target } from '../target.js'
import type { MetricsRegistry } from './metrics-registry.js'

/** What `hedged` tells. */
export interface HedgeReport {
  readonly outcome: 'won' | 'outrun' | 'failed' | 'left' | 'withheld'
  readonly target: Target
}

/**
 * Counts what became of hedges: `hedges_total` by provider, model and outcome. All but `withheld` were started; `won` are those that answered. No caller is a label.
 *
 * @param prefix before the name; default `tollgate_`
 * @example gatewayService(config, { onHedge: hedgeReports(observed.registry) })
 */
export function hedgeReports(registry: MetricsRegistry, prefix = 'tollgate_'): (result: HedgeReport) => void {
  const hedges = registry.counter({
    name: `${prefix}hedges_total`,
    help: 'Attempts beside one that was silent, by what became of them; withheld: there was none, for want of budget.',
    labels: ['provider', 'model', 'outcome'],
  })
  return ({ outcome, target: { provider, model } }) => hedges.series(provider, model, outcome).add(1)
}
