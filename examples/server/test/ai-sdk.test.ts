import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { APICallError, embedMany, generateText, type LanguageModel, Output, streamText, type ToolSet, tool } from 'ai'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { wordsOf } from '../../../packages/core/test/fixture-upstream.js'
import { apiKey, startGateway } from './running-gate.js'

const clients: Record<string, (url: string) => (model: string) => LanguageModel> = {
  openai: (url) => createOpenAI({ baseURL: `${url}/v1`, apiKey }).chat,
  anthropic: (url) => createAnthropic({ baseURL: `${url}/v1`, apiKey }),
  'openai-compatible': (url) =>
    createOpenAICompatible({
      name: 'tollgate',
      baseURL: `${url}/v1`,
      apiKey,
      includeUsage: true,
      supportsStructuredOutputs: true,
    }),
}
const cases = Object.keys(clients).flatMap((client) => ['gpt-4o-mini', 'claude-test'].map((model) => [client, model]))
// Warnings about models that it does not know.
globalThis.AI_SDK_LOG_WARNINGS = false

const text = wordsOf().join('')
const weather = tool({ description: 'The weather.', inputSchema: z.object({ city: z.string() }) })
const once = { maxRetries: 0 }

describe.each(cases)("the AI SDK's %s, through the gate, to %s", (client, model) => {
  const start = async () => {
    const gate = await startGateway()
    const make = clients[client] as (typeof clients)[string]
    return { ...gate, model: make(gate.url)(model), side: model === 'claude-test' ? gate.anthropic : gate.upstream }
  }

  it('answers and streams a text', async () => {
    const { model: language, side } = await start()
    side.script(model, { split: 'random' })
    const answered = await generateText({ model: language, prompt: 'Hello', ...once })
    expect([answered.text, answered.finishReason]).toEqual([text, 'stop'])
    expect(answered.usage.inputTokens).toBeGreaterThan(0)
    const streamed = streamText({ model: language, prompt: 'Hello', ...once })
    const pieces: string[] = []
    for await (const piece of streamed.textStream) pieces.push(piece)
    expect(pieces.join('')).toBe(text)
    expect(pieces.length).toBeGreaterThan(3)
    expect((await streamed.usage).outputTokens).toBeGreaterThan(0)
  })

  it('calls tools, several at once', async () => {
    const { model: language, side } = await start()
    const toolCalls = ['Paris', 'Oslo'].map((city, index) => ({
      id: `call_${index}`,
      name: 'weather',
      arguments: JSON.stringify({ city }),
    }))
    side.script(model, { toolCalls, text: '' })
    const wanted = [{ input: { city: 'Paris' } }, { input: { city: 'Oslo' } }]
    // Its types are not made for exactOptionalPropertyTypes.
    const tools = { weather } as unknown as ToolSet
    expect((await generateText({ model: language, prompt: 'Hello', tools, ...once })).toolCalls).toMatchObject(wanted)
    const streamed = streamText({ model: language, prompt: 'Hello', tools, ...once })
    expect(await streamed.toolCalls).toMatchObject(wanted)
    expect(await streamed.finishReason).toBe('tool-calls')
  })

  it('gives structured output, and sees pictures', async () => {
    const { model: language, side } = await start()
    side.script(model, { text: '{"city":"Paris"}' })
    const { output } = await generateText({
      model: language,
      output: Output.object({ schema: z.object({ city: z.string() }) }),
      // Of Anthropic's models that the SDK does not know it would take a tool instead.
      providerOptions: { anthropic: { structuredOutputMode: 'outputFormat' } },
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'Where is it?' },
            { type: 'file', data: Buffer.from('iVBORw0KGgo=', 'base64'), mediaType: 'image/png' },
          ],
        },
      ],
      ...once,
    })
    expect(output).toEqual({ city: 'Paris' })
    expect(JSON.stringify(side.calls.at(-1)?.body)).toContain('iVBORw0KGgo=')
  })

  it("has a refusal of the upstream as the SDK's own error", async () => {
    const { model: language, side } = await start()
    side.script(model, {
      answer: { status: 429, headers: { 'retry-after': '3' }, body: { error: { message: 'slow' } } },
    })
    const error = await generateText({ model: language, prompt: 'Hello', ...once }).catch((each: unknown) => each)
    expect(APICallError.isInstance(error)).toBe(true)
    expect(error).toMatchObject({ statusCode: 429, isRetryable: true, responseHeaders: { 'retry-after': '3' } })
  })

  it('has an error within a stream as one', async () => {
    const { model: language, side } = await start()
    side.script(model, { errorAfter: { events: 6, error: { type: 'overloaded_error', message: 'no' } } })
    const errors: unknown[] = []
    const streamed = streamText({
      model: language,
      prompt: 'Hello',
      onError: ({ error }) => void errors.push(error),
      ...once,
    })
    await streamed.consumeStream()
    expect(errors.length).toBeGreaterThan(0)
  })

  it('stops the upstream when its caller leaves', async () => {
    const { model: language, side } = await start()
    side.script(model, { stallAfter: 6 })
    const leaving = new AbortController()
    const called = side.next()
    const streamed = streamText({ model: language, prompt: 'Hello', abortSignal: leaving.signal, ...once })
    for await (const _ of streamed.textStream) {
      leaving.abort()
      break
    }
    expect(await (await called).broken).toBe(true)
  })
})

describe('the AI SDK, through the gate', () => {
  it('embeds', async () => {
    const { url } = await startGateway()
    const model = createOpenAI({ baseURL: `${url}/v1`, apiKey }).embedding('text-embedding-3-small')
    const { embeddings } = await embedMany({ model, values: ['a', 'b', 'c'], ...once })
    expect(embeddings.map((each) => each.length)).toEqual([4, 4, 4])
  })
})
