import { expect, it } from 'vitest'
import { limitMetrics } from './limit-metrics.js'
import { prometheusRegistry } from './prometheus-registry.js'

it('counts by rule, and by nothing of the caller', async () => {
  const registry = prometheusRegistry()
  const count = limitMetrics(registry)
  const of = { rule: 'rpm', measure: 'requests', principal: undefined, requestId: 'r' } as const
  count({ ...of, type: 'refused', limit: 1, used: 1 })
  count({ ...of, type: 'refused', limit: 1, used: 1 })
  count({ ...of, type: 'shadow-refused', limit: 1, used: 1 })
  count({ ...of, rule: 'month', measure: 'money', type: 'threshold', threshold: 0.8, limit: 1, spent: 1 })
  count({ ...of, type: 'store-failed', policy: 'open' })
  const text = await registry.expose('prometheus')
  expect(text).toContain('tollgate_limit_refusals_total{rule="rpm",measure="requests",mode="enforced"} 2')
  expect(text).toContain('tollgate_limit_refusals_total{rule="rpm",measure="requests",mode="shadow"} 1')
  expect(text).toContain('tollgate_limit_thresholds_total{rule="month",threshold="0.8"} 1')
  expect(text).toContain('tollgate_limit_store_failures_total{policy="open"} 1')
})
