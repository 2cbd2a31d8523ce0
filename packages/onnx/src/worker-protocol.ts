/** What the host and the worker thread say to each other. Types only: the thread loads no other file of ours at start. */

/** A tensor as plain data that can cross threads. */
export interface TensorData {
  readonly type: 'float32' | 'float64' | 'int32' | 'int64' | 'int8' | 'uint8' | 'bool'
  readonly data: Float32Array | Float64Array | Int32Array | BigInt64Array | Int8Array | Uint8Array
  readonly dims: readonly number[]
}

/** Tensors by the names the graph gives them. */
export type Tensors = Readonly<Record<string, TensorData>>

/**
 * A module that turns rows into tensors on the worker thread. It must export
 * `prepare(rows, parameters)`, which returns {@link Tensors}.
 */
export interface Preparation {
  /** `file:` URL of the module. */
  readonly module: string
  readonly parameters: Readonly<Record<string, unknown>>
}

/** One model, as the worker needs to know it. */
export interface WorkerModel {
  /** Unique in this worker, for example `iris@1.0.0`. */
  readonly key: string
  /** Path of the `.onnx` file. */
  readonly file: string
  /** Hexadecimal. The bytes that are loaded are the bytes that were checked. */
  readonly sha256?: string
  /** Names of the graph's inputs that will be given; any other set is refused when the model is loaded. */
  readonly inputs?: readonly string[]
  /** Names of the outputs that are wanted. */
  readonly outputs: readonly string[]
  readonly preparation?: Preparation
  /** A call with more rows than this becomes several runs of the graph. Default: one run. */
  readonly rowsPerRun?: number
}

/** Rows go through the model's preparation on the thread; tensors go straight to the session. */
export type WorkerInput = { readonly rows: readonly unknown[] } | { readonly tensors: Tensors }

export interface WorkerSettings {
  readonly intraOpNumThreads: number
}

export type WorkerRequest =
  | { readonly type: 'load'; readonly model: WorkerModel }
  | { readonly type: 'run'; readonly key: string; readonly input: WorkerInput }

/** Why a request failed. `runtime_missing` to `unsupported` are faults of the installation, `run_failed` of one run. */
export type WorkerFailure =
  | 'runtime_missing'
  | 'file_missing'
  | 'checksum_mismatch'
  | 'file_corrupt'
  | 'signature_mismatch'
  | 'unsupported'
  | 'preparation_failed'
  | 'run_failed'

export type WorkerReply =
  | { readonly type: 'loaded'; readonly loadedAt: number; readonly loadMs: number }
  | { readonly type: 'ran'; readonly outputs: Tensors }
  | { readonly type: 'failed'; readonly failure: WorkerFailure; readonly message: string }
