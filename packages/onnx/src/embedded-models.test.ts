import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Call } from '@tollgate/core/inference/model'
import { afterAll, describe, expect, it } from 'vitest'
import { everydayPhrases } from '../scripts/everyday-phrases.ts'
import { everydaySentences } from '../scripts/everyday-sentences.ts'
import { species, splitFlowers } from '../scripts/iris-flowers.ts'
import { languages } from '../scripts/languages.ts'
import { splitDeclarations } from '../scripts/universal-declaration.ts'
import { embeddedModels } from './embedded-models.js'
import { readManifest } from './manifest.js'
import { onnxProvider } from './onnx-provider.js'

const provider = onnxProvider({ models: embeddedModels() })
afterAll(() => provider.close?.())

const call: Call = { signal: new AbortController().signal, requestId: 'test' }

async function predict(id: string, rows: readonly unknown[]) {
  const model = provider.model('predict', id)
  if (model === undefined) throw new Error(`no model ${id}`)
  const { output } = await model.run({ rows }, call)
  return output.predictions
}

interface Expected {
  readonly row: unknown
  readonly label: string
}

async function accuracy(id: string, expected: readonly Expected[]) {
  const wrong: string[] = []
  for (let start = 0; start < expected.length; start += 200) {
    const batch = expected.slice(start, start + 200)
    const predictions = await predict(
      id,
      batch.map(({ row }) => row),
    )
    batch.forEach(({ row, label }, index) => {
      const found = predictions[index]?.prediction
      if (found !== label) wrong.push(`${label} taken for ${found}: ${JSON.stringify(row)}`)
    })
  }
  return { share: Math.round((1 - wrong.length / expected.length) * 10_000) / 10_000, wrong }
}

interface ModelCard {
  readonly heldOutAccuracy: number
  readonly evaluation: readonly { readonly name: string; readonly rows: number; readonly accuracy: number }[]
}

function card(name: string): ModelCard {
  return JSON.parse(readFileSync(new URL(`../models/${name}.json`, import.meta.url), 'utf8')) as ModelCard
}

const text = (label: number, value: string): Expected => ({ row: { text: value }, label: languages[label]?.tag ?? '' })

describe('language-id', () => {
  const { training, heldOut } = splitDeclarations()
  const everyday = (part: 'lookedAt' | 'fresh') =>
    languages.flatMap(({ tag }, label) => (everydaySentences[tag]?.[part] ?? []).map((value) => text(label, value)))
  const sets = {
    'held-out-sentences': heldOut.map((row) => text(row.label, row.text)),
    'held-out-first-40-characters': heldOut.map((row) => text(row.label, row.text.slice(0, 40))),
    'held-out-first-20-characters': heldOut.map((row) => text(row.label, row.text.slice(0, 20))),
    'everyday-sentences-looked-at': everyday('lookedAt'),
    'everyday-sentences-fresh': everyday('fresh'),
    'everyday-phrases-looked-at': languages.flatMap(({ tag }, label) =>
      (everydayPhrases[tag] ?? []).map((value) => text(label, value)),
    ),
  }

  it('never learnt a held-out sentence', () => {
    const learnt = languages.map((_, label) =>
      training
        .filter((row) => row.label === label)
        .map((row) => row.text)
        .join('\n'),
    )
    expect(heldOut.filter((row) => learnt[row.label]?.includes(row.text))).toEqual([])
    expect(new Set(heldOut.map((row) => row.label)).size).toBe(languages.length)
    expect(languages.length).toBeGreaterThanOrEqual(30)
  })

  it.each(card('language-id-1.0.0').evaluation)('reaches the accuracy of its card: $name', async (figure) => {
    const { share } = await accuracy('language-id', sets[figure.name as keyof typeof sets])
    expect(share).toBe(figure.accuracy)
    expect(sets[figure.name as keyof typeof sets].length).toBe(figure.rows)
  })

  it('is right on more than 98 % of held-out sentences and 85 % of everyday ones', async () => {
    const { heldOutAccuracy, evaluation } = card('language-id-1.0.0')
    expect(heldOutAccuracy).toBe(evaluation[0]?.accuracy)
    expect(heldOutAccuracy).toBeGreaterThan(0.98)
    expect((await accuracy('language-id', sets['everyday-sentences-fresh'])).share).toBeGreaterThan(0.85)
  })

  it.each([
    ['en', 'Where is the train station?'],
    ['de', 'Wo ist der Bahnhof?'],
    ['es', '¿Dónde está la estación?'],
    ['fr', 'Où est la gare ?'],
    ['it', 'Dov’è la stazione?'],
    ['pt', 'Onde fica a estação de trem?'],
    ['nl', 'Waar is het treinstation?'],
    ['pl', 'Gdzie jest dworzec kolejowy?'],
    ['ru', 'Где находится вокзал?'],
    ['el', 'Πού είναι ο σταθμός του τρένου;'],
    ['ar', 'أين محطة القطار؟'],
    ['he', 'איפה תחנת הרכבת?'],
    ['hi', 'रेलवे स्टेशन कहाँ है?'],
    ['ja', '駅はどこですか。'],
    ['ko', '기차역이 어디에 있습니까?'],
    ['zh', '火车站在哪里？'],
    ['th', 'สถานีรถไฟอยู่ที่ไหน'],
    ['vi', 'Nhà ga ở đâu?'],
    ['fi', 'Missä on rautatieasema?'],
    ['hu', 'Hol van a vasútállomás?'],
  ])('asks for the station in %s', async (label, value) => {
    expect((await predict('language-id', [{ text: value }]))[0]).toMatchObject({ prediction: label, label })
  })

  it('answers label and confidence, and says "und" where there is no letter to go by', async () => {
    const rows = ['All human beings are born free.', '1234 🙂', '\ud800', '龘'].map((value) => ({ text: value }))
    const [english, digits, surrogate, rare] = await predict('language-id', rows)
    expect(english).toMatchObject({ label: 'en', prediction: 'en' })
    expect(english?.probability).toBeGreaterThan(0.9)
    expect(english).toHaveProperty('confidence', english?.probability)
    expect(digits).toMatchObject({ label: 'und' })
    expect(surrogate).toMatchObject({ label: 'und' })
    expect(digits?.probability).toBeCloseTo(1 / languages.length)
    expect(rare).toMatchObject({ label: 'zh' })
  })

  it('answers a row bit for bit the same, whatever it rides with', async () => {
    const rows = heldOut.slice(0, 250).map((row, index) => ({ text: row.text.slice(0, 10 + index) }))
    const together = await predict('language-id', rows)
    const reversed = (await predict('language-id', rows.toReversed())).toReversed()
    const alone = []
    for (const row of rows) alone.push(...(await predict('language-id', [row])))
    expect(together).toEqual(alone)
    expect(reversed).toEqual(alone)
  })
})

describe('iris', () => {
  const { training, heldOut } = splitFlowers()

  it('is learnt from other flowers than it is tried on', () => {
    expect([training.length, heldOut.length]).toEqual([105, 45])
  })

  it('reaches the accuracy of its card, over 90 %', async () => {
    const expected = heldOut.map(({ features, label }) => ({ row: { features }, label: species[label] ?? '' }))
    const { share } = await accuracy('iris', expected)
    const { heldOutAccuracy, evaluation } = card('iris-1.0.0')
    expect(share).toBe(heldOutAccuracy)
    expect(evaluation).toEqual([{ name: 'held-out-flowers', rows: heldOut.length, accuracy: share }])
    expect(share).toBeGreaterThan(0.9)
  })

  it('answers the species, its probability and those of the others', async () => {
    const [setosa] = await predict('iris', [{ features: [5.1, 3.5, 1.4, 0.2] }])
    expect(setosa?.prediction).toBe('setosa')
    expect(Object.keys(setosa?.probabilities ?? {})).toEqual(['setosa', 'versicolor', 'virginica'])
    expect(setosa?.probabilities?.['setosa']).toBe(setosa?.probability)
    const sum = Object.values(setosa?.probabilities ?? {}).reduce((total, value) => total + value, 0)
    expect(sum).toBeCloseTo(1, 5)
  })

  it('answers a row the same alone and in a batch', async () => {
    const rows = [...training, ...heldOut].map(({ features }) => ({ features }))
    const alone = []
    for (const row of rows) alone.push(...(await predict('iris', [row])))
    expect(await predict('iris', rows)).toEqual(alone)
  })
})

describe('manifests', () => {
  it.each(embeddedModels())('$manifest.pathname names its file, version and checksum', ({ manifest: location }) => {
    const { manifest, file } = readManifest(location)
    expect(createHash('sha256').update(readFileSync(file)).digest('hex')).toBe(manifest.sha256)
    expect(file.endsWith(`${manifest.name}-${manifest.version}.onnx`)).toBe(true)
    expect(readFileSync(file).byteLength).toBeLessThan(1_500_000)
  })
})
