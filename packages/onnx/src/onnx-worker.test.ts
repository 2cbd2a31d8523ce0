import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { isTollgateError, TollgateError } from '@tollgate/core/errors'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { heavyInput, writeHeavyModel } from '../test/heavy-model.ts'
import { type OnnxWorker, type OnnxWorkerOptions, onnxWorker } from './onnx-worker.js'
import { siblingUrl } from './sibling-url.js'
import type { Tensors, WorkerInput, WorkerModel } from './worker-protocol.js'

const irisFile = fileURLToPath(new URL('../models/iris-1.0.0.onnx', import.meta.url))
const iris: WorkerModel = { key: 'iris@1', file: irisFile, inputs: ['features'], outputs: ['probabilities'] }
const faulty: WorkerModel = {
  ...iris,
  key: 'faulty@1',
  preparation: { module: new URL('../test/faulty-featurizer.ts', import.meta.url).href, parameters: {} },
}

const flower = (): WorkerInput => ({
  tensors: { features: { type: 'float32', data: Float32Array.of(5.1, 3.5, 1.4, 0.2), dims: [1, 4] } },
})
const probabilities = ({ probabilities: found }: Tensors) => [...((found?.data ?? []) as Float32Array)]
/** Keeps a core busy for some hundred milliseconds. */
const HEAVY_ROWS = 2048

let directory: string
let heavy: WorkerModel
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tollgate-onnx-'))
  heavy = writeHeavyModel(directory)
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const open: OnnxWorker[] = []
function worker(options: OnnxWorkerOptions = {}): OnnxWorker {
  const made = onnxWorker(options)
  open.push(made)
  return made
}
afterEach(async () => {
  await Promise.allSettled(open.splice(0).map((made) => made.close()))
})

/** What a promise was rejected with; fails the test if it was not. */
async function rejection(promise: Promise<unknown>): Promise<TollgateError> {
  const error: unknown = await promise.then(
    (value) => expect.unreachable(`resolved with ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  )
  if (!isTollgateError(error)) throw error
  return error
}

describe('loading', () => {
  it('loads once and says when', async () => {
    const before = Date.now()
    const made = worker()
    const { loadedAt, loadMs } = await made.load(iris)
    expect(loadedAt).toBeGreaterThanOrEqual(before)
    expect(loadMs).toBeGreaterThan(0)
    expect(await made.load(iris)).toEqual({ loadedAt, loadMs })
    expect(made.loaded('iris@1')).toEqual({ loadedAt, loadMs })
    expect(made.loaded('heavy@1')).toBeUndefined()
  })

  it.each<[string, Partial<WorkerModel>, RegExp]>([
    ['a missing file', { file: '/nowhere/model.onnx' }, /cannot be read.*ENOENT/],
    ['another checksum', { sha256: '0'.repeat(64) }, /not the one its manifest names.*Put the right file back/],
    [
      'an input the graph does not have',
      { inputs: ['ids', 'weights'] },
      /has the inputs features; its manifest speaks of ids, weights/,
    ],
    ['an output the graph does not have', { outputs: ['logits!'] }, /no output "logits!"; it has probabilities/],
    [
      'a featurizer that is not there',
      { preparation: { module: 'file:///nowhere.js', parameters: {} } },
      /featurizer.*cannot be loaded/,
    ],
    [
      'a featurizer without prepare',
      { preparation: { module: 'node:path', parameters: {} } },
      /exports no function named "prepare"/,
    ],
  ])('refuses %s and says how to mend it', async (_, wrong, message) => {
    const made = worker()
    const error = await rejection(made.load({ ...iris, ...wrong }))
    expect(error.code).toBe('config_invalid')
    expect(error.message).toMatch(message)
    // The same worker goes on serving.
    expect((await made.run({ ...iris, key: 'good@1' }, flower()))['probabilities']?.dims).toEqual([1, 3])
  })

  it.each([
    ['truncated', () => readFileSync(irisFile).subarray(0, 100)],
    ['empty', () => new Uint8Array()],
    ['another kind of', () => Buffer.from('not a model, just a line of text\n')],
  ])('refuses a %s file', async (kind, bytes) => {
    const file = join(directory, `${kind}.onnx`)
    writeFileSync(file, bytes())
    const error = await rejection(worker().load({ ...iris, file }))
    expect(error.code).toBe('config_invalid')
    expect(error.message).toMatch(/cannot be loaded/)
  })

  it('says how to install the runtime where it is missing', async () => {
    const lonely = mkdtempSync(join(tmpdir(), 'tollgate-lonely-'))
    const source = siblingUrl('worker')
    const file = join(lonely, source.pathname.endsWith('.ts') ? 'worker.mts' : 'worker.mjs')
    copyFileSync(source, file)
    const error = await rejection(worker({ workerUrl: pathToFileURL(file) }).load(iris))
    rmSync(lonely, { recursive: true })
    expect(error.code).toBe('config_invalid')
    expect(error.message).toMatch(/npm install onnxruntime-node/)
  })

  it('shows a caller no paths, and is mended by the next load', async () => {
    const file = join(directory, 'late.onnx')
    const made = worker()
    const late = { ...iris, key: 'late@1', file }
    const error = await rejection(made.run(late, flower()))
    expect(error.code).toBe('not_ready')
    expect(error.message).not.toContain(directory)
    expect(isTollgateError(error.cause, 'config_invalid')).toBe(true)
    copyFileSync(irisFile, file)
    await made.load(late)
    expect((await made.run(late, flower()))['probabilities']?.dims).toEqual([1, 3])
  })
})

describe('running', () => {
  it('leaves the event loop of the host free while a large batch runs', async () => {
    const made = worker()
    await made.load(heavy)
    let ticks = 0
    const timer = setInterval(() => {
      ticks += 1
    }, 1)
    const input = heavyInput(HEAVY_ROWS)
    const prepared = ticks
    await made.run(heavy, input)
    clearInterval(timer)
    // A session computes synchronously: on this thread, no tick would come before the answer.
    expect(ticks - prepared).toBeGreaterThan(10)
  })

  it('answers concurrent calls each with its own', async () => {
    const made = worker()
    const flowers = Array.from({ length: 1000 }, (_, index) => [
      4 + (index % 40) / 10,
      3,
      1 + (index % 50) / 10,
      (index % 25) / 10,
    ])
    const run = async (features: readonly number[]) => {
      const data = Float32Array.from(features)
      return probabilities(await made.run(iris, { tensors: { features: { type: 'float32', data, dims: [1, 4] } } }))
    }
    const together = await Promise.all(flowers.map(run))
    const all = await made.run(iris, {
      tensors: { features: { type: 'float32', data: Float32Array.from(flowers.flat()), dims: [1000, 4] } },
    })
    expect(together.flat()).toEqual(probabilities(all))
  })

  it('takes a batch of no rows', async () => {
    const none: WorkerInput = { tensors: { features: { type: 'float32', data: new Float32Array(0), dims: [0, 4] } } }
    expect((await worker().run(iris, none))['probabilities']?.dims).toEqual([0, 3])
  })

  it('reports a run that fails without the words of the runtime, and goes on', async () => {
    const made = worker()
    const wrong: WorkerInput = { tensors: { features: { type: 'float32', data: new Float32Array(5), dims: [1, 5] } } }
    const error = await rejection(made.run(iris, wrong))
    expect(error.code).toBe('upstream_failed')
    expect(error.message).toBe('Model "iris@1" failed on this input.')
    expect(String(error.cause)).toMatch(/dimension/i)
    const thrown = await rejection(made.run(faulty, { rows: ['throw'] }))
    expect(String(thrown.cause)).toMatch(/a fault in the featurizer/)
    const noFeaturizer = await rejection(made.run(iris, { rows: ['5 3 1 0.2'] }))
    expect(String(noFeaturizer.cause)).toMatch(/takes tensors, not rows/)
    expect((await made.run(faulty, { rows: ['5 3 1 0.2'] }))['probabilities']?.dims).toEqual([1, 3])
    expect(made.state().crashes).toBe(0)
  })

  it('refuses what cannot cross to the thread', async () => {
    const made = worker()
    const error = await rejection(made.run(faulty, { rows: [() => 'a function'] }))
    expect(error.code).toBe('internal')
    await made.run(iris, flower())
  })
})

describe('limits', () => {
  it('unlinks a queued call when its caller leaves', async () => {
    const made = worker()
    await made.load(heavy)
    const busy = made.run(heavy, heavyInput(HEAVY_ROWS))
    const caller = new AbortController()
    const queued = made.run(iris, flower(), { signal: caller.signal, rows: 5 })
    expect(made.state()).toMatchObject({ queuedRequests: 1, queuedRows: 5, busy: true })
    caller.abort()
    expect(made.state()).toMatchObject({ queuedRequests: 0, queuedRows: 0 })
    let done = false
    const watched = busy.then(() => {
      done = true
    })
    expect((await rejection(queued)).code).toBe('client_closed')
    expect(done).toBe(false)
    await watched
    // It was never started: not even its model was loaded.
    expect(made.loaded('iris@1')).toBeUndefined()
  })

  it('answers a started call at once when its caller leaves, drops the result and goes on', async () => {
    const made = worker()
    await made.load(heavy)
    const caller = new AbortController()
    const started = made.run(heavy, heavyInput(HEAVY_ROWS), { signal: caller.signal })
    const next = made.run(iris, flower())
    caller.abort()
    expect((await rejection(started)).code).toBe('client_closed')
    expect(made.state().busy).toBe(true)
    expect((await next)['probabilities']?.dims).toEqual([1, 3])
  })

  it('knows why a signal aborted', async () => {
    const made = worker()
    const own = new TollgateError('budget_exceeded', 'no money')
    const cases: [AbortSignal, string][] = [
      [AbortSignal.abort(), 'client_closed'],
      [AbortSignal.abort(own), 'budget_exceeded'],
      [AbortSignal.abort(new DOMException('late', 'TimeoutError')), 'timeout'],
    ]
    for (const [signal, code] of cases) expect((await rejection(made.run(iris, flower(), { signal }))).code).toBe(code)
    expect(made.state()).toMatchObject({ queuedRequests: 0, busy: false })
  })

  it('answers at the deadline, queued or started, and at once when it has passed', async () => {
    const made = worker()
    await made.load(heavy)
    const started = made.run(heavy, heavyInput(HEAVY_ROWS), { deadline: Date.now() + 15 })
    const queued = made.run(iris, flower(), { deadline: Date.now() + 5 })
    expect((await rejection(queued)).code).toBe('timeout')
    expect((await rejection(started)).code).toBe('timeout')
    expect((await rejection(made.run(iris, flower(), { deadline: Date.now() - 1 }))).code).toBe('timeout')
    expect(made.state().queuedRequests).toBe(0)
    // A deadline further off than a timer reaches must not fire at once.
    expect((await made.run(iris, flower(), { deadline: Date.now() + 1e12 }))['probabilities']?.dims).toEqual([1, 3])
  })

  it('refuses calls and rows over the limits of its queue', async () => {
    const made = worker({ maxQueuedRequests: 3, maxQueuedRows: 10 })
    await made.load(heavy)
    const calls = [made.run(heavy, heavyInput(HEAVY_ROWS)), made.run(iris, flower(), { rows: 6 })]
    const rows = await rejection(made.run(iris, flower(), { rows: 5 }))
    expect(rows).toMatchObject({ code: 'overloaded', status: 503, retryAfterMs: 1000 })
    calls.push(made.run(iris, flower()), made.run(iris, flower()))
    expect((await rejection(made.run(iris, flower()))).code).toBe('overloaded')
    await Promise.all(calls)
    await made.run(iris, flower())
  })

  it('serves a higher priority first', async () => {
    const made = worker()
    await made.load(heavy)
    const order: string[] = []
    const note = (name: string) => () => order.push(name)
    await Promise.all([
      made.run(heavy, heavyInput(HEAVY_ROWS)).then(note('running')),
      made.run(iris, flower()).then(note('low')),
      made.run(iris, flower(), { priority: 1 }).then(note('high')),
    ])
    expect(order).toEqual(['running', 'high', 'low'])
  })
})

describe('close', () => {
  it('lets the run that is going on end, refuses what waits, then takes nothing more', async () => {
    const made = worker()
    await made.load(heavy)
    const busy = made.run(heavy, heavyInput(HEAVY_ROWS))
    const queued = rejection(made.run(iris, flower()))
    const closed = made.close()
    expect((await queued).code).toBe('not_ready')
    expect((await busy)['sums']?.dims).toEqual([HEAVY_ROWS, 1])
    await closed
    expect((await rejection(made.run(iris, flower()))).code).toBe('not_ready')
    expect((await rejection(made.load(iris))).code).toBe('not_ready')
    await made.close()
  })

  it('gives up waiting after its limit, without ending the busy thread', async () => {
    const made = worker({ closeTimeoutMs: 1 })
    await made.load(heavy)
    const busy = made.run(heavy, heavyInput(HEAVY_ROWS))
    const error = await rejection(made.close())
    expect(error.code).toBe('timeout')
    expect(error.message).toMatch(/process\.exit/)
    expect((await busy)['sums']?.dims).toEqual([HEAVY_ROWS, 1])
  })

  it('is nothing to a worker that never started', async () => {
    await worker().close()
  })
})

describe('a thread that dies', () => {
  it.each(['exit', 'throw later'])(
    'rejects the call that killed it (%s) and starts again for the next',
    async (fault) => {
      const made = worker()
      await made.load(iris)
      const killer = made.run(faulty, { rows: [fault] })
      const bystander = made.run(iris, flower())
      const error = await rejection(killer)
      expect(error.code).toBe('upstream_failed')
      expect(error.message).toMatch(/worker thread ended/)
      expect(String(error.cause)).toMatch(fault === 'exit' ? /exit code 7/ : /a fault nobody catches/)
      expect((await bystander)['probabilities']?.dims).toEqual([1, 3])
      expect(made.state().crashes).toBe(0)
      expect(made.loaded('iris@1')).toBeDefined()
      expect(made.loaded('faulty@1')).toBeUndefined()
    },
  )

  it('pauses before it starts again when it dies twice without a run between', async () => {
    const made = worker()
    await rejection(made.run(faulty, { rows: ['exit'] }))
    await rejection(made.run(faulty, { rows: ['exit'] }))
    const error = await rejection(made.run(iris, flower()))
    expect(error.code).toBe('not_ready')
    expect(error.retryAfterMs).toBeGreaterThan(0)
    expect(error.retryAfterMs).toBeLessThanOrEqual(100)
    await new Promise((resolve) => setTimeout(resolve, 110))
    expect((await made.run(iris, flower()))['probabilities']?.dims).toEqual([1, 3])
    expect(made.state().crashes).toBe(0)
  })

  it('reports a thread that cannot even start', async () => {
    const made = worker({ workerUrl: new URL('file:///nowhere/worker.js') })
    expect((await rejection(made.load(iris))).code).toBe('upstream_failed')
  })
})

describe('options', () => {
  it.each([{ intraOpNumThreads: 0 }, { maxQueuedRequests: 0 }, { closeTimeoutMs: -1 }, { maxQueueRows: 1 }])(
    'refuses %j',
    (wrong) => {
      expect(() => onnxWorker(wrong)).toThrow(/onnxWorker/)
    },
  )
})
