import { z } from 'zod'
import { preferredType } from '../http/accept.js'
import { allowedMethods } from '../http/allowed-methods.js'
import { endpoint, type Handler } from '../http/handler.js'
import { noStore, sendBytes, sendJson } from '../http/respond.js'
import type { MetricsRegistry } from '../middleware/metrics-registry.js'
import { checkedOptions, objectOption } from '../options.js'
import { metricsSummary } from './metrics-summary.js'

/** Options of {@link metricsRoute}. */
export interface MetricsRouteOptions {
  /** What `metrics()` writes to: `observed.registry`. */
  readonly registry: MetricsRegistry
  /** As given to `metrics()`, for the JSON summary. Default `tollgate_`. */
  readonly prefix?: string
}

const onlyGet = allowedMethods('GET')

const optionsSchema = z.strictObject({
  registry: objectOption<MetricsRegistry>('the registry of metrics()', 'expose', 'collect'),
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
  const headers = { ...noStore, vary: 'accept' }
  return endpoint('metricsRoute', async (context, req, res) => {
    context.route ??= '/metrics'
    onlyGet(req)
    const type = preferredType(req.headers.accept, ['text/plain', 'application/openmetrics-text', 'application/json'])
    if (type === 'application/json') {
      sendJson(res, 200, metricsSummary(await registry.collect(), prefix), headers)
      return
    }
    const open = type === 'application/openmetrics-text'
    const text = await registry.expose(open ? 'openmetrics' : 'prometheus')
    sendBytes(res, 200, Buffer.from(text), open ? openMetricsType : prometheusType, headers)
  })
}
