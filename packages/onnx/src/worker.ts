/**
 * The worker thread: the only place that touches onnxruntime-node. A session computes on the thread that calls `run`, so it
 * must never be the main one. The host sends one request at a time and never terminates this thread between a request
 * and its reply: ending a thread inside native code aborts the whole process.
 *
 * All imports of our own files are types, so that Node runs this file as it is, as TypeScript from `src` and as JavaScript from `dist`.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import type { InferenceSession, Tensor } from 'onnxruntime-node'
import type {
  TensorData,
  Tensors,
  WorkerFailure,
  WorkerModel,
  WorkerReply,
  WorkerRequest,
  WorkerSettings,
} from './worker-protocol.js'

type Runtime = typeof import('onnxruntime-node')
type Prepare = (rows: readonly unknown[], parameters: unknown) => Tensors | Promise<Tensors>

interface Loaded {
  readonly model: WorkerModel
  readonly session: InferenceSession
  readonly prepare: Prepare | undefined
}

class Failure extends Error {
  readonly failure: WorkerFailure

  constructor(failure: WorkerFailure, message: string) {
    super(message)
    this.failure = failure
  }
}

const { intraOpNumThreads } = workerData as WorkerSettings
const loaded = new Map<string, Loaded>()
let runtime: Runtime | undefined

const reason = (error: unknown) => (error instanceof Error ? error.message : String(error))

async function loadRuntime(): Promise<Runtime> {
  try {
    runtime ??= await import('onnxruntime-node')
    return runtime
  } catch (error) {
    throw new Failure(
      'runtime_missing',
      `onnxruntime-node cannot be loaded: ${reason(error)}. Install it beside @tollgate/onnx: ` +
        '`npm install onnxruntime-node`, with ONNXRUNTIME_NODE_INSTALL=skip in the environment where NuGet cannot be reached.',
    )
  }
}

function readModel({ key, file, sha256 }: WorkerModel): Uint8Array {
  let bytes: Uint8Array
  try {
    bytes = readFileSync(file)
  } catch (error) {
    throw new Failure('file_missing', `The file of model "${key}" cannot be read: ${reason(error)}.`)
  }
  const found = createHash('sha256').update(bytes).digest('hex')
  if (sha256 !== undefined && found !== sha256.toLowerCase()) {
    throw new Failure(
      'checksum_mismatch',
      `The file of model "${key}" (${file}) is not the one its manifest names: sha256 is ${found}, expected ${sha256}. ` +
        'Put the right file back, or write the new checksum into the manifest if the change is meant.',
    )
  }
  return bytes
}

async function loadPreparation({ key, preparation }: WorkerModel): Promise<Prepare | undefined> {
  if (preparation === undefined) return undefined
  let module: { prepare?: unknown }
  try {
    module = (await import(preparation.module)) as typeof module
  } catch (error) {
    throw new Failure('preparation_failed', `The featurizer of model "${key}" cannot be loaded: ${reason(error)}.`)
  }
  if (typeof module.prepare !== 'function') {
    throw new Failure('preparation_failed', `The featurizer of model "${key}" exports no function named "prepare".`)
  }
  return module.prepare as Prepare
}

/** The runtime ignores inputs it does not know and accepts half floats it cannot read, so both are looked at here. */
function checkSignature({ key, inputs, outputs }: WorkerModel, session: InferenceSession): void {
  const expected = [...(inputs ?? session.inputNames)].sort().join(', ')
  const found = [...session.inputNames].sort().join(', ')
  if (expected !== found) {
    throw new Failure(
      'signature_mismatch',
      `Model "${key}" has the inputs ${found}; its manifest speaks of ${expected}.`,
    )
  }
  for (const output of outputs) {
    if (!session.outputNames.includes(output)) {
      const names = session.outputNames.join(', ')
      throw new Failure('signature_mismatch', `Model "${key}" has no output "${output}"; it has ${names}.`)
    }
  }
  for (const value of [...session.inputMetadata, ...session.outputMetadata]) {
    if (value.isTensor && value.type === 'float16') {
      throw new Failure('unsupported', `Model "${key}" has float16 tensors ("${value.name}"): convert them to float32.`)
    }
  }
}

async function load(model: WorkerModel): Promise<WorkerReply> {
  const startedAt = performance.now()
  const { InferenceSession: Sessions } = await loadRuntime()
  const prepare = await loadPreparation(model)
  const bytes = readModel(model)
  let session: InferenceSession
  try {
    session = await Sessions.create(bytes, {
      executionProviders: ['cpu'],
      intraOpNumThreads,
      interOpNumThreads: 1,
      // Threads that spin while they wait take the cores from the main thread.
      extra: { session: { intra_op: { allow_spinning: '0' } } },
    })
  } catch (error) {
    throw new Failure(
      'file_corrupt',
      `The file of model "${model.key}" (${model.file}) cannot be loaded: ${reason(error)}.`,
    )
  }
  try {
    checkSignature(model, session)
  } catch (error) {
    await session.release()
    throw error
  }
  loaded.set(model.key, { model, session, prepare })
  return { type: 'loaded', loadedAt: Date.now(), loadMs: performance.now() - startedAt }
}

async function prepareRows({ model, prepare }: Loaded, rows: readonly unknown[]): Promise<Tensors> {
  if (prepare === undefined) {
    throw new Failure('preparation_failed', `Model "${model.key}" takes tensors, not rows: it has no featurizer.`)
  }
  try {
    return await prepare(rows, model.preparation?.parameters)
  } catch (error) {
    throw new Failure('preparation_failed', `The featurizer of model "${model.key}" failed: ${reason(error)}.`)
  }
}

async function runGraph({ model, session }: Loaded, input: Tensors): Promise<Record<string, TensorData>> {
  const { Tensor: Tensors } = await loadRuntime()
  const feeds: Record<string, Tensor> = {}
  let outputs: InferenceSession.OnnxValueMapType
  try {
    for (const [name, { type, data, dims }] of Object.entries(input)) feeds[name] = new Tensors(type, data, dims)
    outputs = await session.run(feeds, model.outputs)
  } catch (error) {
    throw new Failure('run_failed', `Model "${model.key}" failed: ${reason(error)}.`)
  }
  const found: Record<string, TensorData> = {}
  for (const name of model.outputs) {
    const { type, data, dims } = outputs[name] as Tensor
    found[name] = { type, data, dims } as TensorData
  }
  return found
}

/** The outputs of several runs as those of one: joined along the batch, which is the first dimension. */
function joined(runs: ReadonlyArray<Record<string, TensorData>>): Record<string, TensorData> {
  const [first] = runs
  if (first === undefined || runs.length === 1) return first ?? {}
  const whole: Record<string, TensorData> = {}
  for (const [name, { type, data, dims }] of Object.entries(first)) {
    const parts = runs.map((run) => run[name] as TensorData)
    const length = parts.reduce((sum, part) => sum + part.data.length, 0)
    const all = new (data.constructor as Float32ArrayConstructor)(length)
    let at = 0
    for (const part of parts) {
      all.set(part.data as Float32Array, at)
      at += part.data.length
    }
    const rows = parts.reduce((sum, part) => sum + (part.dims[0] ?? 0), 0)
    whole[name] = { type, data: all, dims: [rows, ...dims.slice(1)] }
  }
  return whole
}

async function run({ key, input }: Extract<WorkerRequest, { type: 'run' }>): Promise<WorkerReply> {
  const entry = loaded.get(key)
  if (entry === undefined) throw new Failure('run_failed', `Model "${key}" is not loaded.`)
  if ('tensors' in input) return { type: 'ran', outputs: await runGraph(entry, input.tensors) }
  const { rowsPerRun = Number.POSITIVE_INFINITY } = entry.model
  const runs: Record<string, TensorData>[] = []
  let start = 0
  do {
    runs.push(await runGraph(entry, await prepareRows(entry, input.rows.slice(start, start + rowsPerRun))))
    start += rowsPerRun
  } while (start < input.rows.length)
  return { type: 'ran', outputs: joined(runs) }
}

function send(reply: WorkerReply): void {
  const outputs = reply.type === 'ran' ? Object.values(reply.outputs) : []
  const buffers = outputs.map(({ data }) => data.buffer as ArrayBuffer)
  try {
    parentPort?.postMessage(reply, [...new Set(buffers)])
  } catch {
    // Memory that belongs to the runtime may not be transferable: then it is copied.
    parentPort?.postMessage(reply)
  }
}

parentPort?.on('message', (request: WorkerRequest) => {
  const work = request.type === 'load' ? load(request.model) : run(request)
  work.then(send, (error: unknown) => {
    const failure = error instanceof Failure ? error.failure : 'run_failed'
    send({ type: 'failed', failure, message: reason(error) })
  })
})
