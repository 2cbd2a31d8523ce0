import Anthropic from '@anthropic-ai/sdk'
import express from 'express'
import OpenAI from 'openai'
import { describe, expect, it, onTestFinished } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { openAiUpstream, upstreamKey } from '../../test/openai-upstream.js'
import { dialect } from '../http/dialect.js'
import { type Handler, listener } from '../http/handler.js'
import type { Model, ModelInfo } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import { inferenceService } from '../inference/service.js'
import type { Task } from '../inference/task.js'
import { errorHandler } from '../middleware/error-handler.js'
import { byteTokenizer } from '../providers/count-tokens.js'
import { echoProvider } from '../providers/echo.js'
import { openAiCompatible } from '../providers/openai-compatible.js'
import { listModels, modelDetails } from './models.js'

const infos: ModelInfo[] = [
  { id: 'iris', task: 'predict', version: '1', loadedAt: Date.UTC(2026, 0, 1), inputSchema: { type: 'object' } },
  { id: 'iris', task: 'predict', version: '2', loadedAt: Date.UTC(2026, 0, 2), description: 'Flowers.' },
  { id: 'org/llama 3', task: 'generate' },
]
const local: Provider = {
  name: 'local',
  model: <T extends Task>(task: T, id: string, version = '2') =>
    infos.some((info) => info.task === task && info.id === id && (info.version ?? '2') === version)
      ? ({ task, id, version, provider: 'local' } as unknown as Model<T>)
      : undefined,
  list: async () => infos,
}
const service = inferenceService({
  providers: [local, echoProvider({ tokenizer: byteTokenizer })],
  aliases: { flower: 'iris' },
})
const list = listModels({ service })
const details = modelDetails({ service })

eachHost((host) => {
  it('lists the models', async () => {
    const { url } = await host.start(['/v1/models', list], errorHandler())
    const response = await fetch(`${url}/v1/models`)
    expect(await response.json()).toEqual({
      object: 'list',
      data: [
        { id: 'iris', object: 'model', created: Date.UTC(2026, 0, 2) / 1000, owned_by: 'local' },
        { id: 'org/llama 3', object: 'model', created: 0, owned_by: 'local' },
        { id: 'echo', object: 'model', created: 0, owned_by: 'tollgate-development' },
        { id: 'flower', object: 'model', created: Date.UTC(2026, 0, 2) / 1000, owned_by: 'local' },
      ],
    })
  })

  it('describes a model by the tail of the path, and says what there is for one it does not know', async () => {
    const { url } = await host.start(details, errorHandler())
    const response = await fetch(`${url}/v1/models/iris?x=1`)
    expect(await response.json()).toEqual({
      id: 'iris',
      object: 'model',
      created: Date.UTC(2026, 0, 2) / 1000,
      owned_by: 'local',
      task: 'predict',
      description: 'Flowers.',
      versions: [
        { version: '1', latest: false, loaded_at: '2026-01-01T00:00:00.000Z', input_schema: { type: 'object' } },
        { version: '2', latest: true, loaded_at: '2026-01-02T00:00:00.000Z' },
      ],
    })
    const unknown = await fetch(`${url}/v1/models/nope`)
    expect([unknown.status, await unknown.json()]).toMatchObject([
      404,
      { error: { code: 'model_not_found', message: expect.stringContaining('echo, flower, iris, org/llama 3') } },
    ])
  })
})

describe('modelDetails', () => {
  it.each([
    ['/v1/models/org%2Fllama%203', 200, 'org/llama 3'],
    ['/v1/models/org/llama%203', 200, 'org/llama 3'],
    ['/v1/models/iris@1', 200, 'iris'],
    ['/v1/models/iris@latest', 200, 'iris'],
    ['/v1/models/flower', 200, 'flower'],
    ['/v1/models/iris@7', 404, undefined],
    ['/v1/models/%E0%A4%A', 400, undefined],
    ['/v1/models/', 404, undefined],
    ['/elsewhere', 404, undefined],
  ])('%s is %d', async (path, status, id) => {
    const { url } = await listen(listener(details, errorHandler()))
    const response = await fetch(`${url}${path}`)
    expect(response.status).toBe(status)
    if (id !== undefined) expect(await response.json()).toMatchObject({ id })
  })

  it('takes the parameter of a route of Express, a wildcard too', async () => {
    const app = express()
    app.get('/a/:name', details as never)
    app.get('/b/*name', details as never)
    const { url } = await listen(app)
    for (const path of ['/a/org%2Fllama%203', '/b/org/llama%203']) {
      expect(await (await fetch(url + path)).json()).toMatchObject({ id: 'org/llama 3' })
    }
  })

  it('refuses other methods, answers HEAD without a body', async () => {
    const { url } = await listen(listener(details, errorHandler()))
    const posted = await fetch(`${url}/v1/models/iris`, { method: 'POST' })
    expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
    const head = await fetch(`${url}/v1/models/iris`, { method: 'HEAD' })
    expect([head.status, await head.text()]).toEqual([200, ''])
  })
})

it('works with the SDK, over an upstream that is asked what it has', async () => {
  const upstream = await openAiUpstream({ 'gpt-a': {}, 'text-embed-b': {} })
  const over = inferenceService({
    providers: [openAiCompatible({ name: 'up', baseUrl: upstream.baseUrl, apiKey: upstreamKey })],
  })
  onTestFinished(async () => {
    await over.close()
    await upstream.close()
  })
  const [all, one] = [listModels({ service: over }), modelDetails({ service: over })]
  const byPath: Handler = (req, res, next) => (req.url === '/models' ? all : one)(req, res, next)
  const { url } = await listen(listener(byPath, errorHandler()))
  const client = new OpenAI({ apiKey: 'sk-caller', baseURL: url, maxRetries: 0 })
  const page = await client.models.list()
  expect(page.data.map(({ id, owned_by }) => [id, owned_by])).toEqual([
    ['gpt-a', 'fixture'],
    ['text-embed-b', 'fixture'],
  ])
  expect(await client.models.retrieve('text-embed-b')).toMatchObject({
    task: 'embed',
    versions: [{ version: 'latest' }],
  })
  await expect(client.models.retrieve('nope')).rejects.toBeInstanceOf(OpenAI.NotFoundError)
})

describe("models in Anthropic's words", () => {
  const byPath: Handler = (req, res, next) => (/\/models(\?|$)/.test(req.url ?? '') ? list : details)(req, res, next)
  const start = async () => {
    const { url } = await listen(listener(dialect('openai'), byPath, errorHandler()))
    return { url, client: new Anthropic({ apiKey: 'any', baseURL: url, maxRetries: 0 }) }
  }
  const names = ['iris', 'org/llama 3', 'echo', 'flower']

  it('are told to its SDK, page by page', async () => {
    const { client } = await start()
    const page = await client.models.list({ limit: 3 })
    expect(page).toMatchObject({ has_more: true, first_id: 'iris', last_id: 'echo' })
    expect(page.data[0]).toEqual({
      type: 'model',
      id: 'iris',
      display_name: 'iris',
      created_at: '2026-01-02T00:00:00Z',
    })
    const all: string[] = []
    for await (const { id } of client.models.list({ limit: 1 })) all.push(id)
    expect(all).toEqual(names)
    const before = await client.models.list({ before_id: 'flower', limit: 2 })
    expect([before.data.map(({ id }) => id), before.has_more]).toEqual([['org/llama 3', 'echo'], true])
    expect(await client.models.list({ after_id: 'flower' })).toMatchObject({ data: [], has_more: false, last_id: null })
    expect((await client.beta.models.list()).data).toHaveLength(names.length)
  })

  it.each([1e300, -1e300, Number.NaN])('are told without a date that no calendar has (%d)', async (loadedAt) => {
    const odd: Provider = { ...local, list: async () => [{ id: 'iris', task: 'predict', version: '2', loadedAt }] }
    const oddService = inferenceService({ providers: [odd] })
    const { url } = await listen(listener(listModels({ service: oddService }), errorHandler()))
    const client = new Anthropic({ apiKey: 'any', baseURL: url, maxRetries: 0 })
    expect((await client.models.list()).data).toMatchObject([{ id: 'iris', created_at: '1970-01-01T00:00:00Z' }])
  })

  it('are described, and refused, in the same', async () => {
    const { client } = await start()
    expect(await client.models.retrieve('org/llama 3')).toMatchObject({
      type: 'model',
      id: 'org/llama 3',
      created_at: '1970-01-01T00:00:00Z',
    })
    await expect(client.models.retrieve('nope')).rejects.toMatchObject({
      status: 404,
      error: { type: 'error', error: { type: 'not_found_error' } },
    })
    await expect(client.models.list({ limit: 1001 })).rejects.toBeInstanceOf(Anthropic.BadRequestError)
    await expect(client.models.list({ after_id: 'gone' })).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('after_id'),
    })
  })
})
