import { configInvalid } from '@tollgate/core/errors'
import type { Model, ModelInfo } from '@tollgate/core/inference/model'
import type { Provider } from '@tollgate/core/inference/provider'
import type { Task } from '@tollgate/core/inference/task'
import { checkedOptions } from '@tollgate/core/options'
import type { Usage } from '@tollgate/core/usage'
import { z } from 'zod'
import { type OnnxManifest, readManifest } from './manifest.js'
import { type OnnxWorker, onnxWorker, onnxWorkerOptions } from './onnx-worker.js'
import { readPredictions } from './predictions.js'
import { type RowInput, rowInput } from './row-input.js'
import { siblingUrl } from './sibling-url.js'
import type { WorkerModel } from './worker-protocol.js'

const modelOptions = z.strictObject({
  /** Path or `file:` URL of the model's manifest. */
  manifest: z.union([z.string().min(1), z.instanceof(URL)]),
  /** For `"featurizer": "custom"`: `file:` URL of a module that exports `prepare(texts, parameters)`. It runs on the worker thread. */
  featurizer: z.instanceof(URL).optional(),
})

const providerOptions = z.strictObject({
  ...onnxWorkerOptions.shape,
  /** Default `onnx`. */
  name: z.string().min(1).default('onnx'),
  models: z.array(modelOptions).min(1),
})

export type OnnxModelOptions = z.input<typeof modelOptions>
export type OnnxProviderOptions = z.input<typeof providerOptions>

interface Entry {
  readonly manifest: OnnxManifest
  readonly input: RowInput
  readonly worker: WorkerModel
  readonly model: Model<'predict'>
}

function describe({ manifest: location, featurizer }: z.output<typeof modelOptions>): Omit<Entry, 'model'> {
  const { manifest, file } = readManifest(location)
  const { name, version, input, output, sha256 } = manifest
  const base = {
    key: `${name}@${version}`,
    file,
    outputs: [output.tensor],
    ...(sha256 === undefined ? {} : { sha256 }),
  }
  if (input.kind === 'features') {
    return { manifest, input: rowInput(input), worker: { ...base, inputs: [input.tensor] } }
  }
  if ((input.featurizer === 'custom') !== (featurizer !== undefined)) {
    throw configInvalid(
      `Model "${base.key}": the option "featurizer" goes with "featurizer": "custom" in its manifest.`,
    )
  }
  const module = (featurizer ?? siblingUrl('text-features')).href
  const preparation = { module, parameters: input.parameters }
  return { manifest, input: rowInput(input), worker: { ...base, preparation, rowsPerRun: input.rowsPerRun } }
}

function predictModel(provider: string, worker: OnnxWorker, entry: Omit<Entry, 'model'>): Model<'predict'> {
  const { name, version, output } = entry.manifest
  return {
    task: 'predict',
    provider,
    id: name,
    version,
    inputUsage: ({ rows }) => rowsUsed(rows.length),
    async run({ rows }, { signal, deadline, priority }) {
      const usage = rowsUsed(rows.length)
      const input = entry.input.read(rows)
      if (rows.length === 0) return { output: { predictions: [] }, usage }
      const limits = {
        ...(deadline === undefined ? {} : { deadline }),
        ...(priority === undefined ? {} : { priority }),
      }
      const tensors = await worker.run(entry.worker, input, { signal, rows: rows.length, ...limits })
      return { output: { predictions: readPredictions(output, tensors, rows.length) }, usage }
    },
  }
}

function rowsUsed(rows: number): Usage {
  return { inputTokens: 0, outputTokens: 0, rows, estimated: false }
}

function newestFirst(left: Entry, right: Entry): number {
  const numbers = (entry: Entry) => entry.manifest.version.split('.').map(Number)
  const others = numbers(right)
  const difference = numbers(left).map((number, at) => (others[at] as number) - number)
  return difference.find((step) => step !== 0) ?? 0
}

/**
 * Local ONNX models on a worker thread, as a provider of the task `predict`. N rows in one call are one vectorised run.
 * The thread starts, and the models are loaded, with `ready()` or the first call.
 *
 * Its `close()` lets a run that is going on end before the thread does (see {@link OnnxWorker.close}).
 *
 * @throws TollgateError `config_invalid` for wrong options or manifests. `ready()` rejects with it too: a missing or corrupt file, a wrong
 *   checksum, onnxruntime-node not installed.
 *
 * @example
 * const provider = onnxProvider({ models: embeddedModels() })
 * await provider.ready?.()
 * const model = provider.model('predict', 'language-id')
 * await model?.run({ rows: [{ text: 'Where is the train station?' }] }, call)
 */
export function onnxProvider(options: OnnxProviderOptions): Provider {
  const { name, models, ...settings } = checkedOptions('onnxProvider', providerOptions, options)
  const worker = onnxWorker(settings)
  const entries = models.map((model): Entry => {
    const described = describe(model)
    return { ...described, model: predictModel(name, worker, described) }
  })
  const keys = entries.map((entry) => entry.worker.key)
  const twice = keys.find((key, at) => keys.indexOf(key) !== at)
  if (twice !== undefined) throw configInvalid(`onnxProvider: model "${twice}" is listed twice.`)
  entries.sort(newestFirst)

  return {
    name,
    model<T extends Task>(task: T, id: string, version?: string) {
      const found = entries.find(
        ({ manifest }) => manifest.name === id && (version === undefined || manifest.version === version),
      )
      return task === 'predict' ? (found?.model as Model<Task> | undefined as Model<T> | undefined) : undefined
    },
    async list() {
      return entries.map(({ manifest, input, worker: { key } }): ModelInfo => {
        const loadedAt = worker.loaded(key)?.loadedAt
        return {
          id: manifest.name,
          task: 'predict',
          version: manifest.version,
          inputSchema: input.schema,
          ...(loadedAt === undefined ? {} : { loadedAt }),
          ...(manifest.description === undefined ? {} : { description: manifest.description }),
        }
      })
    },
    async ready() {
      await Promise.all(entries.map((entry) => worker.load(entry.worker)))
    },
    close: () => worker.close(),
  }
}
