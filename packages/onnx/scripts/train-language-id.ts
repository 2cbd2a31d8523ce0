import { normalizeText, type TextFeatureParameters, textFeatures } from '../src/text-features.ts'
import { languages } from './languages.ts'
import { sparseSoftmaxGraph } from './onnx-graph.ts'
import { seededRandom, shuffle } from './seeded-random.ts'
import { type SparseSample, trainSparseSoftmax } from './softmax-regression.ts'
import { type LabelledText, splitDeclarations } from './universal-declaration.ts'

/** 29,000 rows of 50 bytes keep the file under 1.5 MB. */
export const featureParameters: TextFeatureParameters = { buckets: 29_000, maxOrder: 4, maxCharacters: 256 }

const SAMPLES_PER_LANGUAGE = 400
/** This share of the samples are words picked from the vocabulary at large, so that rare words count as much as legal phrases. */
const LOOSE_WORDS_SHARE = 0.4
const MAX_LOOSE_WORDS = 6
const MIN_SPAN_CHARACTERS = 8
const MAX_SPAN_CHARACTERS = 120
/** Below this, a text has no words set apart by spaces (Chinese, Japanese, Thai): only spans of it are drawn. */
const MIN_VOCABULARY = 300

/** Draws short texts from the training paragraphs of one language: spans of words, or loose words. */
function textSource(texts: readonly LabelledText[], random: () => number): () => string {
  const whole = texts.map(({ text }) => text).join(' ')
  const words = [...new Set(normalizeText(whole).split(' '))]
  return () => {
    if (words.length > MIN_VOCABULARY && random() < LOOSE_WORDS_SHARE) {
      const count = 1 + Math.floor(random() * MAX_LOOSE_WORDS)
      return Array.from({ length: count }, () => words[Math.floor(random() * words.length)]).join(' ')
    }
    // Squaring favours short spans: they are what needs to be learnt.
    const length = MIN_SPAN_CHARACTERS + Math.floor(random() ** 2 * MAX_SPAN_CHARACTERS)
    let start = Math.floor(random() * (whole.length - length))
    let end = start + length
    if (words.length > MIN_VOCABULARY) {
      while (start > 0 && whole[start - 1] !== ' ') start -= 1
      while (end < whole.length && whole[end] !== ' ') end += 1
    }
    return whole.slice(start, end)
  }
}

/** One byte per weight; each class has its own step, set by its largest weight. */
function quantize(table: Float32Array, classes: number): { bytes: Int8Array; scales: Float32Array } {
  const scales = new Float32Array(classes)
  table.forEach((weight, at) => {
    const label = at % classes
    scales[label] = Math.max(scales[label] as number, Math.abs(weight) / 127)
  })
  return { bytes: Int8Array.from(table, (weight, at) => Math.round(weight / (scales[at % classes] as number))), scales }
}

/** Learns from the training articles and returns the model's file. The same bytes each time. */
export function trainLanguageId(): Uint8Array {
  const random = seededRandom(1948)
  const { training } = splitDeclarations()
  const sources = languages.map((_, label) =>
    textSource(
      training.filter((text) => text.label === label),
      random,
    ),
  )
  const table = trainSparseSoftmax({
    features: featureParameters.buckets,
    classes: languages.length,
    epochs: 12,
    learningRate: 0.15,
    decay: 0.2,
    dropout: 0.3,
    scale: 12,
    random,
    samples: () => {
      const samples: SparseSample[] = []
      sources.forEach((draw, label) => {
        for (let drawn = 0; drawn < SAMPLES_PER_LANGUAGE; drawn += 1) {
          samples.push({ ...textFeatures(draw(), featureParameters), label })
        }
      })
      return shuffle(samples, random)
    },
  })
  const { bytes, scales } = quantize(table, languages.length)
  return sparseSoftmaxGraph({
    name: 'language-id',
    features: featureParameters.buckets,
    classes: languages.length,
    table: bytes,
    scales,
  })
}
