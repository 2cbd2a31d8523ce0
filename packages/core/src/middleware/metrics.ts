import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import type { RequestContext } from '../http/context.js'
import { type Handler, middleware } from '../http/handler.js'
import { onEnd, type RequestEnd } from '../http/observe.js'
import { pathOf, routeMatcher, routeTemplate } from '../http/route-template.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import { boundedLabel } from './bounded-label.js'
import { metricsInstruments, type RequestOutcome } from './metrics-instruments.js'
import type { MetricsRegistry } from './metrics-registry.js'
import { prometheusRegistry } from './prometheus-registry.js'

/** Options of {@link metrics}. */
export interface MetricsOptions {
  /** Default: a `prometheusRegistry()` of its own, to be had as `.registry` of the handler. */
  readonly registry?: MetricsRegistry
  /** Begins the names that no standard gives. Default `tollgate_`. */
  readonly prefix?: string
  /**
   * Templates of your routes (`/v1/models/{name}`), for requests that are answered before their route is known (an early 401) and for hosts that do
   * not tell it. Or a function that names the route; what it returns must come from a small set.
   */
  readonly routes?: readonly string[] | ((req: IncomingMessage) => string | undefined)
  /** Upper bounds of the duration histogram, ascending, seconds. Default 0.005 to 300. */
  readonly bucketsSeconds?: readonly number[]
  /** The most routes that get a label of their own; later ones share `_other`. Default 200. */
  readonly maxRoutes?: number
  /** The most models that get a label of their own; later ones share `_other`. Default 100. */
  readonly maxModels?: number
}

/** The middleware, and the registry it writes to. */
export interface Metrics extends Handler {
  readonly registry: MetricsRegistry
}

// OpenTelemetry's bounds for HTTP servers end at 10 s; an answer of a language model may take minutes.
const defaultBuckets = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120, 300]

const optionsSchema = z.strictObject({
  registry: objectOption<MetricsRegistry>('a MetricsRegistry, for example prometheusRegistry()', 'counter').optional(),
  prefix: z
    .string()
    .regex(/^(?:[a-zA-Z_:][a-zA-Z0-9_:]*)?$/, 'must be letters, digits and _')
    .default('tollgate_'),
  routes: z
    .union([
      z.array(z.string().startsWith('/')).readonly(),
      functionOption<(req: IncomingMessage) => string | undefined>(),
    ])
    .default([]),
  bucketsSeconds: z
    .array(z.number().positive())
    .min(1)
    .refine((bounds) => bounds.every((bound, index) => index === 0 || bound > (bounds[index - 1] ?? 0)), 'must ascend')
    .readonly()
    .default(defaultBuckets),
  maxRoutes: z.int().min(1).default(200),
  maxModels: z.int().min(1).default(100),
})

/** The route label of a request that no route took. */
export const unmatchedRoute = '(unmatched)'
/** Labels of guards are their authors' words. */
const maxFlags = 200
// OpenTelemetry's list; the rest is `_OTHER`.
const knownMethods: ReadonlySet<string> = new Set([
  'CONNECT',
  'DELETE',
  'GET',
  'HEAD',
  'OPTIONS',
  'PATCH',
  'POST',
  'PUT',
  'QUERY',
  'TRACE',
])
const observedKey = Symbol.for('tollgate.metrics.observed')

/**
 * Counts and times every request. Mount it first, so that it sees what the others refuse.
 *
 * Labels come from closed sets only: the template of the route (never a path), the method, the status, codes of the error catalogue, and models that
 * have answered. No key, user or tenant.
 *
 * Reads the slots `route`, `error`, `target`, `usage`, `upstreamMs`, `costNanoUsd`, `cache`, `flags` when the request has ended; writes none, throws
 * nothing while a request runs.
 *
 * @example
 * const observed = metrics()
 * app.use(observed)
 * app.get('/metrics', metricsRoute({ registry: observed.registry }))
 * @throws TollgateError `config_invalid` for wrong options
 */
export function metrics(options: MetricsOptions = {}): Metrics {
  const checked = checkedOptions('metrics', optionsSchema, options)
  const registry = checked.registry ?? prometheusRegistry()
  const instruments = metricsInstruments(registry, checked.prefix, checked.bucketsSeconds)
  const { routes } = checked
  const nameRoute = typeof routes === 'function' ? routes : matchPath(routes)
  const boundedRoute = boundedLabel(checked.maxRoutes)
  const boundedModel = boundedLabel(checked.maxModels)
  const boundedFlag = boundedLabel(maxFlags)
  const boundedProvider = boundedLabel(checked.maxModels)

  const record = (context: RequestContext, req: IncomingMessage, method: string, end: RequestEnd): void => {
    const route = boundedRoute(routeTemplate(context, req) ?? nameRoute(req) ?? unmatchedRoute)
    // OpenTelemetry: a status is told if one was sent. 499 is a word of logs.
    const status = end.status === 499 && end.aborted ? '' : String(end.status)
    const durationMs = end.endedAt - context.startedAt
    instruments.request(method, route, status, outcomeOf(context, end), durationMs / 1000)
    if (context.error !== undefined) instruments.error(context.error)
    if (context.cache !== undefined) instruments.cache(context.cache)
    for (const flag of context.flags ?? []) instruments.flag(boundedFlag(flag))
    if (context.upstreamMs !== undefined) instruments.overhead(Math.max(0, durationMs - context.upstreamMs) / 1000)
    // Usage comes with an answer, so the model exists: a name that a caller made up never gets here.
    if (context.usage !== undefined && context.target !== undefined) {
      const { provider, model } = context.target
      instruments.usage(
        boundedProvider(provider),
        boundedModel(model),
        context.usage,
        context.costNanoUsd,
        context.upstreamMs,
      )
    }
  }

  const handler = middleware('metrics', (context, req, res) => {
    if (!firstTime(context, registry)) return
    const method = req.method !== undefined && knownMethods.has(req.method) ? req.method : '_OTHER'
    const active = instruments.active(method)
    active.add(1)
    onEnd(req, res, (end) => {
      active.add(-1)
      record(context, req, method, end)
    })
  })
  return Object.assign(handler, { registry })
}

// A stream that broke has the status 200, and an answer that was cut looks like a caller that left: the reason tells them apart.
function outcomeOf({ error }: RequestContext, { status, aborted }: RequestEnd): RequestOutcome {
  if (aborted && (error === undefined || error === 'client_closed')) return 'aborted'
  return aborted || status >= 500 || (status < 400 && error !== undefined) ? 'failed' : 'completed'
}

// Mounted twice (on the app and on a router), a request still counts once.
function firstTime(context: RequestContext, registry: MetricsRegistry): boolean {
  const observed = context as RequestContext & { [observedKey]?: MetricsRegistry[] }
  const by = observed[observedKey]
  if (by === undefined) observed[observedKey] = [registry]
  else if (by.includes(registry)) return false
  else by.push(registry)
  return true
}

function matchPath(templates: readonly string[]): (req: IncomingMessage) => string | undefined {
  if (templates.length === 0) return () => undefined
  const match = routeMatcher(templates)
  return (req) => match(pathOf(req))
}
