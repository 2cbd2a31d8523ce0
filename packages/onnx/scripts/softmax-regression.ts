/** A sample as sparse features: what they are, how much of each, and the class to be learnt. */
export interface SparseSample {
  readonly ids: Int32Array
  readonly weights: Float32Array
  readonly label: number
}

export interface SparseSoftmaxOptions {
  readonly features: number
  readonly classes: number
  readonly epochs: number
  readonly learningRate: number
  /** Pull of every weight towards zero after each epoch, as a share of itself. */
  readonly decay: number
  /** Chance that a feature of a sample is left out of one step, so that no single n-gram is leant on. */
  readonly dropout: number
  /** Scales the features up while learning: a text's vector has length one, and larger steps suit it. */
  readonly scale: number
  readonly random: () => number
  /** The samples of an epoch; drawn anew each time. */
  readonly samples: () => readonly SparseSample[]
}

/** Turns logits into probabilities, in place. */
export function softmax(values: Float64Array): void {
  let largest = Number.NEGATIVE_INFINITY
  for (const value of values) largest = Math.max(largest, value)
  let sum = 0
  for (let at = 0; at < values.length; at += 1) {
    const raised = Math.exp((values[at] as number) - largest)
    values[at] = raised
    sum += raised
  }
  for (let at = 0; at < values.length; at += 1) values[at] = (values[at] as number) / sum
}

/**
 * Multinomial logistic regression over sparse features by stochastic gradient descent (AdaGrad steps), averaged over the
 * later epochs. It has no bias: a text that shows no feature is equally likely to be anything.
 *
 * @returns the weight table, features × classes, row by row
 */
export function trainSparseSoftmax(options: SparseSoftmaxOptions): Float32Array {
  const { features, classes, epochs, learningRate, decay, dropout, scale, random } = options
  const table = new Float32Array(features * classes)
  const squares = new Float32Array(features * classes).fill(1e-3)
  const average = new Float32Array(features * classes)
  const probabilities = new Float64Array(classes)
  const warmUpEpochs = Math.floor(epochs / 3)
  for (let epoch = 0; epoch < epochs; epoch += 1) {
    for (const sample of options.samples()) {
      const rows: number[] = []
      const values: number[] = []
      sample.ids.forEach((id, index) => {
        if (random() < dropout) return
        rows.push(id * classes)
        values.push(((sample.weights[index] as number) * scale) / (1 - dropout))
      })
      probabilities.fill(0)
      for (let index = 0; index < rows.length; index += 1) {
        const row = rows[index] as number
        const value = values[index] as number
        for (let label = 0; label < classes; label += 1) {
          probabilities[label] = (probabilities[label] as number) + value * (table[row + label] as number)
        }
      }
      softmax(probabilities)
      probabilities[sample.label] = (probabilities[sample.label] as number) - 1
      for (let index = 0; index < rows.length; index += 1) {
        const row = rows[index] as number
        const value = values[index] as number
        for (let label = 0; label < classes; label += 1) {
          const gradient = value * (probabilities[label] as number)
          // Most classes are ruled out at once; a step this small is lost in the rounding and costs a square root.
          if (Math.abs(gradient) < 1e-7) continue
          const at = row + label
          const square = (squares[at] as number) + gradient * gradient
          squares[at] = square
          table[at] = (table[at] as number) - (learningRate * gradient) / Math.sqrt(square)
        }
      }
    }
    for (let at = 0; at < table.length; at += 1) {
      const weight = table[at] as number
      if (epoch >= warmUpEpochs) average[at] = (average[at] as number) + (weight * scale) / (epochs - warmUpEpochs)
      table[at] = weight * (1 - decay)
    }
  }
  return average
}

export interface DenseSoftmaxOptions {
  readonly rows: readonly (readonly number[])[]
  readonly labels: readonly number[]
  readonly classes: number
  readonly steps: number
  readonly learningRate: number
  readonly decay: number
}

/**
 * Multinomial logistic regression over few dense features by full-batch gradient descent. The standardisation it learns with
 * is folded into what it returns, so that the model takes the features as they were measured.
 *
 * @returns `weights`, features × classes row by row, and `bias` by class
 */
export function trainDenseSoftmax(options: DenseSoftmaxOptions): { weights: Float32Array; bias: Float32Array } {
  const { rows, labels, classes, steps, learningRate, decay } = options
  const features = rows[0]?.length ?? 0
  const columns = Array.from({ length: features }, (_, feature) => rows.map((row) => row[feature] as number))
  const means = columns.map((column) => column.reduce((sum, value) => sum + value, 0) / rows.length)
  const deviations = columns.map((column, feature) =>
    Math.sqrt(column.reduce((sum, value) => sum + (value - (means[feature] as number)) ** 2, 0) / rows.length),
  )
  const scaled = rows.map((row) =>
    row.map((value, feature) => (value - (means[feature] as number)) / (deviations[feature] as number)),
  )
  const weights = new Float64Array(features * classes)
  const bias = new Float64Array(classes)
  const probabilities = new Float64Array(classes)
  for (let step = 0; step < steps; step += 1) {
    const weightGradient = new Float64Array(features * classes)
    const biasGradient = new Float64Array(classes)
    scaled.forEach((row, index) => {
      for (let label = 0; label < classes; label += 1) {
        probabilities[label] = row.reduce(
          (sum, value, feature) => sum + value * (weights[feature * classes + label] as number),
          bias[label] as number,
        )
      }
      softmax(probabilities)
      for (let label = 0; label < classes; label += 1) {
        const difference = (probabilities[label] as number) - (labels[index] === label ? 1 : 0)
        biasGradient[label] = (biasGradient[label] as number) + difference / rows.length
        row.forEach((value, feature) => {
          const at = feature * classes + label
          weightGradient[at] = (weightGradient[at] as number) + (difference * value) / rows.length
        })
      }
    })
    for (let at = 0; at < weights.length; at += 1) {
      const weight = weights[at] as number
      weights[at] = weight - learningRate * ((weightGradient[at] as number) + decay * weight)
    }
    for (let label = 0; label < classes; label += 1) {
      bias[label] = (bias[label] as number) - learningRate * (biasGradient[label] as number)
    }
  }
  const folded = new Float32Array(features * classes)
  const foldedBias = Float32Array.from(bias)
  for (let label = 0; label < classes; label += 1) {
    for (let feature = 0; feature < features; feature += 1) {
      const weight = (weights[feature * classes + label] as number) / (deviations[feature] as number)
      folded[feature * classes + label] = weight
      foldedBias[label] = (foldedBias[label] as number) - weight * (means[feature] as number)
    }
  }
  return { weights: folded, bias: foldedBias }
}
