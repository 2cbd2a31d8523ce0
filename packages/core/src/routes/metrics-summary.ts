import { metricNames } from '../middleware/metrics-instruments.js'
import type { HistogramSeries, MetricSnapshot, ValueSeries } from '../middleware/metrics-registry.js'
import type { DurationSummary, MetricsSummary } from '../wire/metrics.js'

/** The figures of `metrics()` in short. */
export function metricsSummary(snapshots: readonly MetricSnapshot[], prefix: string): MetricsSummary {
  const byName = new Map(snapshots.map((snapshot) => [snapshot.name, snapshot]))
  const values = (name: string): readonly ValueSeries[] => {
    const snapshot = byName.get(name)
    return snapshot === undefined || snapshot.kind === 'histogram' ? [] : snapshot.series
  }
  const histogram = (name: string): readonly HistogramSeries[] => {
    const snapshot = byName.get(name)
    return snapshot?.kind === 'histogram' ? snapshot.series : []
  }
  const durations = histogram(metricNames.duration)
  const requests = values(prefix + metricNames.requests)
  const outcomes = by('outcome', requests)
  const tokens = values(prefix + metricNames.tokens)
  const cost = values(prefix + metricNames.cost)

  return {
    requests: {
      total: sum(requests),
      in_flight: sum(values(metricNames.active)),
      aborted: outcomes['aborted'] ?? 0,
      failed: outcomes['failed'] ?? 0,
      by_status: by(
        'http_response_status_code',
        durations.map(({ labels, count }) => ({ labels, value: count })),
      ),
      errors: by('code', values(prefix + metricNames.errors)),
      auth_failures: by('code', values(prefix + metricNames.authFailures)),
    },
    duration_seconds: durationSummary(durations),
    overhead_seconds: durationSummary(histogram(prefix + metricNames.overhead)),
    tokens: { total: sum(tokens), by_type: by('type', tokens), by_model: by('model', tokens) },
    cost_usd: { total: dollars(sum(cost)), by_model: mapValues(by('model', cost), dollars) },
    cache: cacheSummary(by('outcome', values(prefix + metricNames.cache))),
  }
}

function cacheSummary(outcomes: Record<string, number>): MetricsSummary['cache'] {
  const { hit = 0, miss = 0, bypass = 0, collapsed = 0 } = outcomes
  const asked = hit + miss + collapsed
  return { hit, miss, bypass, collapsed, hit_ratio: asked === 0 ? null : (hit + collapsed) / asked }
}

function durationSummary(all: readonly HistogramSeries[]): DurationSummary {
  const count = all.reduce((total, series) => total + series.count, 0)
  if (count === 0) return { count, mean: null, p50: null, p95: null, p99: null }
  const buckets = merged(all)
  return {
    count,
    mean: all.reduce((total, series) => total + series.sum, 0) / count,
    p50: quantile(0.5, buckets, count),
    p95: quantile(0.95, buckets, count),
    p99: quantile(0.99, buckets, count),
  }
}

type Bucket = HistogramSeries['buckets'][number]

// All series of one histogram have the same bounds.
function merged(all: readonly HistogramSeries[]): Bucket[] {
  return (all[0]?.buckets ?? []).map(({ upTo }, index) => ({
    upTo,
    count: all.reduce((total, series) => total + (series.buckets[index]?.count ?? 0), 0),
  }))
}

// As PromQL's histogram_quantile: linear within a bucket; above the last finite bound, that bound.
function quantile(q: number, buckets: readonly Bucket[], total: number): number {
  const rank = q * total
  let below: Bucket = { upTo: 0, count: 0 }
  for (const bucket of buckets) {
    if (bucket.count >= rank) {
      if (bucket.upTo === Number.POSITIVE_INFINITY) return below.upTo
      return below.upTo + ((bucket.upTo - below.upTo) * (rank - below.count)) / (bucket.count - below.count)
    }
    below = bucket
  }
  return below.upTo
}

function sum(series: readonly ValueSeries[]): number {
  return series.reduce((total, { value }) => total + value, 0)
}

function by(label: string, series: readonly ValueSeries[]): Record<string, number> {
  const totals = new Map<string, number>()
  for (const { labels, value } of series) {
    const key = labels[label] || 'none'
    totals.set(key, (totals.get(key) ?? 0) + value)
  }
  return Object.fromEntries(totals)
}

function mapValues(record: Record<string, number>, change: (value: number) => number): Record<string, number> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]))
}

// Whole nano-USD: a sum of floats shows its rounding further behind.
function dollars(value: number): number {
  return Math.round(value * 1e9) / 1e9
}
