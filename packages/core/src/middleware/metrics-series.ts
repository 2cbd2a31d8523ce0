import { configInvalid } from '../errors.js'
import type {
  Counter,
  Gauge,
  Histogram,
  HistogramDefinition,
  HistogramSeries,
  MetricDefinition,
  ValueSeries,
} from './metrics-registry.js'

/** Series by the values of their labels. (Classes here: many series share their methods, and each is a few numbers.) */
class SeriesSet<Series> {
  readonly #definition: MetricDefinition
  readonly #make: (labels: Record<string, string>) => Series
  readonly #series = new Map<string, Series>()

  constructor(definition: MetricDefinition, make: (labels: Record<string, string>) => Series) {
    this.#definition = definition
    this.#make = make
    // Without labels there is one series, and it is there from the start.
    if ((definition.labels ?? []).length === 0) this.series()
  }

  series(...values: readonly string[]): Series {
    const labels = labelsOf(this.#definition, values)
    const key = JSON.stringify(labels)
    const existing = this.#series.get(key)
    if (existing !== undefined) return existing
    const made = this.#make(labels)
    this.#series.set(key, made)
    return made
  }

  all(): Series[] {
    return [...this.#series.values()]
  }
}

const maxLabelLength = 128

function labelsOf({ name, labels = [] }: MetricDefinition, values: readonly string[]): Record<string, string> {
  if (labels.length !== values.length) {
    throw configInvalid(
      `${name} has ${labels.length} labels (${labels.join(', ')}); ${values.length} values were given.`,
    )
  }
  return Object.fromEntries(labels.map((label, index) => [label, safeLabel(values[index] ?? '')]))
}

// Commas go as well: prom-client and what aggregates its metrics find series by `a:1,b:2,`, where a comma could pass for the next label.
function safeLabel(value: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must go
  return value.slice(0, maxLabelLength).replace(/[,\u0000-\u001f\u007f]/g, '_')
}

class Value implements ValueSeries {
  readonly labels: Record<string, string>
  value = 0

  constructor(labels: Record<string, string>) {
    this.labels = labels
  }

  add(amount: number): void {
    this.value += amount
  }

  set(value: number): void {
    this.value = value
  }
}

/** The numbers of a counter or a gauge. */
export class ValueSet extends SeriesSet<Value> implements Counter, Gauge {
  constructor(definition: MetricDefinition) {
    super(definition, (labels) => new Value(labels))
  }
}

class Distribution {
  readonly labels: Record<string, string>
  readonly #bounds: readonly number[]
  /** Observations by bucket, not summed up; the last is what is over every bound. */
  readonly #counts: Float64Array
  #sum = 0

  constructor(labels: Record<string, string>, bounds: readonly number[]) {
    this.labels = labels
    this.#bounds = bounds
    this.#counts = new Float64Array(bounds.length + 1)
  }

  observe(value: number): void {
    // One NaN would spoil the sum for good.
    if (!Number.isFinite(value)) return
    const bounds = this.#bounds
    let bucket = 0
    while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket += 1
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1
    this.#sum += value
  }

  read(): HistogramSeries {
    let count = 0
    const buckets = Array.from(this.#counts, (own, index) => {
      count += own
      return { upTo: this.#bounds[index] ?? Number.POSITIVE_INFINITY, count }
    })
    return { labels: this.labels, count, sum: this.#sum, buckets }
  }
}

/** The distributions of a histogram. */
export class HistogramSet implements Histogram {
  readonly #set: SeriesSet<Distribution>

  constructor(definition: HistogramDefinition) {
    const bounds = [...definition.buckets]
    this.#set = new SeriesSet(definition, (labels) => new Distribution(labels, bounds))
  }

  series(...labels: readonly string[]): { observe(value: number): void } {
    return this.#set.series(...labels)
  }

  all(): HistogramSeries[] {
    return this.#set.all().map((distribution) => distribution.read())
  }
}
