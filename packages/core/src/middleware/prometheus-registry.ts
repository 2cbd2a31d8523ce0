import * as prometheus from 'prom-client'
import { z } from 'zod'
import { checkedOptions, configInvalid } from '../errors.js'
import type {
  Counter,
  Gauge,
  Histogram,
  HistogramDefinition,
  HistogramSeries,
  MetricDefinition,
  MetricSnapshot,
  MetricsRegistry,
} from './metrics-registry.js'

/** Options of {@link prometheusRegistry}. */
export interface PrometheusRegistryOptions {
  /** Adds CPU, memory, event loop and garbage collection of the process. Default false. */
  readonly processMetrics?: boolean
}

const optionsSchema = z.strictObject({ processMetrics: z.boolean().default(false) })

interface Known {
  readonly kind: MetricSnapshot['kind']
  readonly metric: Counter | Gauge | Histogram
  readonly snapshot: () => Promise<MetricSnapshot>
}

/**
 * A metrics registry of its own over prom-client; the library's global one is not touched. Counters and gauges are plain numbers that
 * prom-client sees when somebody asks for them.
 *
 * @example const registry = prometheusRegistry({ processMetrics: true })
 * @throws TollgateError `config_invalid` for wrong options
 */
export function prometheusRegistry(options: PrometheusRegistryOptions = {}): MetricsRegistry {
  const { processMetrics } = checkedOptions('prometheusRegistry', optionsSchema, options)
  // One registry per format: the format is a registry's state, and two scrapes may run at once.
  const text = new prometheus.Registry()
  const open = new prometheus.Registry<prometheus.OpenMetricsContentType>()
  open.setContentType(prometheus.openMetricsContentType)
  const registers = [text, open]
  const known = new Map<string, Known>()

  if (processMetrics) {
    prometheus.collectDefaultMetrics({ register: text })
    for (const metric of registered(text)) open.registerMetric(metric)
  }

  /** The metric of this name, made at first use. */
  const once = <Metric extends Counter | Gauge | Histogram>(
    kind: Known['kind'],
    { name }: MetricDefinition,
    make: () => { metric: Metric; snapshot: () => Promise<MetricSnapshot> },
  ): Metric => {
    const existing = known.get(name)
    if (existing === undefined) {
      const made = make()
      known.set(name, { kind, ...made })
      return made.metric
    }
    if (existing.kind !== kind) throw configInvalid(`The metric ${name} is a ${existing.kind}, not a ${kind}.`)
    // Made by the same call for the same kind.
    return existing.metric as Metric
  }

  return {
    counter: (definition) =>
      once('counter', definition, () => {
        const values = new Values(definition)
        new prometheus.Counter({
          ...named(definition),
          registers,
          collect() {
            this.reset()
            for (const { labels, value } of values.all()) this.inc(labels, value)
          },
        })
        return {
          metric: values,
          snapshot: async () => ({ name: definition.name, kind: 'counter', series: values.all() }),
        }
      }),

    gauge: (definition) =>
      once('gauge', definition, () => {
        const values = new Values(definition)
        new prometheus.Gauge({
          ...named(definition),
          registers,
          collect() {
            for (const { labels, value } of values.all()) this.set(labels, value)
          },
        })
        return {
          metric: values,
          snapshot: async () => ({ name: definition.name, kind: 'gauge', series: values.all() }),
        }
      }),

    histogram: (definition) =>
      once('histogram', definition, () => {
        const metric = new prometheus.Histogram({
          ...named(definition),
          buckets: [...definition.buckets],
          registers,
        })
        return {
          metric: { series: (...labels) => metric.labels(labelsOf(definition, labels)) },
          snapshot: async () => ({
            name: definition.name,
            kind: 'histogram',
            series: histogramSeries(definition, (await metric.get()).values),
          }),
        }
      }),

    expose(format) {
      if (format === 'prometheus') return text.metrics()
      // prom-client takes `_total` off the names of counters when it writes OpenMetrics, for good: the next text exposition would lack it. All names
      // are read before its first await, so they can be put back at once.
      const names = registered(open).map((metric) => [metric, metric.name] as const)
      const written = open.metrics()
      for (const [metric, name] of names) metric.name = name
      return written
    },

    async collect() {
      return Promise.all([...known.values()].map(({ snapshot }) => snapshot()))
    },
  }
}

/** Numbers by label values. */
class Values implements Counter, Gauge {
  readonly #definition: MetricDefinition
  readonly #series = new Map<string, { labels: Record<string, string>; value: number } & ReturnType<Gauge['series']>>()

  constructor(definition: MetricDefinition) {
    this.#definition = definition
    if ((definition.labels ?? []).length === 0) this.series()
  }

  series(...given: readonly string[]) {
    const labels = labelsOf(this.#definition, given)
    const key = JSON.stringify(labels)
    const existing = this.#series.get(key)
    if (existing !== undefined) return existing
    const made = {
      labels,
      value: 0,
      add(amount: number) {
        made.value += amount
      },
      set(value: number) {
        made.value = value
      },
    }
    this.#series.set(key, made)
    return made
  }

  all(): Array<{ labels: Record<string, string>; value: number }> {
    return Array.from(this.#series.values(), ({ labels, value }) => ({ labels, value }))
  }
}

const maxLabelLength = 128

// prom-client finds a series by `a:1,b:2,`, so that a comma in a value could pass for the next label: one series in the place of another.
function labelsOf({ name, labels = [] }: MetricDefinition, values: readonly string[]): Record<string, string> {
  if (labels.length !== values.length) {
    throw configInvalid(
      `${name} has ${labels.length} labels (${labels.join(', ')}); ${values.length} values were given.`,
    )
  }
  return Object.fromEntries(labels.map((label, index) => [label, safeLabel(values[index] ?? '')]))
}

function safeLabel(value: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must go
  return value.slice(0, maxLabelLength).replace(/[,\u0000-\u001f\u007f]/g, '_')
}

function named({ name, help, labels = [] }: MetricDefinition) {
  return { name, help, labelNames: [...labels] }
}

interface Named {
  name: string
}

// The typings leave out that a registry hands out the metrics themselves, as its own `merge` needs.
function registered(registry: { getMetricsAsArray(): unknown }): Array<prometheus.Metric & Named> {
  return registry.getMetricsAsArray() as Array<prometheus.Metric & Named>
}

type HistogramValue = prometheus.MetricValueWithName<string>

function histogramSeries(definition: HistogramDefinition, values: readonly HistogramValue[]): HistogramSeries[] {
  const found = new Map<string, { labels: Record<string, string>; count: number; sum: number; buckets: Bucket[] }>()
  for (const { labels: all, value, metricName } of values) {
    const { le, ...rest } = all as Record<string, string | number>
    const labels = Object.fromEntries((definition.labels ?? []).map((label) => [label, String(rest[label] ?? '')]))
    const key = JSON.stringify(labels)
    const series = found.get(key) ?? { labels, count: 0, sum: 0, buckets: [] }
    found.set(key, series)
    if (le !== undefined)
      series.buckets.push({ upTo: le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le), count: value })
    else if (metricName === `${definition.name}_sum`) series.sum = value
    else if (metricName === `${definition.name}_count`) series.count = value
  }
  return [...found.values()]
}

type Bucket = HistogramSeries['buckets'][number]
