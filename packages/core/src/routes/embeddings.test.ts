import OpenAI from 'openai'
import { expect, it, onTestFinished } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { embeddingOf, openAiUpstream, type UpstreamScript, upstreamKey } from '../../test/openai-upstream.js'
import { listener, middleware } from '../http/handler.js'
import { onUsage } from '../http/record-usage.js'
import { inferenceService } from '../inference/service.js'
import { errorHandler } from '../middleware/error-handler.js'
import { byteTokenizer } from '../providers/count-tokens.js'
import { echoProvider } from '../providers/echo.js'
import { openAiCompatible } from '../providers/openai-compatible.js'
import type { Usage } from '../usage.js'
import { embeddings } from './embeddings.js'

async function gate(scripts: Record<string, UpstreamScript> = {}) {
  const upstream = await openAiUpstream(scripts)
  const service = inferenceService({
    providers: [
      echoProvider({ tokenizer: byteTokenizer, dimensions: 8 }),
      openAiCompatible({ name: 'up', baseUrl: upstream.baseUrl, apiKey: upstreamKey }),
    ],
  })
  onTestFinished(async () => {
    await service.close()
    await upstream.close()
  })
  const recorded: Array<Usage | undefined> = []
  const observe = middleware('observe', (context) => onUsage(context, () => void recorded.push(context.usage)))
  return { upstream, recorded, observe, handler: embeddings({ service }) }
}

async function start(scripts: Record<string, UpstreamScript> = {}) {
  const made = await gate(scripts)
  const { url } = await listen(listener(made.observe, made.handler, errorHandler()))
  return { ...made, url, client: new OpenAI({ apiKey: 'sk-caller', baseURL: url, maxRetries: 0 }) }
}

function post(url: string, body: unknown): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
}

eachHost((host) => {
  it('embeds, and names the field that is wrong', async () => {
    const { observe, handler } = await gate()
    const { url } = await host.start(observe, ['/v1/embeddings', handler], errorHandler())
    const answer = await post(`${url}/v1/embeddings`, { model: 'up-embed', input: 'hi' })
    expect([answer.status, await answer.json()]).toMatchObject([200, { object: 'list', data: [{ index: 0 }] }])
    const refused = await post(`${url}/v1/embeddings`, { model: 'up-embed', input: '' })
    expect([refused.status, await refused.json()]).toMatchObject([400, { error: { param: 'input' } }])
  })
})

it('gives the SDK, which asks for base64 by default, the same numbers', async () => {
  const { client, upstream, recorded } = await start()
  const { data, usage } = await client.embeddings.create({ model: 'm', input: ['ab', 'cdef'], dimensions: 5 })
  expect(data.map(({ embedding }) => embedding)).toEqual(['ab', 'cdef'].map((text) => [...embeddingOf(text, 5)]))
  expect(upstream.calls[0]?.body).toEqual({
    model: 'm',
    input: ['ab', 'cdef'],
    dimensions: 5,
    encoding_format: 'base64',
  })
  expect(recorded).toEqual([{ inputTokens: usage.prompt_tokens, outputTokens: 0, estimated: false }])
})

it('gives the SDK base64 though the upstream only knows numbers', async () => {
  const { client } = await start({ m: { floatsOnly: true } })
  const { data } = await client.embeddings.create({ model: 'm', input: 'abc', dimensions: 3 })
  expect(data[0]?.embedding).toEqual([...embeddingOf('abc', 3)])
})

it.each([
  ['a text', 'hello'],
  ['texts', ['hello', 'you']],
  ['tokens', [1, 2, 3]],
  ['lists of tokens', [[1, 2], [3]]],
])('takes %s, for an upstream and for a model of our own', async (_name, input) => {
  const { url } = await start()
  const count = Array.isArray(input) && typeof input[0] !== 'number' ? input.length : 1
  for (const model of ['m', 'echo']) {
    for (const encoding_format of ['float', 'base64', undefined]) {
      const response = await post(url, { model, input, encoding_format })
      const { data } = (await response.json()) as { data: Array<{ index: number; embedding: unknown }> }
      expect(data.map(({ index }) => index)).toEqual(Array.from({ length: count }, (_, index) => index))
      for (const { embedding } of data)
        expect(typeof embedding).toBe(encoding_format === 'base64' ? 'string' : 'object')
    }
  }
})

it('writes base64 as little-endian float32', async () => {
  const { url, client } = await start()
  const response = await post(url, { model: 'echo', input: 'red fox', encoding_format: 'float' })
  const { data } = (await response.json()) as { data: Array<{ embedding: number[] }> }
  const decoded = await client.embeddings.create({ model: 'echo', input: 'red fox' })
  expect(decoded.data[0]?.embedding).toEqual(data[0]?.embedding)
  expect(decoded.usage).toEqual({ prompt_tokens: 2, total_tokens: 2 })
})

it('counts what the upstream does not say', async () => {
  const { client, recorded } = await start({ m: { usage: false } })
  await client.embeddings.create({ model: 'm', input: ['12345678', '1234'] })
  expect(recorded).toEqual([{ inputTokens: 3, outputTokens: 0, estimated: true }])
})

it('tells garbage from the upstream as such, and bills it', async () => {
  const usage = { prompt_tokens: 5, total_tokens: 5 }
  const { client, recorded } = await start({ m: { answer: { status: 200, body: { data: [], usage } } } })
  const error = await client.embeddings.create({ model: 'm', input: 'x' }).catch((caught) => caught)
  expect(error).toBeInstanceOf(OpenAI.InternalServerError)
  expect(error).toMatchObject({ status: 502, code: 'upstream_invalid' })
  expect(recorded).toEqual([{ inputTokens: 5, outputTokens: 0, estimated: false }])
})
