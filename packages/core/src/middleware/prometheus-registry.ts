import * as prometheus from 'prom-client'
import { z } from 'zod'
import { configInvalid } from '../errors.js'
import { checkedOptions } from '../options.js'
import type { MetricDefinition, MetricSnapshot, MetricsRegistry } from './metrics-registry.js'
import { HistogramSet, ValueSet } from './metrics-series.js'

/** Options of {@link prometheusRegistry}. */
export interface PrometheusRegistryOptions {
  /** Adds CPU, memory, event loop and garbage collection of the process. Default false. */
  readonly processMetrics?: boolean
}

const optionsSchema = z.strictObject({ processMetrics: z.boolean().default(false) })

type Kind = MetricSnapshot['kind']
type Sample = prometheus.MetricValueWithName<string>

/**
 * A metrics registry of its own over prom-client, whose global one is not touched. Figures are plain numbers until somebody asks for them; prom-client
 * writes the formats and knows the process.
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

  // In OpenMetrics a counter's name is told without the `_total` of its samples. prom-client would strike it from the metric for good, and the next
  // text exposition would lack it; so each format has an object of its own.
  const publish = (name: string, help: string, kind: Kind, samples: () => Sample[] | Promise<Sample[]>): void => {
    const told = (as: string) => ({
      name: as,
      help,
      type: kind,
      get: async () => ({ name: as, help, type: kind, values: await samples() }),
    })
    // The typings ask for a metric of prom-client's classes; the registry asks for no more than this.
    text.registerMetric(told(name) as unknown as prometheus.Metric)
    open.registerMetric(told(kind === 'counter' ? name.replace(/_total$/, '') : name) as unknown as prometheus.Metric)
  }

  if (processMetrics) {
    const ofProcess = new prometheus.Registry()
    prometheus.collectDefaultMetrics({ register: ofProcess })
    for (const metric of ofProcess.getMetricsAsArray() as unknown as ProcessMetric[]) {
      publish(metric.name, metric.help, metric.type, async () => (await metric.get()).values)
    }
  }

  const known = new Map<string, { readonly kind: Kind; readonly metric: ValueSet | HistogramSet }>()

  /** The metric of this name, made at first use. */
  const once = <Metric extends ValueSet | HistogramSet>(
    kind: Kind,
    { name, help }: MetricDefinition,
    make: () => Metric,
  ) => {
    const existing = known.get(name)
    if (existing !== undefined) {
      if (existing.kind !== kind) throw configInvalid(`The metric ${name} is a ${existing.kind}, not a ${kind}.`)
      // Made by the same function for the same kind.
      return existing.metric as Metric
    }
    const metric = make()
    known.set(name, { kind, metric })
    publish(name, help, kind, () => samplesOf(name, metric))
    return metric
  }

  return {
    counter: (definition) => once('counter', definition, () => new ValueSet(definition)),
    gauge: (definition) => once('gauge', definition, () => new ValueSet(definition)),
    histogram: (definition) => once('histogram', definition, () => new HistogramSet(definition)),
    expose: (format) => (format === 'prometheus' ? text : open).metrics(),
    collect: async () =>
      Array.from(known, ([name, { kind, metric }]) => ({ name, kind, series: metric.all() }) as MetricSnapshot),
  }
}

interface ProcessMetric {
  readonly name: string
  readonly help: string
  readonly type: Kind
  get(): Promise<{ readonly values: Sample[] }>
}

function samplesOf(name: string, metric: ValueSet | HistogramSet): Sample[] {
  if (metric instanceof ValueSet) return metric.all().map(({ labels, value }) => ({ labels, value }) as Sample)
  return metric.all().flatMap(({ labels, count, sum, buckets }) => [
    ...buckets.map((bucket) => ({
      metricName: `${name}_bucket`,
      labels: { ...labels, le: bucket.upTo === Number.POSITIVE_INFINITY ? '+Inf' : bucket.upTo },
      value: bucket.count,
    })),
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ])
}
