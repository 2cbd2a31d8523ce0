import OpenAI from 'openai'
import { describe, expect, it, onTestFinished } from 'vitest'
import { call, claude, start as startChat } from '../../test/bedrock-model.js'
import { bedrockCredentials, bedrockRegion, bedrockUpstream } from '../../test/bedrock-upstream.js'
import type { UpstreamScript } from '../../test/fixture-upstream.js'
import { listen } from '../../test/hosts.js'
import { embeddingOf } from '../../test/openai-upstream.js'
import { listener } from '../http/handler.js'
import type { Call } from '../inference/model.js'
import { inferenceService } from '../inference/service.js'
import { errorHandler } from '../middleware/error-handler.js'
import { embeddings } from '../routes/embeddings.js'
import { providerCases } from '../testing/provider.js'
import type { Usage } from '../usage.js'
import { type BedrockOptions, bedrockProvider } from './bedrock.js'

const titan = 'amazon.titan-embed-text-v2:0'
const cohere = 'cohere.embed-multilingual-v3'

async function start(id = titan, scripts: Record<string, UpstreamScript> = {}, options: Partial<BedrockOptions> = {}) {
  const upstream = await bedrockUpstream(scripts)
  const provider = bedrockProvider({
    baseUrl: upstream.baseUrl,
    region: bedrockRegion,
    credentials: bedrockCredentials,
    ...options,
  })
  onTestFinished(async () => {
    await provider.close?.()
    await upstream.close()
  })
  const model = provider.model('embed', id)
  if (model === undefined) throw new Error('no model')
  return { upstream, provider, model }
}

function spending(more: Partial<Call> = {}) {
  const spent: Usage[] = []
  return { spent, call: { ...call, spent: (usage: Usage) => void spent.push(usage), ...more } satisfies Call }
}

describe.each([titan, cohere])('%s, as any provider', (embed) => {
  for (const { name, run } of providerCases) {
    const models = { generate: claude, embed }
    it(`any name: ${name}`, () => run({ models, make: async () => (await start()).provider }))
    it(`listed: ${name}`, () =>
      run({ models, make: async () => (await startChat({}, { models: [claude, embed] })).provider }))
  }
})

describe('embeddings of Bedrock', () => {
  it('are asked of Titan text by text, in their order, and counted by it', async () => {
    const { model, upstream } = await start()
    const inputs = Array.from({ length: 30 }, (_, index) => 'word '.repeat(index + 1).trim())
    const { output, usage } = await model.run({ inputs, dimensions: 256 }, call)
    expect(output.vectors).toEqual(inputs.map((text) => embeddingOf(text, 256)))
    expect(usage).toEqual({ inputTokens: (30 * 31) / 2, outputTokens: 0, estimated: false })
    expect(upstream.calls).toHaveLength(30)
    expect(upstream.calls[0]?.path).toBe(`/model/${encodeURIComponent(titan)}/invoke`)
    expect(upstream.calls.map(({ body }) => body).find(({ inputText }) => inputText === 'word')).toEqual({
      inputText: 'word',
      dimensions: 256,
    })
    expect(upstream.connections()).toBeLessThanOrEqual(8)
  })

  it('are asked of Cohere by 96 texts, and counted by the head of the answer', async () => {
    const { model, upstream } = await start(cohere)
    const inputs = Array.from({ length: 200 }, (_, index) => `text ${'x'.repeat(index)}`)
    const { output, usage } = await model.run({ inputs }, call)
    expect(output.vectors).toEqual(inputs.map((text) => embeddingOf(text, 1_024)))
    expect(usage).toEqual({ inputTokens: 399, outputTokens: 0, estimated: false })
    expect(upstream.calls.map(({ body }) => (body['texts'] as string[]).length).toSorted()).toEqual([8, 96, 96])
    expect(upstream.calls[0]?.body).toMatchObject({ input_type: 'search_document' })
  })

  it('are of the type that the caller says', async () => {
    const { model, upstream } = await start(cohere)
    const native = (body: object) => ({ dialect: 'openai-embeddings' as const, body: { ...body } })
    await model.run({ inputs: ['a'], native: native({ input_type: 'search_query', truncate: 'END' }) }, call)
    expect(upstream.calls[0]?.body).toEqual({ texts: ['a'], input_type: 'search_query', truncate: 'END' })
    for (const [body, path] of [
      [{ input_type: 'image' }, 'input_type'],
      [{ input_type: 7 }, 'input_type'],
      [{ truncate: 'MIDDLE' }, 'truncate'],
    ] as const) {
      const wrong = model.run({ inputs: ['a'], native: native(body) }, call)
      await expect(wrong).rejects.toMatchObject({ code: 'invalid_request', errors: [{ path }] })
    }
    expect(upstream.calls).toHaveLength(1)
  })

  it.each([
    ['cohere.embed-english-v3', undefined],
    ['amazon.titan-embed-text-v1', undefined],
    ['cohere.embed-v4:0', { texts: ['a'], input_type: 'search_document', output_dimension: 512 }],
    ['us.cohere.embed-v4:0', { texts: ['a'], input_type: 'search_document', output_dimension: 512 }],
    [titan, { inputText: 'a', dimensions: 512 }],
  ])('of %s have dimensions to choose, or refuse them', async (id, body) => {
    const { model, upstream } = await start(id)
    const answer = model.run({ inputs: ['a'], dimensions: 512 }, call)
    if (body === undefined) {
      await expect(answer).rejects.toMatchObject({ code: 'invalid_request', errors: [{ path: 'dimensions' }] })
    } else expect((await answer).output.vectors[0]).toHaveLength(512)
    expect(upstream.calls.map((each) => each.body)).toEqual(body === undefined ? [] : [body])
  })

  it('that Titan does not have are the fault of the caller', async () => {
    const { model } = await start()
    const answer = model.run({ inputs: ['a'], dimensions: 300 }, call)
    await expect(answer).rejects.toMatchObject({ code: 'invalid_request' })
    await expect(model.run({ inputs: [[1, 2]] }, call)).rejects.toMatchObject({ errors: [{ path: 'input[0]' }] })
  })

  it('are a matter of models for it alone', async () => {
    const arn = 'arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc'
    const { provider } = await start(titan, {}, { models: [claude, titan, cohere, arn], baseModels: { [arn]: cohere } })
    expect(provider.model('generate', titan)).toBeUndefined()
    expect(provider.model('embed', claude)).toBeUndefined()
    expect(provider.model('predict', titan)).toBeUndefined()
    expect(provider.model('embed', arn)).toBeDefined()
    const tasks = (await provider.list?.())?.map(({ task }) => task)
    expect(tasks).toEqual(['generate', 'embed', 'embed', 'embed'])
  })

  it('are paid for as far as they came, when a text fails', async () => {
    const { model, upstream } = await start()
    const { spent, call: paying } = spending()
    // Blank texts are refused by Titan.
    const inputs = [...Array.from({ length: 20 }, () => 'two words'), '', ...Array.from({ length: 100 }, () => 'more')]
    await expect(model.run({ inputs }, paying)).rejects.toMatchObject({ code: 'invalid_request' })
    expect(upstream.calls.length).toBeLessThan(inputs.length)
    expect(spent).toHaveLength(1)
    expect(spent[0]?.inputTokens).toBeGreaterThanOrEqual(2)
  })

  it('stop when the caller leaves', async () => {
    const { model, upstream } = await start(titan, { [titan]: { delayMs: 60_000 } })
    const leaving = new AbortController()
    const { spent, call: left } = spending({ signal: leaving.signal })
    const first = upstream.next()
    const answer = model.run({ inputs: Array.from({ length: 50 }, () => 'a') }, left)
    const asked = await first
    leaving.abort()
    await expect(answer).rejects.toMatchObject({ code: 'client_closed' })
    expect(await asked.broken).toBe(true)
    expect(upstream.calls.length).toBeLessThanOrEqual(8)
    expect(spent).toEqual([])
  })

  it.each([
    ['no embedding', titan, { inputTextTokenCount: 3 }],
    ['an embedding of texts', titan, { embedding: ['a'], inputTextTokenCount: 3 }],
    ['too few', cohere, { embeddings: [] }],
    ['none', cohere, {}],
  ])('that are none are paid for: %s', async (_what, id, body) => {
    const { model } = await start(id, { [id]: { answer: { status: 200, body } } })
    const { spent, call: paying } = spending()
    await expect(model.run({ inputs: ['a'] }, paying)).rejects.toMatchObject({ code: 'upstream_invalid' })
    expect(spent).toHaveLength(1)
  })

  it('are read by their type too, and estimated where nothing is told', async () => {
    const body = { embeddings: { float: [[0.5, 0.25]] }, response_type: 'embeddings_by_type' }
    const { model } = await start(cohere, { [cohere]: { answer: { status: 200, body } } })
    const { output, usage } = await model.run({ inputs: ['four'] }, call)
    expect(output.vectors).toEqual([Float32Array.from([0.5, 0.25])])
    expect(usage).toMatchObject({ inputTokens: 1, estimated: true })
  })

  it('are numbers or base64, as callers of the route ask', async () => {
    const { provider, upstream } = await start()
    const service = inferenceService({ providers: [{ provider, models: { small: cohere } }] })
    const log = { error() {}, warn() {} }
    const { url } = await listen(listener(embeddings({ service }), errorHandler({ log })))
    const client = new OpenAI({ apiKey: 'k', baseURL: url, maxRetries: 0, fetch: (_url, init) => fetch(url, init) })
    const request = { model: 'small', input: ['a', 'bc'] }
    const plain = await client.embeddings.create({ ...request, encoding_format: 'float' })
    // What the SDK asks for unasked is base64, which it decodes.
    const decoded = await client.embeddings.create({ ...request, input_type: 'search_query' } as typeof request)
    expect(decoded.data).toEqual(plain.data)
    expect(plain.usage).toEqual({ prompt_tokens: 2, total_tokens: 2 })
    expect(upstream.calls.map(({ body }) => body['input_type'])).toEqual(['search_document', 'search_query'])
  })
})
