import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Answer, failure, json, problem, serve } from '../test/fixture-server.js'
import { type ClientOptions, createClient, type PredictBatchItem, type PredictBatchProgress } from './index.js'

const clientOf = (url: string, options: Partial<ClientOptions> = {}) =>
  createClient({ baseUrl: url, apiKey: 'k', backoffBaseMs: 1, ...options })

type Body = { inputs?: unknown[]; instances?: unknown[]; model?: string; model_version?: string }
const rowsOf = ({ inputs, instances }: Body) => inputs ?? instances ?? []

/** Predicts each row to be itself; refuses a chunk that holds bad rows as the handler says. */
function model(refuse: (rows: unknown[], name: string) => Answer | undefined = () => undefined): Answer {
  return (res, request, req) => {
    const body: Body = JSON.parse(request.body)
    const rows = rowsOf(body)
    const refusal = refuse(rows, body.inputs === undefined ? 'instances' : 'inputs')
    const predictions = rows.map((row) => ({ prediction: JSON.stringify(row) }))
    return (refusal ?? json({ predictions, count: rows.length }, 200, { 'x-request-id': 'r' }))(res, request, req)
  }
}

const isBad = (row: unknown) => JSON.stringify(row).includes('bad')
const naming = model((rows, name) => {
  const errors = rows.flatMap((row, at) => (isBad(row) ? [{ path: `${name}[${at}].text`, message: 'is bad' }] : []))
  return errors.length > 0 ? problem(400, 'invalid_request', { errors }) : undefined
})
const silent = model((rows) => (rows.some(isBad) ? problem(400, 'invalid_request') : undefined))
const tooLarge = model((rows) => (rows.length > 2 || rows.some(isBad) ? problem(413, 'payload_too_large') : undefined))

const shapeOf = (items: readonly PredictBatchItem[]) =>
  items.map((item) => (item.status === 'ok' ? item.value.prediction : item.error.code))

describe('predictBatch', () => {
  it('sends chunks and returns the rows in their order', async () => {
    const { url, requests } = await serve(async (res, request, req) => {
      await sleep(Math.random() * 10)
      return model()(res, request, req)
    })
    const rows = Array.from({ length: 23 }, (_, at) => ({ at }))
    const progress: PredictBatchProgress[] = []
    const items = await clientOf(url).predictBatch(rows, {
      chunkSize: 5,
      model: 'm',
      modelVersion: '2',
      onProgress: (one) => progress.push(one),
    })
    expect(items).toEqual(
      rows.map((row, index) => ({
        index,
        status: 'ok',
        value: { prediction: JSON.stringify(row) },
        attempts: 1,
        requestId: 'r',
      })),
    )
    expect(requests.map(({ body }) => rowsOf(JSON.parse(body)).length).sort()).toEqual([3, 5, 5, 5, 5])
    expect(JSON.parse(requests[0]?.body ?? '')).toMatchObject({ model: 'm', model_version: '2' })
    expect(new Set(requests.map(({ headers }) => headers['idempotency-key'])).size).toBe(5)
    expect(progress).toHaveLength(5)
    expect(progress.at(-1)).toEqual({ done: 23, failed: 0, total: 23 })
  })

  it('names rows of numbers instances and all others inputs', async () => {
    const { url, requests } = await serve(model())
    const client = clientOf(url)
    await client.predictBatch([[1, 2], [3]])
    await client.predictBatch(['a', [1]])
    expect(requests.map(({ body }) => JSON.parse(body))).toEqual([{ instances: [[1, 2], [3]] }, { inputs: ['a', [1]] }])
    expect(await client.predictBatch([])).toEqual([])
    expect(requests).toHaveLength(2)
  })

  it('has no more requests under way than it may', async () => {
    let running = 0
    let most = 0
    const { url } = await serve(async (res, request, req) => {
      most = Math.max(most, ++running)
      // Until as many as may have come at once, and a moment for one too many.
      for (let waited = 0; most < 3 && waited < 1_000; waited += 1) await sleep(5)
      await sleep(5)
      running -= 1
      return model()(res, request, req)
    })
    await clientOf(url).predictBatch(Array.from({ length: 30 }).fill('x'), { chunkSize: 2, concurrency: 3 })
    expect(most).toBe(3)
  })

  it('fails the rows that the server names, by their own error, and sends the others again', async () => {
    const { url, requests } = await serve(naming)
    const items = await clientOf(url).predictBatch(['a', 'b', 'bad 2', 'c', 'bad 4'], { chunkSize: 3, concurrency: 1 })
    expect(shapeOf(items)).toEqual(['"a"', '"b"', 'invalid_request', '"c"', 'invalid_request'])
    expect(items[4]).toMatchObject({
      index: 4,
      attempts: 1,
      error: { kind: 'api', status: 400, errors: [{ path: 'rows[4].text', message: 'is bad' }], requestId: 'req-p' },
    })
    expect(items[3]).toMatchObject({ attempts: 2 })
    expect(requests).toHaveLength(4)
  })

  it('halves a chunk that is refused without a name, or for its size', async () => {
    const rows = ['a', 'b', 'bad', 'c', 'd', 'e', 'f', 'bad too']
    for (const answer of [silent, tooLarge]) {
      const { url } = await serve(answer)
      const items = await clientOf(url).predictBatch(rows)
      expect(items.map(({ status }) => status)).toEqual(rows.map((row) => (isBad(row) ? 'error' : 'ok')))
      expect(items.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    }
  })

  it('fails a row that JSON cannot carry, and sends the others', async () => {
    const { url, requests } = await serve(model())
    const items = await clientOf(url).predictBatch(['a', 1n, undefined, () => 1, 'b'])
    expect(shapeOf(items)).toEqual(['"a"', 'request_invalid', 'request_invalid', 'request_invalid', '"b"'])
    expect(requests).toHaveLength(1)
  })

  it('retries a chunk, and lets one that stays broken fail alone', async () => {
    const flaky = await serve(problem(503, 'overloaded'), model())
    expect(await clientOf(flaky.url).predictBatch(['a'])).toMatchObject([{ status: 'ok', attempts: 2 }])
    const broken = await serve(model((rows) => (rows.some(isBad) ? problem(500, 'internal') : undefined)))
    const items = await clientOf(broken.url).predictBatch(['a', 'b', 'bad', 'c', 'd'], { chunkSize: 2 })
    expect(shapeOf(items)).toEqual(['"a"', '"b"', 'internal', 'internal', '"d"'])
    expect(items[2]).toMatchObject({ attempts: 3 })
  })

  it.each<[string, Answer]>([
    ['credentials', problem(401, 'invalid_credentials')],
    ['the budget', problem(402, 'budget_exceeded')],
    ['the model', problem(404, 'model_not_found')],
    ['another field', problem(400, 'invalid_request', { errors: [{ path: 'model', message: 'is too long' }] })],
  ])('stops at an error of %s, which is every row that is left', async (_, answer) => {
    const { url, requests } = await serve(model(), answer)
    const progress: PredictBatchProgress[] = []
    const items = await clientOf(url).predictBatch(Array.from({ length: 50 }).fill('x'), {
      chunkSize: 5,
      concurrency: 1,
      onProgress: (one) => progress.push(one),
    })
    expect(items.map(({ status }) => status)).toEqual([...Array(5).fill('ok'), ...Array(45).fill('error')])
    expect(requests).toHaveLength(2)
    expect(progress.at(-1)).toEqual({ done: 50, failed: 45, total: 50 })
  })

  it.each([
    ['too few predictions', { predictions: [] }],
    ['null in place of one', { predictions: [null] }],
    ['none', {}],
  ])('fails the rows of an answer with %s', async (_, body) => {
    const { url } = await serve(json(body))
    expect(shapeOf(await clientOf(url).predictBatch(['a']))).toEqual(['response_invalid'])
  })

  it('returns what is done when it is aborted', async () => {
    const controller = new AbortController()
    const closed = Promise.withResolvers<void>()
    const { url, requests } = await serve(model(), (_, __, req) => {
      req.socket.once('close', () => closed.resolve())
      controller.abort('enough')
    })
    const items = await clientOf(url).predictBatch(['a', 'b', 'c', 'd'], {
      chunkSize: 1,
      concurrency: 1,
      signal: controller.signal,
    })
    expect(shapeOf(items)).toEqual(['"a"', 'client_aborted', 'client_aborted', 'client_aborted'])
    expect(items[1]).toMatchObject({ error: { kind: 'abort', cause: 'enough' } })
    await closed.promise
    expect(requests).toHaveLength(2)
    const before = await clientOf(url).predictBatch(['a'], { signal: AbortSignal.abort() })
    expect(shapeOf(before)).toEqual(['client_aborted'])
    expect(requests).toHaveLength(2)
  })

  it('ends with what onProgress throws', async () => {
    const { url } = await serve(model())
    const mine = new Error('mine')
    const work = clientOf(url).predictBatch(['a', 'b', 'c'], {
      chunkSize: 1,
      onProgress() {
        throw mine
      },
    })
    expect(await failure(work)).toBe(mine)
  })

  it('rejects wrong options before anything is sent', async () => {
    const { url, requests } = await serve(model())
    for (const wrong of [
      { concurrency: 0 },
      { concurrency: Number.NaN },
      { chunkSize: -1 },
      { chunkSize: 1001 },
      { idempotencyKey: 'k' },
    ]) {
      expect(await failure(clientOf(url).predictBatch(['a'], wrong as object))).toMatchObject({
        code: 'options_invalid',
      })
    }
    expect(await failure(clientOf(url).predictBatch('rows' as never))).toMatchObject({ code: 'options_invalid' })
    expect(requests).toHaveLength(0)
  })

  it('loses, doubles and mixes up no row, whatever is refused and how', async () => {
    const rows = fc.array(fc.constantFrom('a', 'b', 'bad', 'c'), { maxLength: 20 })
    const servers = [await serve(naming), await serve(silent), await serve(tooLarge)]
    await fc.assert(
      fc.asyncProperty(
        rows,
        fc.constantFrom(...servers),
        fc.integer({ min: 1, max: 8 }),
        async (values, { url }, chunkSize) => {
          const numbered = values.map((value, at) => `${value} ${at}`)
          const items = await clientOf(url).predictBatch(numbered, { chunkSize, concurrency: 2 })
          expect(items.map((item) => (item.status === 'ok' ? item.value.prediction : undefined))).toEqual(
            numbered.map((row) => (isBad(row) ? undefined : JSON.stringify(row))),
          )
        },
      ),
      { numRuns: 40 },
    )
  })
})
