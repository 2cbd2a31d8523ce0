import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { isTollgateError, type TollgateError } from '@tollgate/core/errors'
import type { Call } from '@tollgate/core/inference/model'
import type { Provider } from '@tollgate/core/inference/provider'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DataType, encode, node, value } from '../scripts/onnx-graph.ts'
import { embeddedModels } from './embedded-models.js'
import { type OnnxProviderOptions, onnxProvider } from './onnx-provider.js'

const call: Call = { signal: new AbortController().signal, requestId: 'test' }
const irisFile = fileURLToPath(new URL('../models/iris-1.0.0.onnx', import.meta.url))

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tollgate-onnx-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const open: Provider[] = []
function provider(options: Partial<OnnxProviderOptions> = {}): Provider {
  const made = onnxProvider({ models: embeddedModels(), ...options })
  open.push(made)
  return made
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((made) => made.close?.()))
})

function predict(made: Provider, id: string, rows: readonly unknown[], limits: Partial<Call> = {}) {
  const model = made.model('predict', id)
  if (model === undefined) throw new Error(`no model ${id}`)
  return model.run({ rows }, { ...call, ...limits })
}

async function rejection(promise: Promise<unknown>): Promise<TollgateError> {
  const error: unknown = await promise.then(
    () => expect.unreachable('resolved'),
    (reason: unknown) => reason,
  )
  if (!isTollgateError(error)) throw error
  return error
}

const irisManifest = {
  name: 'flowers',
  version: '1.2.0',
  task: 'predict',
  file: 'flowers.onnx',
  input: { kind: 'features', tensor: 'features', names: ['a', 'b', 'c', 'd'] },
  output: { tensor: 'probabilities', labels: ['x', 'y', 'z'] },
}

/** Writes a manifest, and beside it the iris model or other bytes. */
function writeModel(changes: Readonly<Record<string, unknown>> = {}, bytes?: Uint8Array): string {
  const manifest = { ...irisManifest, ...changes }
  const path = join(directory, `${manifest.name}-${manifest.version}.json`)
  writeFileSync(path, JSON.stringify(manifest))
  const file = join(directory, manifest.file)
  if (bytes === undefined) copyFileSync(irisFile, file)
  else writeFileSync(file, bytes)
  return path
}

describe('onnxProvider', () => {
  it('lists its models, with when they were loaded', async () => {
    const made = provider()
    const before = await made.list?.()
    expect(before?.map(({ id, version, task, loadedAt }) => [id, version, task, loadedAt])).toEqual([
      ['language-id', '1.0.0', 'predict', undefined],
      ['iris', '1.0.0', 'predict', undefined],
    ])
    await made.ready?.()
    const after = await made.list?.()
    expect(after?.every(({ loadedAt }) => Math.abs(Date.now() - (loadedAt ?? 0)) < 60_000)).toBe(true)
    expect(after?.[1]?.inputSchema).toMatchObject({ properties: { features: { minItems: 4, maxItems: 4 } } })
    expect(after?.[0]?.inputSchema).toMatchObject({ properties: { text: { maxLength: 10_000 } }, required: ['text'] })
  })

  it('has only the models and the task it has', () => {
    const made = provider({ name: 'local' })
    expect(made.model('predict', 'iris')).toMatchObject({
      provider: 'local',
      id: 'iris',
      version: '1.0.0',
      task: 'predict',
    })
    expect(made.model('predict', 'iris', '1.0.0')).toBe(made.model('predict', 'iris'))
    expect(made.model('predict', 'iris', '2.0.0')).toBeUndefined()
    expect(made.model('predict', 'tulip')).toBeUndefined()
    expect(made.model('generate', 'iris')).toBeUndefined()
  })

  it('gives the newest version unless one is named', () => {
    const versions = ['1.9.0', '1.10.0', '0.99.0']
    const made = provider({ models: versions.map((version) => ({ manifest: writeModel({ version }) })) })
    expect(made.model('predict', 'flowers')?.version).toBe('1.10.0')
    expect(made.model('predict', 'flowers', '0.99.0')?.version).toBe('0.99.0')
  })

  it('counts rows, and answers no rows with nothing, without starting a thread', async () => {
    const made = provider()
    expect(await predict(made, 'iris', [])).toEqual({
      output: { predictions: [] },
      usage: { inputTokens: 0, outputTokens: 0, rows: 0, estimated: false },
    })
    const { usage } = await predict(made, 'iris', [{ features: [5, 3, 1, 0.2] }, { features: [6, 3, 5, 2] }])
    expect(usage.rows).toBe(2)
  })

  it('takes the largest batch of the longest texts', async () => {
    const text = 'human rights '.repeat(769)
    const rows = Array.from({ length: 1024 }, (_, index) => ({ text: `${text}${index}`.slice(0, 10_000) }))
    const { output } = await predict(provider(), 'language-id', rows)
    expect(output.predictions).toHaveLength(1024)
    expect(new Set(output.predictions.map(({ prediction }) => prediction))).toEqual(new Set(['en']))
  })

  it('keeps the order of a call that is more than one run of the graph', async () => {
    const texts = ['Where is the station?', 'Wo ist der Bahnhof?', '駅はどこですか。', '1234']
    const rows = Array.from({ length: 1000 }, (_, index) => ({ text: texts[index % 4] }))
    const { output } = await predict(provider(), 'language-id', rows)
    const expected = ['en', 'de', 'ja', 'und']
    expect(output.predictions.map(({ prediction }) => prediction)).toEqual(rows.map((_, index) => expected[index % 4]))
  })

  it('answers a thousand concurrent calls', async () => {
    const made = provider()
    const rows = ['Where is the station?', 'Wo ist der Bahnhof?', '駅はどこですか。']
    const calls = Array.from({ length: 1000 }, (_, index) => predict(made, 'language-id', [{ text: rows[index % 3] }]))
    const labels = (await Promise.all(calls)).map(({ output }) => output.predictions[0]?.prediction)
    expect(labels).toEqual(labels.map((_, index) => ['en', 'de', 'ja'][index % 3]))
  })

  it('passes the signal and the deadline on', async () => {
    const made = provider()
    const row = [{ features: [5, 3, 1, 0.2] }]
    expect((await rejection(predict(made, 'iris', row, { signal: AbortSignal.abort() }))).code).toBe('client_closed')
    expect((await rejection(predict(made, 'iris', row, { deadline: Date.now() - 1 }))).code).toBe('timeout')
  })
})

describe('input rows', () => {
  it.each<[string, readonly unknown[], string, RegExp]>([
    ['iris', [{ features: [1, 2, 3] }], 'instances[0].features', /expected 4 numbers \(sepal length.*got 3/],
    ['iris', [{ features: [1, 2, 3, 4, 5] }], 'instances[0].features', /got 5/],
    ['iris', [{ features: [1, Number.NaN, 3, 4] }], 'instances[0].features[1]', /finite number/],
    ['iris', [{ features: [1, 2, Number.NEGATIVE_INFINITY, 4] }], 'instances[0].features[2]', /finite number/],
    ['iris', [{ features: [1, 2, 3, 1e39] }], 'instances[0].features[3]', /float32/],
    ['iris', [{ features: [1, 2, 3, '4'] }], 'instances[0].features[3]', /finite number/],
    ['iris', [{ features: 'many' }], 'instances[0].features', /expected 4 numbers/],
    ['iris', [{ text: 'rose' }], 'instances[0].features', /expected 4 numbers/],
    ['iris', [5], 'instances[0]', /expected an object: \{ "features"/],
    [
      'iris',
      Array.from({ length: 4097 }, () => ({ features: [1, 2, 3, 4] })),
      'instances',
      /at most 4096 rows.*got 4097/,
    ],
    ['language-id', [{ text: '' }], 'instances[0].text', /1 to 10000 characters/],
    ['language-id', [{ text: 'a' }, { text: 'a'.repeat(10_001) }], 'instances[1].text', /1 to 10000 characters/],
    ['language-id', [{ text: 5 }], 'instances[0].text', /as a string/],
    ['language-id', [{}], 'instances[0].text', /as a string/],
    ['language-id', [null], 'instances[0]', /expected an object: \{ "text"/],
    ['language-id', [{ text: 'a', txet: 'b' }], 'instances[0].txet', /is not a known field/],
  ])('%s refuses a wrong row by its path: %#', async (id, rows, path, message) => {
    const error = await rejection(predict(provider(), id, rows))
    expect(error).toMatchObject({ code: 'invalid_request', status: 400 })
    expect(error.errors?.map((field) => field.path)).toContain(path)
    expect(error.message).toMatch(message)
  })

  it('names every wrong field, up to twenty', async () => {
    const rows = [
      { features: [1, 2, 3, 4] },
      { features: [null, 2, 3, 'x'] },
      ...Array.from({ length: 50 }, () => ({})),
    ]
    const { errors } = await rejection(predict(provider(), 'iris', rows))
    expect(errors?.slice(0, 3).map(({ path }) => path)).toEqual([
      'instances[1].features[0]',
      'instances[1].features[3]',
      'instances[2].features',
    ])
    expect(errors?.length).toBe(20)
  })

  it('takes texts of lone surrogates, emoji and control characters', async () => {
    const rows = ['\ud800', '\udc00a\ud800', '👩‍👩‍👧 hello there my friend', '\u0000', ' '].map((text) => ({ text }))
    const { output } = await predict(provider(), 'language-id', rows)
    expect(output.predictions.length).toBe(5)
    expect(output.predictions[2]?.prediction).toBe('en')
  })
})

describe('models of your own', () => {
  it('serves a model by its manifest, without a checksum too', async () => {
    const made = provider({ models: [{ manifest: writeModel() }] })
    const { output } = await predict(made, 'flowers', [{ features: [5.1, 3.5, 1.4, 0.2] }])
    expect(output.predictions).toEqual([{ prediction: 'x', probability: expect.closeTo(0.99, 1) }])
  })

  it('serves texts through a featurizer of your own, and survives its faults', async () => {
    const input = { kind: 'text', featurizer: 'custom', parameters: {} }
    const featurizer = new URL('../test/faulty-featurizer.ts', import.meta.url)
    const made = provider({ models: [{ manifest: writeModel({ name: 'spoken', input }), featurizer }] })
    expect((await predict(made, 'spoken', [{ text: '5.1 3.5 1.4 0.2' }])).output.predictions[0]?.prediction).toBe('x')
    expect((await rejection(predict(made, 'spoken', [{ text: 'exit' }]))).code).toBe('upstream_failed')
    expect((await predict(made, 'spoken', [{ text: '5.1 3.5 1.4 0.2' }])).output.predictions[0]?.prediction).toBe('x')
  })

  it.each<[string, Readonly<Record<string, unknown>>, RegExp]>([
    ['another checksum', { name: 'sum', sha256: 'ab'.repeat(32) }, /not the one its manifest names/],
    ['another output', { name: 'out', output: { tensor: 'scores', labels: ['x'] } }, /no output "scores"/],
  ])('is never ready with %s', async (_, changes, message) => {
    const error = await rejection(
      provider({ models: [{ manifest: writeModel(changes) }] }).ready?.() ?? Promise.resolve(),
    )
    expect(error.code).toBe('config_invalid')
    expect(error.message).toMatch(message)
  })

  it('serves the good model beside a bad one', async () => {
    const bad = writeModel({ name: 'bad', file: 'bad.onnx' }, new Uint8Array(10))
    const made = provider({ models: [{ manifest: bad }, ...embeddedModels()] })
    expect((await rejection(made.ready?.() ?? Promise.resolve())).message).toMatch(/"bad@1.2.0".*cannot be loaded/)
    expect((await rejection(predict(made, 'bad', [{ features: [1, 2, 3, 4] }]))).code).toBe('not_ready')
    expect((await predict(made, 'iris', [{ features: [5, 3, 1, 0.2] }])).output.predictions.length).toBe(1)
  })

  it('refuses an output of another shape, and one that is not a number', async () => {
    const narrow = writeModel({ name: 'narrow', output: { tensor: 'probabilities', labels: ['x', 'y'] } })
    const logarithm = encode({
      name: 'logarithm',
      input: [value('features', DataType.FLOAT, ['N', 4])],
      output: [value('probabilities', DataType.FLOAT, ['N', 4])],
      node: [node('Log', ['features'], 'probabilities')],
    })
    const output = { tensor: 'probabilities', labels: ['w', 'x', 'y', 'z'] }
    const nan = writeModel({ name: 'nan', file: 'nan.onnx', output }, logarithm)
    const made = provider({ models: [{ manifest: narrow }, { manifest: nan }] })
    expect((await rejection(predict(made, 'narrow', [{ features: [1, 2, 3, 4] }]))).message).toMatch(
      /not float32 \[1, 2\]/,
    )
    expect((await rejection(predict(made, 'nan', [{ features: [-1, 2, 3, 4] }]))).code).toBe('upstream_invalid')
  })
})

describe('configuration', () => {
  it.each<[string, () => Partial<OnnxProviderOptions>, RegExp]>([
    ['no models', () => ({ models: [] }), /onnxProvider/],
    ['an unknown option', () => ({ threads: 4 }) as object, /threads/],
    [
      'a manifest that is not there',
      () => ({ models: [{ manifest: '/nowhere/model.json' }] }),
      /cannot be read.*ENOENT/,
    ],
    [
      'a wrong manifest',
      () => ({ models: [{ manifest: writeModel({ name: 'w', version: 'one' }) }] }),
      /three numbers/,
    ],
    ['a model listed twice', () => ({ models: [...embeddedModels(), ...embeddedModels()] }), /listed twice/],
    [
      'a featurizer nobody asked for',
      () => ({ models: [{ manifest: embeddedModels()[0]?.manifest ?? '', featurizer: new URL('file:///x.js') }] }),
      /"featurizer": "custom"/,
    ],
  ])('refuses %s when the provider is made', (_, options, message) => {
    expect(() => provider(options())).toThrow(message)
  })
})

describe('the built package in a process of its own', () => {
  it.each([
    ['imported', ['end of main']],
    ['made', ['end of main']],
    ['idle', ['end of main']],
    ['busy', ['end of main', ...Array.from({ length: 5 }, () => 'answered')]],
    ['left', ['end of main', 'left']],
    ['closed while busy', ['answered', 'end of main']],
  ])('ends by itself and is never aborted: %s', async (scene, lines) => {
    const program = fileURLToPath(new URL('../test/process-end.mjs', import.meta.url))
    const { stdout } = await promisify(execFile)(process.execPath, [program, scene])
    expect(stdout.trim().split('\n')).toEqual(lines)
  })

  it('runs in code given on the command line', async () => {
    const entry = JSON.stringify(new URL('../dist/index.js', import.meta.url).href)
    const code = `const { embeddedModels, onnxProvider } = await import(${entry})
      await onnxProvider({ models: embeddedModels() }).ready()`
    await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code])
  })
})
