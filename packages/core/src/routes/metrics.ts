import { z } from 'zod'
import { checkedOptions } from '../errors.js'
import { preferredType } from '../http/accept.js'
import { compose, endpoint, type Handler } from '../http/handler.js'
import { sendBytes, sendJson } from '../http/respond.js'
import type { MetricsRegistry } from '../middleware/metrics-registry.js'
import { methodNotAllowed } from '../middleware/not-found.js'
import { metricsSummary } from './metrics-summary.js'

/** Options of {@link metricsRoute}. */
export interface MetricsRouteOptions {
  /** What `metrics()` writes to: `observed.registry`. */
  readonly registry: MetricsRegistry
  /** As given to `metrics()`, for the JSON summary. Default `tollgate_`. */
  readonly prefix?: string
}

const optionsSchema = z.strictObject({
  registry: z.custom<MetricsRegistry>(
    (value) => typeof (value as MetricsRegistry | null)?.expose === 'function',
    'a registry',
  ),
  prefix: z.string().default('tollgate_'),
})

const prometheusType = 'text/plain; version=0.0.4; charset=utf-8'
const openMetricsType = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

/**
 * `GET /metrics`: Prometheus' text format, OpenMetrics or a JSON summary, as `Accept` says. It tells how busy the server is and which models it
 * pays for: mount it behind `auth()`, or on a port that only the scraper reaches.
 *
 * Writes the slot `route`.
 *
 * @example app.use('/metrics', metricsRoute({ registry: observed.registry }))
 * @throws TollgateError `method_not_allowed`; `config_invalid` for wrong options
 */
export function metricsRoute(options: MetricsRouteOptions): Handler {
  const { registry, prefix } = checkedOptions('metricsRoute', optionsSchema, options)
  const headers = { 'cache-control': 'no-store', vary: 'accept' }
  return compose(
    methodNotAllowed(['GET']),
    endpoint('metricsRoute', async (context, req, res) => {
      context.route ??= '/metrics'
      const type = preferredType(req.headers.accept, ['text/plain', 'application/openmetrics-text', 'application/json'])
      if (type === 'application/json') {
        sendJson(res, 200, metricsSummary(await registry.collect(), prefix), headers)
        return
      }
      const open = type === 'application/openmetrics-text'
      const text = await registry.expose(open ? 'openmetrics' : 'prometheus')
      sendBytes(res, 200, Buffer.from(text), open ? openMetricsType : prometheusType, headers)
    }),
  )
}
