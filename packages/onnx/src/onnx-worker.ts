import { configInvalid, isTollgateError, TollgateError } from '@tollgate/core/errors'
import { checkedOptions } from '@tollgate/core/options'
import { z } from 'zod'
import { type CallLimit, watchLimit } from './call-limit.js'
import { type Queued, runQueue } from './run-queue.js'
import { siblingUrl } from './sibling-url.js'
import type { Tensors, WorkerInput, WorkerModel, WorkerReply } from './worker-protocol.js'
import { startWorkerThread, type WorkerThread } from './worker-thread.js'

export const onnxWorkerOptions = z.strictObject({
  /** Threads inside one run. Default 1: on a shared machine, more of them take the cores of the server itself. */
  intraOpNumThreads: z.int().min(1).max(256).default(1),
  /** Calls that may wait. Default 1,024. */
  maxQueuedRequests: z.int().min(1).default(1024),
  /** Rows that may wait, over all calls. Default 8,192. */
  maxQueuedRows: z.int().min(1).default(8192),
  /** How long `close` waits for a run that is going on. Default 10,000. */
  closeTimeoutMs: z.int().min(0).max(2_147_483_647).default(10_000),
  /** Where `worker.js` of this package lies, should a bundler have moved it. Default: beside this file. */
  workerUrl: z.instanceof(URL).optional(),
})

export type OnnxWorkerOptions = z.input<typeof onnxWorkerOptions>

export interface LoadedModel {
  /** Milliseconds since the epoch. */
  readonly loadedAt: number
  /** How long it took, the runtime's own start included. */
  readonly loadMs: number
}

export interface RunOptions extends CallLimit {
  /** Counted against `maxQueuedRows`. Default 1. */
  readonly rows?: number
  /** Larger is sooner. Default 0. */
  readonly priority?: number
}

/** A worker thread that owns ONNX sessions, with a bounded queue before it. */
export interface OnnxWorker {
  /**
   * Loads a model, or loads it again after a failure.
   *
   * @throws TollgateError `config_invalid` with what is wrong and how to mend it; `not_ready` when closed
   */
  load(model: WorkerModel): Promise<LoadedModel>
  /**
   * One vectorised run. The buffers of `input.tensors` are transferred: the arrays are empty afterwards.
   *
   * @throws TollgateError `overloaded` (queue full), `timeout`, `client_closed`, `not_ready` (model not loaded, worker restarting, closed),
   *   `upstream_failed` (the run failed or the thread died), `upstream_invalid`
   */
  run(model: WorkerModel, input: WorkerInput, options?: RunOptions): Promise<Tensors>
  /** When and how fast a model was loaded; undefined while it is not. */
  loaded(key: string): LoadedModel | undefined
  /** Waiting calls and rows, and whether a request is being worked on. */
  state(): {
    readonly queuedRequests: number
    readonly queuedRows: number
    readonly busy: boolean
    readonly crashes: number
  }
  /**
   * Refuses what waits, lets the run that is going on end, then ends the thread. A busy thread is never ended: that would abort the process.
   *
   * @throws TollgateError `timeout` when the run outlasts `closeTimeoutMs`; the thread then ends as soon as the run does
   */
  close(): Promise<void>
}

interface Job extends Queued {
  readonly model: WorkerModel
  /** Absent: only load. */
  readonly input: WorkerInput | undefined
  settled: boolean
  readonly succeed: (reply: WorkerReply) => void
  readonly fail: (error: unknown) => void
}

/** A model that did not load is tried again at the earliest after this. */
const reloadAfterMs = 1000
const firstBackOffMs = 100
const lastBackOffMs = 30_000

/**
 * Makes a worker. The thread starts with the first `load` or `run`; one that died is started again by the next, at once the first time
 * and after a doubling pause (100 ms to 30 s) if it dies again without a run between.
 *
 * @example
 * const worker = onnxWorker({ intraOpNumThreads: 1 })
 * const model = { key: 'iris@1', file: '/models/iris.onnx', outputs: ['probabilities'] }
 * await worker.run(model, { tensors: { features: { type: 'float32', data: Float32Array.of(5.1, 3.5, 1.4, 0.2), dims: [1, 4] } } })
 */
export function onnxWorker(options: OnnxWorkerOptions = {}): OnnxWorker {
  const settings = checkedOptions('onnxWorker', onnxWorkerOptions, options)
  const queue = runQueue<Job>(settings)
  const models = new Map<string, LoadedModel>()
  const failures = new Map<string, { readonly error: unknown; readonly retryAt: number }>()
  let thread: WorkerThread | undefined
  let pumping: Promise<void> | undefined
  let closing: Promise<void> | undefined
  let crashes = 0
  let startAfter = 0

  function liveThread(): WorkerThread {
    if (thread !== undefined) return thread
    const waitMs = startAfter - Date.now()
    if (waitMs > 0) throw notReady('The worker thread died again and is being restarted.', waitMs)
    thread = startWorkerThread({
      url: settings.workerUrl ?? siblingUrl('worker'),
      settings: { intraOpNumThreads: settings.intraOpNumThreads },
      onCrash() {
        thread = undefined
        models.clear()
        crashes += 1
        if (crashes > 1) startAfter = Date.now() + Math.min(firstBackOffMs * 2 ** (crashes - 2), lastBackOffMs)
      },
    })
    return thread
  }

  async function ensureLoaded(live: WorkerThread, job: Job): Promise<void> {
    const { key } = job.model
    if (models.has(key)) return
    const failed = failures.get(key)
    if (failed !== undefined && job.input !== undefined && Date.now() < failed.retryAt) throw failed.error
    const reply = await live.request({ type: 'load', model: job.model })
    if (reply.type === 'loaded') {
      models.set(key, { loadedAt: reply.loadedAt, loadMs: reply.loadMs })
      failures.delete(key)
    } else if (reply.type === 'failed') {
      const error = configInvalid(reply.message)
      failures.set(key, { error, retryAt: Date.now() + reloadAfterMs })
      throw error
    }
  }

  async function perform(job: Job): Promise<void> {
    try {
      const live = liveThread()
      try {
        await ensureLoaded(live, job)
      } catch (cause) {
        // Whoever loads is told what to mend; whoever only calls must not be shown paths of this machine.
        if (job.input === undefined || !isTollgateError(cause, 'config_invalid')) throw cause
        throw notReady(`Model "${job.model.key}" is not loaded.`, reloadAfterMs, cause)
      }
      if (job.settled) return
      if (job.input === undefined) return job.succeed({ type: 'loaded', ...(models.get(job.model.key) as LoadedModel) })
      const buffers =
        'tensors' in job.input ? Object.values(job.input.tensors).map(({ data }) => data.buffer as ArrayBuffer) : []
      const reply = await live.request({ type: 'run', key: job.model.key, input: job.input }, [...new Set(buffers)])
      crashes = 0
      job.succeed(reply)
    } catch (error) {
      job.fail(error)
    }
  }

  async function pump(): Promise<void> {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) await perform(job)
    pumping = undefined
  }

  function submit(model: WorkerModel, input: WorkerInput | undefined, run: RunOptions): Promise<WorkerReply> {
    return new Promise((resolve, reject) => {
      if (closing !== undefined) return reject(notReady('The ONNX worker is closed.'))
      let stopWatching = () => {}
      const settle = (answer: () => void) => {
        if (job.settled) return
        job.settled = true
        stopWatching()
        answer()
      }
      const job: Job = {
        model,
        input,
        rows: run.rows ?? 1,
        priority: run.priority ?? 0,
        settled: false,
        succeed: (reply) => settle(() => resolve(reply)),
        fail: (error) => settle(() => reject(error)),
      }
      stopWatching = watchLimit(run, (error) => {
        // Not started: unlinked. Started: the native run cannot be stopped, so its result is dropped when it comes.
        queue.remove(job)
        job.fail(error)
      })
      if (job.settled) return stopWatching()
      try {
        queue.push(job)
      } catch (error) {
        return job.fail(error)
      }
      pumping ??= pump()
    })
  }

  async function shutDown(): Promise<void> {
    for (let job = queue.shift(); job !== undefined; job = queue.shift())
      job.fail(notReady('The ONNX worker is closing.'))
    const ended = Promise.resolve(pumping).then(() => thread?.end())
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      const message =
        `A run has gone on for more than ${settings.closeTimeoutMs} ms after close; its thread ends when the run does. ` +
        'Until then process.exit() would abort the process.'
      timer = setTimeout(() => reject(new TollgateError('timeout', message)), settings.closeTimeoutMs)
    })
    await Promise.race([ended, late]).finally(() => clearTimeout(timer))
  }

  return {
    async load(model) {
      const reply = await submit(model, undefined, { rows: 0 })
      if (reply.type !== 'loaded')
        throw new TollgateError('internal', 'The worker answered a load with something else.')
      return { loadedAt: reply.loadedAt, loadMs: reply.loadMs }
    },
    async run(model, input, run = {}) {
      const reply = await submit(model, input, run)
      if (reply.type === 'ran') return reply.outputs
      const cause = reply.type === 'failed' ? new Error(reply.message) : undefined
      throw new TollgateError('upstream_failed', `Model "${model.key}" failed on this input.`, { cause })
    },
    loaded: (key) => models.get(key),
    state: () => ({ queuedRequests: queue.requests, queuedRows: queue.rows, busy: pumping !== undefined, crashes }),
    close() {
      closing ??= shutDown()
      return closing
    },
  }
}

function notReady(message: string, retryAfterMs?: number, cause?: unknown): TollgateError {
  return new TollgateError('not_ready', message, { ...(retryAfterMs === undefined ? {} : { retryAfterMs }), cause })
}
