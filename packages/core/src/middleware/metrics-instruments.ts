import { type ErrorCode, errorCatalogue } from '../errors.js'
import type { CacheOutcome } from '../http/context.js'
import { nanoUsdPerUsd } from '../money.js'
import type { Usage } from '../usage.js'
import type { Counter, MetricsRegistry } from './metrics-registry.js'

/** `completed`: answered, refusals included. `aborted`: the caller left. `failed`: 5xx, or an answer that broke half way. */
export type RequestOutcome = 'completed' | 'aborted' | 'failed'

/** Kept series, so that a request makes no label objects. Their number is bounded by whoever bounds the labels. */
export interface MetricsInstruments {
  /** In flight, by method. */
  active(method: string): { add(amount: number): void }
  request(method: string, route: string, status: string, outcome: RequestOutcome, seconds: number): void
  error(code: ErrorCode): void
  cache(outcome: CacheOutcome): void
  flag(flag: string): void
  overhead(seconds: number): void
  usage(
    provider: string,
    model: string,
    usage: Usage,
    costNanoUsd: number | undefined,
    upstreamMs: number | undefined,
  ): void
}

/** Names of what is measured, without the prefix. Where OpenTelemetry has a name, it is used as its Prometheus mapping gives it, and has no prefix. */
export const metricNames = Object.freeze({
  duration: 'http_server_request_duration_seconds',
  active: 'http_server_active_requests',
  requests: 'requests_total',
  errors: 'errors_total',
  authFailures: 'auth_failures_total',
  cache: 'cache_requests_total',
  flags: 'guard_flags_total',
  overhead: 'overhead_seconds',
  upstream: 'upstream_duration_seconds',
  tokens: 'tokens_total',
  rows: 'rows_total',
  cost: 'cost_usd_total',
})

const authFailures: ReadonlySet<string> = new Set(
  Object.entries(errorCatalogue).flatMap(([code, { type }]) =>
    type === 'authentication_error' || type === 'permission_error' || code === 'malformed_credentials' ? [code] : [],
  ),
)

const overheadBuckets = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1]

const tokenBuckets = {
  input: 'inputTokens',
  cache_read: 'cacheReadTokens',
  cache_write: 'cacheWriteTokens',
  cache_write_1h: 'cacheWrite1hTokens',
  input_audio: 'inputAudioTokens',
  input_image: 'inputImageTokens',
  output: 'outputTokens',
  reasoning: 'reasoningTokens',
  output_audio: 'outputAudioTokens',
  output_image: 'outputImageTokens',
} as const satisfies Record<string, keyof Usage>

/** The metrics of one registry. */
export function metricsInstruments(
  registry: MetricsRegistry,
  prefix: string,
  bucketsSeconds: readonly number[],
): MetricsInstruments {
  const active = registry.gauge({
    name: metricNames.active,
    help: 'Requests in flight.',
    labels: ['http_request_method'],
  })
  const duration = registry.histogram({
    name: metricNames.duration,
    help: 'Duration of requests, to the close of the answer, in seconds.',
    labels: ['http_request_method', 'http_route', 'http_response_status_code'],
    buckets: bucketsSeconds,
  })
  const counter = (name: string, help: string, ...labels: string[]): Counter =>
    registry.counter({ name: `${prefix}${name}`, help, labels })
  const requests = counter(metricNames.requests, 'Requests.', 'http_request_method', 'http_route', 'outcome')
  const errors = counter(metricNames.errors, 'Requests refused or failed, by code.', 'code')
  const auth = counter(metricNames.authFailures, 'Requests refused for their credentials or rights, by code.', 'code')
  const cache = counter(metricNames.cache, 'Requests that the cache saw, by outcome.', 'outcome')
  const flags = counter(metricNames.flags, 'Requests in which a guard found something, by guard:label.', 'flag')
  const overhead = registry.histogram({
    name: `${prefix}${metricNames.overhead}`,
    help: 'Duration of requests that called a model, less the wait for the model, in seconds.',
    buckets: overheadBuckets,
  })
  const upstream = registry.histogram({
    name: `${prefix}${metricNames.upstream}`,
    help: 'Wait for models that answered, in seconds.',
    labels: ['provider', 'model'],
    buckets: bucketsSeconds,
  })
  const tokens = counter(metricNames.tokens, 'Tokens, in disjoint types.', 'provider', 'model', 'type')
  const rows = counter(metricNames.rows, 'Rows predicted.', 'provider', 'model')
  const cost = counter(metricNames.cost, 'Cost in US dollars.', 'provider', 'model')

  // Known from the start, so that a rate can be taken of the first failure.
  for (const code of authFailures) auth.series(code)

  const overheads = overhead.series()
  const actives = kept((method: string) => active.series(method))
  const errorsOf = kept((code: string) => errors.series(code))
  const authOf = kept((code: string) => auth.series(code))
  const cacheOf = kept((outcome: string) => cache.series(outcome))
  const flagsOf = kept((flag: string) => flags.series(flag))
  const durations = kept((key: string) => duration.series(...parts(key)))
  const requestsOf = kept((key: string) => requests.series(...parts(key)))
  const models = kept((key: string) => {
    const [provider = '', model = ''] = parts(key)
    return {
      upstream: upstream.series(provider, model),
      rows: kept(() => rows.series(provider, model)),
      cost: kept(() => cost.series(provider, model)),
      tokens: kept((type: string) => tokens.series(provider, model, type)),
    }
  })

  return {
    active: actives,
    request(method, route, status, outcome, seconds) {
      durations(`${method}\n${route}\n${status}`).observe(seconds)
      requestsOf(`${method}\n${route}\n${outcome}`).add(1)
    },
    error(code) {
      errorsOf(code).add(1)
      if (authFailures.has(code)) authOf(code).add(1)
    },
    cache: (outcome) => cacheOf(outcome).add(1),
    flag: (flag) => flagsOf(flag).add(1),
    overhead: (seconds) => overheads.observe(seconds),
    usage(provider, model, usage, costNanoUsd, upstreamMs) {
      const of = models(`${provider}\n${model}`)
      if (upstreamMs !== undefined) of.upstream.observe(upstreamMs / 1000)
      for (const [type, bucket] of tokenTypes) {
        const count = usage[bucket]
        if (count !== undefined && count > 0) of.tokens(type).add(count)
      }
      if (usage.rows !== undefined && usage.rows > 0) of.rows('').add(usage.rows)
      if (costNanoUsd !== undefined) of.cost('').add(costNanoUsd / nanoUsdPerUsd)
    },
  }
}

const tokenTypes = Object.entries(tokenBuckets)

function kept<Series>(make: (key: string) => Series): (key: string) => Series {
  const series = new Map<string, Series>()
  return (key) => {
    let known = series.get(key)
    if (known === undefined) {
      known = make(key)
      series.set(key, known)
    }
    return known
  }
}

// Whoever bounds the labels leaves no line break in them.
function parts(key: string): string[] {
  return key.split('\n')
}
