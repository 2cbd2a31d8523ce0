import { TollgateError } from '@tollgate/core/errors'
import type { Prediction } from '@tollgate/core/inference/task'
import type { OnnxManifest } from './manifest.js'
import type { Tensors } from './worker-protocol.js'

/** Float32 softmax over C classes is this close to 1/C when nothing speaks for any class. */
const uniformTolerance = 1e-6

/**
 * Reads the model's probabilities [N, labels] as one prediction a row.
 *
 * @throws TollgateError `upstream_invalid` when the output has another shape or holds what is not a number
 */
export function readPredictions(output: OnnxManifest['output'], tensors: Tensors, rows: number): Prediction[] {
  const { labels, undetermined, probabilities: wanted, aliases } = output
  const data = tensors[output.tensor]?.data
  if (!(data instanceof Float32Array) || data.length !== rows * labels.length) {
    const message = `The model's output "${output.tensor}" is not float32 [${rows}, ${labels.length}].`
    throw new TollgateError('upstream_invalid', message)
  }
  return Array.from({ length: rows }, (_, row) => {
    const own = data.subarray(row * labels.length, (row + 1) * labels.length)
    let best = 0
    own.forEach((probability, label) => {
      if (!Number.isFinite(probability))
        throw new TollgateError('upstream_invalid', 'The model answered with NaN or Infinity.')
      if (probability > (own[best] as number)) best = label
    })
    const probability = own[best] as number
    const nothingKnown = undetermined !== undefined && probability - 1 / labels.length < uniformTolerance
    const prediction = nothingKnown ? undetermined : (labels[best] as string)
    return {
      prediction,
      probability,
      ...(wanted ? { probabilities: Object.fromEntries(labels.map((label, at) => [label, own[at] as number])) } : {}),
      ...(aliases?.prediction === undefined ? {} : { [aliases.prediction]: prediction }),
      ...(aliases?.probability === undefined ? {} : { [aliases.probability]: probability }),
    }
  })
}
