import { describe, expect, it } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { TollgateError } from '../errors.js'
import { listener, middleware } from '../http/handler.js'
import type { Model } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import { inferenceService } from '../inference/service.js'
import type { Task } from '../inference/task.js'
import { cost } from '../middleware/cost.js'
import { errorHandler } from '../middleware/error-handler.js'
import { budget } from '../middleware/single-limits.js'
import { priceTable } from '../price-table.js'
import { predict, predictBatch } from './predict.js'

/** Two versions of `sum`, which adds a row's features, and `length`, which measures a row's text. Rows that they cannot read are refused by name. */
const seen: unknown[][] = []
const provider: Provider = {
  name: 'arithmetic',
  model<T extends Task>(task: T, id: string, version = '2') {
    if (task !== 'predict' || (id !== 'sum' && id !== 'length') || !['1', '2'].includes(version)) return undefined
    const model: Model<'predict'> = {
      task: 'predict',
      provider: 'arithmetic',
      id,
      version,
      async run({ rows }) {
        seen.push([...rows])
        const errors = rows.flatMap((row, index) => {
          const { features, text } = row as { features?: number[]; text?: string }
          if (id === 'length')
            return text === undefined ? [{ path: `instances[${index}].text`, message: 'expected a text' }] : []
          if (features === undefined) return [{ path: `instances[${index}]`, message: 'expected features' }]
          return features.flatMap((feature, at) =>
            feature < 0 ? [{ path: `instances[${index}].features[${at}]`, message: 'must not be negative' }] : [],
          )
        })
        if (errors.length > 0) throw new TollgateError('invalid_request', 'wrong rows', { errors })
        const predictions = rows.map((row) => {
          const { features, text } = row as { features?: number[]; text?: string }
          return {
            prediction: features?.reduce((sum, feature) => sum + feature, 0) ?? text?.length ?? 0,
            probability: 0.5,
          }
        })
        return {
          output: { predictions },
          usage: { inputTokens: 0, outputTokens: 0, rows: rows.length, estimated: false },
        }
      },
    }
    return model as Model<Task> as Model<T>
  },
}
const service = inferenceService({ providers: [provider] })
const options = { service, defaultModels: { text: 'length', features: 'sum' } }

const post = (url: string, body: unknown) =>
  fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

interface Refusal {
  code: string
  errors: Array<{ path: string }>
}

eachHost((host) => {
  it('predicts one row, by the kind of its input', async () => {
    const { url } = await host.start(predict(options), errorHandler())
    const answer = await post(url, { features: [1, 2, 3.5] })
    expect(answer.status).toBe(200)
    expect(await answer.json()).toEqual({
      request_id: answer.headers.get('x-request-id'),
      prediction: 6.5,
      result: 6.5,
      confidence: 0.5,
      probability: 0.5,
      latency_ms: expect.any(Number),
      model: 'sum',
      model_version: '2',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    })
    expect(await (await post(url, { text: 'four' })).json()).toMatchObject({ prediction: 4, model: 'length' })
  })

  it('refuses a wrong row by its name', async () => {
    const { url } = await host.start(predict(options), errorHandler())
    const refused = await post(url, { features: [1, -2] })
    expect(refused.status).toBe(400)
    expect(await refused.json()).toMatchObject({ code: 'invalid_request', errors: [{ path: 'features[1]' }] })
  })
})

async function refusal(route: 'one' | 'many', body: unknown): Promise<Refusal> {
  const { url } = await listen(listener(route === 'one' ? predict(options) : predictBatch(options), errorHandler()))
  const answer = await post(url, body)
  expect(answer.status).toBeGreaterThanOrEqual(400)
  return (await answer.json()) as Refusal
}

describe('predict', () => {
  it('takes input_data in the three forms, and a version', async () => {
    const { url } = await listen(listener(predict(options), errorHandler()))
    for (const input_data of [[1, 2], { features: [1, 2] }]) {
      expect(await (await post(url, { input_data })).json()).toMatchObject({ prediction: 3 })
    }
    expect(await (await post(url, { input_data: 'abc' })).json()).toMatchObject({ prediction: 3, model: 'length' })
    const older = await post(url, { features: [1], model: 'sum', model_version: '1' })
    expect(await older.json()).toMatchObject({ model_version: '1' })
    const latest = await post(url, { features: [1], model_version: 'latest' })
    expect(await latest.json()).toMatchObject({ model_version: '2' })
  })

  it.each([
    [{ input_data: [1, -1] }, 'input_data[1]'],
    [{ input_data: { features: [1, -1] } }, 'input_data[1]'],
    [{ input_data: 7 }, 'input_data'],
    [{ text: 'a', model: 'sum' }, 'text'],
    [{ features: [1], text: 'a' }, 'body'],
  ])('names the field of %j', async (body, path) => {
    expect(await refusal('one', body)).toMatchObject({ code: 'invalid_request', errors: [{ path }] })
  })

  it('tells what there is instead of a model or version that there is not', async () => {
    for (const body of [
      { text: 'a', model: 'nope' },
      { features: [1], model_version: '9' },
    ]) {
      expect(await refusal('one', body)).toMatchObject({ code: 'model_not_found' })
    }
  })
})

describe('predictBatch', () => {
  it('sends all rows in one run, and keeps their order', async () => {
    const { url } = await listen(listener(predictBatch(options), errorHandler()))
    seen.length = 0
    const instances = Array.from({ length: 1000 }, (_, index) => [index, 1])
    const answer = (await (await post(url, { instances })).json()) as {
      predictions: Array<{ prediction: number }>
      count: number
    }
    expect(seen).toHaveLength(1)
    expect(answer.count).toBe(1000)
    expect(answer.predictions.map(({ prediction }) => prediction)).toEqual(instances.map(([first = 0]) => first + 1))
    const texts = await post(url, { inputs: ['a', { text: 'bb' }] })
    expect(await texts.json()).toMatchObject({ count: 2, predictions: [{ prediction: 1 }, { prediction: 2 }] })
  })

  it.each([
    [{ instances: [[1], [2, -1], [-3]] }, ['instances[1][1]', 'instances[2][0]']],
    [{ inputs: [{ features: [1] }, { features: [-1] }] }, ['inputs[1].features[0]']],
    [{ inputs: ['a', 7] }, ['inputs[1]']],
    [{ inputs: [] }, ['inputs']],
    [{ instances: Array.from({ length: 1001 }, () => [1]) }, ['instances']],
    [{ inputs: ['a'], instances: [[1]] }, ['body']],
    [{}, ['body']],
  ])('names every wrong row (%#)', async (body, paths) => {
    const { code, errors } = await refusal('many', body)
    expect(code).toBe('invalid_request')
    expect(errors.map(({ path }) => path)).toEqual(paths)
  })
})

it('takes the price of its rows from a budget before the model is called', async () => {
  const prices = priceTable({ list: false, overrides: { 'arithmetic/*': { usdPerRow: '0.01' } } })
  const limiter = budget({ name: 'budget', limit: '0.05', calendar: 'month', prices })
  const known = middleware('known', (context) => {
    context.principal = { tenant: 't', subject: 'u', method: 'jwt', scopes: ['*'] }
  })
  const { url } = await listen(
    listener(known, limiter, cost({ prices }), predictBatch(options), errorHandler({ log: { error() {}, warn() {} } })),
  )
  const before = seen.length
  expect((await post(url, { instances: [[1], [2], [3], [4], [5], [6]] })).status).toBe(402)
  expect(seen).toHaveLength(before)
  expect((await post(url, { instances: [[1], [2], [3], [4], [5]] })).status).toBe(200)
})
