/** `GET /metrics` with `Accept: application/json`: the figures in short, since the process began. */
export interface MetricsSummary {
  requests: {
    total: number
    in_flight: number
    /** Callers that left before their answer was complete. */
    aborted: number
    /** Answered with 5xx, or broken half way. */
    failed: number
    /** By status code; `none` where the caller left before there was one. */
    by_status: Record<string, number>
    /** By code of the error catalogue. */
    errors: Record<string, number>
    /** Those of the errors that are about credentials and rights. */
    auth_failures: Record<string, number>
  }
  duration_seconds: DurationSummary
  /** Of requests that called a model: duration less the wait for the model. */
  overhead_seconds: DurationSummary
  tokens: {
    total: number
    /** In disjoint types: `input`, `cache_read`, `output`, `reasoning`, … */
    by_type: Record<string, number>
    by_model: Record<string, number>
  }
  /** US dollars. */
  cost_usd: { total: number; by_model: Record<string, number> }
  cache: {
    hit: number
    miss: number
    bypass: number
    collapsed: number
    /** Hits and collapsed in all that might have been; `null` before the first. */
    hit_ratio: number | null
  }
}

/** Percentiles are estimated from the buckets of a histogram; `null` before the first request. */
export interface DurationSummary {
  count: number
  mean: number | null
  p50: number | null
  p95: number | null
  p99: number | null
}
