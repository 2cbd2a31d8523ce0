import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { usageOf, wordsOf } from '../../../packages/core/test/openai-upstream.js'
import { apiKey, startGate, startGateway } from './running-gate.js'

const sdk = (url: string, key: string = apiKey) => new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 })
const model = 'gpt-4o-mini'
const messages = [{ role: 'user' as const, content: 'What is the time?' }]
const text = wordsOf().join('')

describe("OpenAI's own SDK, through the gate", () => {
  it('chats, and the call is priced and logged', async () => {
    const { url, line, upstream } = await startGateway()
    const { data, response } = await sdk(url)
      .chat.completions.create({ model, messages, user: 'u1', metadata: { a: 'b' } })
      .withResponse()
    expect(data.choices[0]?.message.content).toBe(text)
    // Fields that the gate knows nothing of reach the upstream.
    expect(upstream.calls[0]?.body).toMatchObject({ model, user: 'u1', metadata: { a: 'b' } })
    const usage = usageOf(upstream.calls[0]?.body ?? {}) as { prompt_tokens: number; completion_tokens: number }
    // 0.15 and 0.60 US dollars per million tokens are 150 and 600 nano-USD a token.
    const cost = usage.prompt_tokens * 150 + usage.completion_tokens * 600
    const logged = await line(response.headers.get('x-request-id') ?? '')
    expect(logged).toMatchObject({ model, status: 200, aborted: false, tenant: 'default', cost_usd: cost / 1e9 })
  })

  it.each(['none', 'bytes', 'random'] as const)('streams, with the upstream splitting its bytes: %s', async (split) => {
    const { url, upstream } = await startGateway()
    upstream.script(model, { split })
    const stream = await sdk(url).chat.completions.create({
      model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
    })
    let streamed = ''
    const usages: unknown[] = []
    for await (const chunk of stream) {
      streamed += chunk.choices[0]?.delta.content ?? ''
      if (chunk.usage) usages.push(chunk.usage)
    }
    expect(streamed).toBe(text)
    expect(usages).toEqual([usageOf(upstream.calls[0]?.body ?? {})])
  })

  it('meters a stream whose caller did not ask for usage, and keeps the extra chunk from it', async () => {
    const { url, upstream, line } = await startGateway()
    const { data: stream, response } = await sdk(url)
      .chat.completions.create({ model, messages, stream: true })
      .withResponse()
    for await (const chunk of stream) {
      expect(chunk.usage ?? null).toBeNull()
      expect(chunk.choices).toHaveLength(1)
    }
    const usage = usageOf(upstream.calls[0]?.body ?? {}) as { prompt_tokens: number; completion_tokens: number }
    expect(await line(response.headers.get('x-request-id') ?? '')).toMatchObject({
      prompt_tokens: usage.prompt_tokens,
      completion_tokens: usage.completion_tokens,
      cost_usd: (usage.prompt_tokens * 150 + usage.completion_tokens * 600) / 1e9,
    })
  })

  it('calls tools, at once and streamed', async () => {
    const { url, upstream } = await startGateway()
    const toolCalls = [
      { id: 'call_1', name: 'time', arguments: '{"zone":"Europe/Berlin"}' },
      { id: 'call_2', name: 'weather', arguments: '{"city":"Köln"}' },
    ]
    upstream.script(model, { toolCalls, split: 'random' })
    const tools = toolCalls.map(({ name }) => ({
      type: 'function' as const,
      function: { name, parameters: { type: 'object' } },
    }))
    const expected = toolCalls.map(({ id, name, arguments: text }) => ({
      id,
      type: 'function',
      function: { name, arguments: text },
    }))
    const whole = await sdk(url).chat.completions.create({ model, messages, tools })
    expect(whole.choices[0]?.message.tool_calls).toEqual(expected)
    const final = await sdk(url).chat.completions.stream({ model, messages, tools }).finalChatCompletion()
    expect(final.choices[0]?.finish_reason).toBe('tool_calls')
    expect(final.choices[0]?.message.tool_calls).toMatchObject(expected)
  })

  it('passes on what it has no word for: a call of a custom tool', async () => {
    const { url, upstream } = await startGateway()
    const called = { id: 'call_1', type: 'custom' as const, custom: { name: 'shell', input: 'ls' } }
    await sdk(url).chat.completions.create({
      model,
      messages: [
        ...messages,
        { role: 'assistant', tool_calls: [called] },
        { role: 'tool', tool_call_id: 'call_1', content: 'a' },
      ],
    })
    expect(upstream.calls[0]?.body).toMatchObject({ messages: [{}, { tool_calls: [called] }, {}] })
  })

  it('embeds: in base64, as the SDK asks by default, and in floats', async () => {
    const { url } = await startGateway()
    const input = ['one text', 'another']
    const packed = await sdk(url).embeddings.create({ model: 'text-embedding-3-small', input })
    const plain = await sdk(url).embeddings.create({ model: 'text-embedding-3-small', input, encoding_format: 'float' })
    expect(packed.data).toHaveLength(2)
    expect(packed.data[0]?.embedding.length).toBeGreaterThan(2)
    for (const [index, { embedding }] of packed.data.entries()) {
      const floats = plain.data[index]?.embedding ?? []
      expect(embedding).toHaveLength(floats.length)
      embedding.forEach((value, at) => {
        expect(value).toBeCloseTo(floats[at] as number, 5)
      })
    }
  })

  it('embeds with the development model too, in both forms alike', async () => {
    const { url } = await startGate()
    const packed = await sdk(url).embeddings.create({ model: 'echo', input: 'a text' })
    const plain = await sdk(url).embeddings.create({ model: 'echo', input: 'a text', encoding_format: 'float' })
    expect(packed.data[0]?.embedding.length).toBeGreaterThan(2)
    expect(packed.data[0]?.embedding.map(Math.fround)).toEqual(plain.data[0]?.embedding.map(Math.fround))
  })

  it('lists models, and tells of one', async () => {
    const { url } = await startGate()
    const names: string[] = []
    for await (const { id } of sdk(url).models.list()) names.push(id)
    expect(names.sort()).toEqual(['echo', 'iris', 'language-id'])
    expect(await sdk(url).models.retrieve('echo')).toMatchObject({ id: 'echo', owned_by: 'tollgate-development' })
  })

  it('gets errors as its own classes', async () => {
    const { url, upstream } = await startGateway({ API_KEY_TIER: 'free', RATE_LIMIT_FREE: '4' })
    await expect(sdk(url, 'wrong').chat.completions.create({ model, messages })).rejects.toThrow(
      OpenAI.AuthenticationError,
    )
    await expect(sdk(url).chat.completions.create({ model: 'm', messages: [] })).rejects.toMatchObject({
      status: 400,
      param: 'messages',
      constructor: OpenAI.BadRequestError,
    })
    upstream.script(model, { answer: { status: 500, body: 'oops' } })
    await expect(sdk(url).chat.completions.create({ model, messages })).rejects.toMatchObject({ status: 502 })
    await expect(sdk(url).models.retrieve('nope')).rejects.toThrow(OpenAI.NotFoundError)
    upstream.script(model, {
      errorAfter: { events: 2, error: { message: 'overloaded', type: 'server_error', code: null } },
    })
    const stream = await sdk(url).chat.completions.create({ model, messages, stream: true })
    await expect(
      (async () => {
        for await (const _ of stream);
      })(),
    ).rejects.toThrow(OpenAI.APIError)
    const limited = await sdk(url)
      .chat.completions.create({ model, messages })
      .then(
        () => undefined,
        (error: unknown) => error,
      )
    expect(limited).toBeInstanceOf(OpenAI.RateLimitError)
    expect((limited as InstanceType<typeof OpenAI.RateLimitError>).headers?.get('retry-after')).toMatch(/^\d+$/)
  })
})
