/**
 * The port between Tollgate and a metrics library. `prometheusRegistry()` is the one that comes with it; another (OpenTelemetry's meters, StatsD)
 * is these five functions.
 */
export interface MetricsRegistry {
  /** Makes a metric, or gives the one of that name. Throws `config_invalid` if that is of another kind. */
  counter(definition: MetricDefinition): Counter
  gauge(definition: MetricDefinition): Gauge
  histogram(definition: HistogramDefinition): Histogram
  /** Everything, in an exposition format. */
  expose(format: ExpositionFormat): Promise<string>
  /** Everything, as values. */
  collect(): Promise<readonly MetricSnapshot[]>
}

/** Prometheus' text format 0.0.4, or OpenMetrics 1.0.0. */
export type ExpositionFormat = 'prometheus' | 'openmetrics'

export interface MetricDefinition {
  /** Whole: base unit and, for counters, `_total` included. */
  readonly name: string
  readonly help: string
  /** Names of the labels; every series gives a value for each, in this order. */
  readonly labels?: readonly string[]
}

export interface HistogramDefinition extends MetricDefinition {
  /** Upper bounds, ascending, in the metric's unit. */
  readonly buckets: readonly number[]
}

/** `series` finds or makes the series of these label values; keep what it returns, for it is the slow part. */
export interface Counter {
  series(...labels: readonly string[]): { add(amount: number): void }
}

export interface Gauge {
  series(...labels: readonly string[]): { add(amount: number): void; set(value: number): void }
}

export interface Histogram {
  series(...labels: readonly string[]): { observe(value: number): void }
}

/** One metric at one moment. */
export type MetricSnapshot =
  | { readonly name: string; readonly kind: 'counter' | 'gauge'; readonly series: readonly ValueSeries[] }
  | { readonly name: string; readonly kind: 'histogram'; readonly series: readonly HistogramSeries[] }

export interface ValueSeries {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface HistogramSeries {
  readonly labels: Readonly<Record<string, string>>
  readonly count: number
  readonly sum: number
  /** Observations up to each bound, those of the smaller bounds included; the last bound is infinite. */
  readonly buckets: ReadonlyArray<{ readonly upTo: number; readonly count: number }>
}
