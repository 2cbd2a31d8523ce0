/** A sample as sparse features. */
export interface SparseSample {
  readonly ids: Int32Array
  readonly weights: Float32Array
  readonly label: number
}

/** A source of numbers in [0, 1), the same from the same seed on every machine (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** Shuffles in place (Fisher and Yates). */
export function shuffle<Item>(items: Item[], random: () => number): Item[] {
  for (let last = items.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1))
    const held = items[last] as Item
    items[last] = items[other] as Item
    items[other] = held
  }
  return items
}

export interface SoftmaxOptions {
  readonly features: number
  readonly classes: number
  readonly epochs: number
  readonly learningRate: number
  /** Pull of every weight towards zero, per epoch, as a share of itself. */
  readonly decay: number
  /** Chance that a feature of a sample is left out of one step, so that no single n-gram is leant on. */
  readonly dropout: number
  /** Scales the features up: a text's vector has length one, so this is how sure a whole text can make the model. */
  readonly scale: number
  readonly random: () => number
  /** The samples of an epoch; drawn anew each time. */
  readonly samples: (epoch: number) => SparseSample[]
}

/** Probabilities of one sample, written into `into`. `table` is features × classes, row by row. */
export function predictSparse(table: Float32Array, sample: Omit<SparseSample, 'label'>, into: Float64Array): void {
  const classes = into.length
  into.fill(0)
  for (let index = 0; index < sample.ids.length; index += 1) {
    const weight = sample.weights[index] as number
    const row = (sample.ids[index] as number) * classes
    for (let label = 0; label < classes; label += 1)
      into[label] = (into[label] as number) + weight * (table[row + label] as number)
  }
  softmaxInPlace(into)
}

export function softmaxInPlace(values: Float64Array): void {
  let largest = Number.NEGATIVE_INFINITY
  for (const value of values) if (value > largest) largest = value
  let sum = 0
  for (let label = 0; label < values.length; label += 1) {
    const raised = Math.exp((values[label] as number) - largest)
    values[label] = raised
    sum += raised
  }
  for (let label = 0; label < values.length; label += 1) values[label] = (values[label] as number) / sum
}

/**
 * Multinomial logistic regression over sparse features by stochastic gradient descent (AdaGrad), without a bias:
 * a text that shows no feature is equally likely to be anything.
 */
export function trainSoftmax(options: SoftmaxOptions): Float32Array {
  const { features, classes, epochs, learningRate, decay, dropout, scale, random } = options
  const table = new Float32Array(features * classes)
  const squares = new Float32Array(features * classes).fill(1e-3)
  const probabilities = new Float64Array(classes)
  for (let epoch = 0; epoch < epochs; epoch += 1) {
    for (const sample of options.samples(epoch)) {
      const kept: number[] = []
      const values: number[] = []
      for (let index = 0; index < sample.ids.length; index += 1) {
        if (dropout > 0 && random() < dropout) continue
        kept.push((sample.ids[index] as number) * classes)
        values.push(((sample.weights[index] as number) * scale) / (1 - dropout))
      }
      probabilities.fill(0)
      for (let index = 0; index < kept.length; index += 1) {
        const row = kept[index] as number
        const value = values[index] as number
        for (let label = 0; label < classes; label += 1)
          probabilities[label] = (probabilities[label] as number) + value * (table[row + label] as number)
      }
      softmaxInPlace(probabilities)
      probabilities[sample.label] = (probabilities[sample.label] as number) - 1
      for (let index = 0; index < kept.length; index += 1) {
        const row = kept[index] as number
        const value = values[index] as number
        for (let label = 0; label < classes; label += 1) {
          const gradient = value * (probabilities[label] as number)
          if (gradient < 1e-7 && gradient > -1e-7) continue
          const at = row + label
          const square = (squares[at] as number) + gradient * gradient
          squares[at] = square
          table[at] = (table[at] as number) - (learningRate * gradient) / Math.sqrt(square)
        }
      }
    }
    if (decay > 0) for (let at = 0; at < table.length; at += 1) table[at] = (table[at] as number) * (1 - decay)
  }
  for (let at = 0; at < table.length; at += 1) table[at] = (table[at] as number) * scale
  return table
}
