import { describe, expect, it, onTestFinished } from 'vitest'
import type { UpstreamScript } from '../../test/fixture-upstream.js'
import { defaultText } from '../../test/fixture-upstream.js'
import { geminiKey, geminiUpstream } from '../../test/gemini-upstream.js'
import type { Call } from '../inference/model.js'
import type { GenerateInput, Message, Part } from '../inference/task.js'
import { providerCases } from '../testing/provider.js'
import { type GeminiOptions, geminiProvider } from './gemini.js'

const call: Call = { signal: new AbortController().signal, requestId: 'r-1' }
const hello: GenerateInput = { messages: [{ role: 'user', content: 'hello' }] }

async function start(scripts: Record<string, UpstreamScript> = {}, options: Partial<GeminiOptions> = {}) {
  const upstream = await geminiUpstream(scripts)
  const provider = geminiProvider({ baseUrl: upstream.baseUrl, apiKey: geminiKey, ...options })
  onTestFinished(async () => {
    await provider.close?.()
    await upstream.close()
  })
  const model = provider.model('generate', 'gemini')
  if (model === undefined) throw new Error('no model')
  return { upstream, provider, model }
}

async function collect(parts: AsyncIterable<Part<'generate'>> | undefined): Promise<Part<'generate'>[]> {
  const all: Part<'generate'>[] = []
  for await (const part of parts ?? []) all.push(part)
  return all
}

const textOf = (parts: readonly Part<'generate'>[]) =>
  parts.map((part) => (part.type === 'text' ? part.text : '')).join('')

describe('geminiProvider', () => {
  describe('as any provider', () => {
    const models = { generate: 'gemini', embed: 'embedding' }
    for (const { name, run } of providerCases) {
      it(`any name: ${name}`, () => run({ models, make: async () => (await start()).provider }))
      it(`listed: ${name}`, () =>
        run({ models, make: async () => (await start({}, { models: ['gemini', 'embedding'] })).provider }))
    }
  })

  it.each(['none', 'bytes', 'random'] as const)('streams the same text, cut by %s', async (split) => {
    const { model } = await start({ gemini: { split, noisy: true, lineEnd: '\r\n' } })
    const parts = await collect(model.stream?.(hello, call))
    expect(textOf(parts)).toBe(defaultText)
    expect(parts.at(-1)).toMatchObject({ type: 'end', finishReason: 'stop', usage: { estimated: false } })
  })

  it('calls tools, and takes their answers and the proof of its thoughts back', async () => {
    const toolCalls = [
      { id: 'x', name: 'weather', arguments: '{"city":"Paris"}' },
      { id: 'y', name: 'weather', arguments: '{"city":"Oslo"}' },
    ]
    const { model, upstream } = await start({ gemini: { toolCalls, reasoning: [{ text: 'Hm.', signature: 'c2ln' }] } })
    const { output } = await model.run(hello, call)
    expect(output).toMatchObject({
      text: '',
      finishReason: 'tool-calls',
      reasoning: [{ type: 'reasoning', text: 'Hm.', signature: 'gemini.c2ln' }],
      toolCalls: [
        { name: 'weather', arguments: '{"city":"Paris"}' },
        { name: 'weather', arguments: '{"city":"Oslo"}' },
      ],
    })
    const streamed = await collect(model.stream?.(hello, call))
    const called = streamed.filter((part) => part.type === 'tool-call')
    expect(called.map(({ index, name }) => [index, name])).toEqual([
      [0, 'weather'],
      [1, 'weather'],
    ])
    const [first, second] = output.toolCalls
    const messages: Message[] = [
      ...hello.messages,
      { role: 'assistant', content: [...(output.reasoning ?? [])], toolCalls: output.toolCalls },
      { role: 'tool', toolCallId: first?.id ?? '', content: '{"degrees":21}' },
      { role: 'tool', toolCallId: second?.id ?? '', content: 'cold', isError: true },
      { role: 'user', content: 'So?' },
    ]
    await model.run({ messages }, call)
    expect(upstream.calls.at(-1)?.body['contents']).toEqual([
      { role: 'user', parts: [{ text: 'hello' }] },
      {
        role: 'model',
        parts: [
          { functionCall: { id: first?.id, name: 'weather', args: { city: 'Paris' } }, thoughtSignature: 'c2ln' },
          { functionCall: { id: second?.id, name: 'weather', args: { city: 'Oslo' } } },
        ],
      },
      {
        role: 'user',
        parts: [
          { functionResponse: { id: first?.id, name: 'weather', response: { degrees: 21 } } },
          { functionResponse: { id: second?.id, name: 'weather', response: { error: 'cold' } } },
          { text: 'So?' },
        ],
      },
    ])
  })

  it("puts settings into Google's words", async () => {
    const { model, upstream } = await start()
    await model.run(
      {
        messages: [
          { role: 'system', content: 'Be brief.' },
          {
            role: 'user',
            content: [
              { type: 'text', text: 'Where?' },
              { type: 'image', url: 'data:image/png;base64,iVBORw0K' },
              { type: 'image', url: 'https://example.com/a.png' },
            ],
          },
        ],
        tools: [{ name: 'f', description: 'd', parameters: { type: 'object' } }],
        toolChoice: { name: 'f' },
        responseFormat: { type: 'json-schema', name: 'x', schema: { type: 'object' } },
        reasoning: { effort: 'low' },
        maxOutputTokens: 50,
        temperature: 1.5,
        topP: 0.9,
        topK: 3,
        stop: ['END'],
        seed: 7,
      },
      call,
    )
    expect(upstream.calls[0]?.path).toBe('/v1beta/models/gemini:generateContent')
    expect(upstream.calls[0]?.body).toEqual({
      systemInstruction: { parts: [{ text: 'Be brief.' }] },
      contents: [
        {
          role: 'user',
          parts: [
            { text: 'Where?' },
            { inlineData: { mimeType: 'image/png', data: 'iVBORw0K' } },
            { fileData: { fileUri: 'https://example.com/a.png' } },
          ],
        },
      ],
      tools: [{ functionDeclarations: [{ name: 'f', description: 'd', parametersJsonSchema: { type: 'object' } }] }],
      toolConfig: { functionCallingConfig: { mode: 'ANY', allowedFunctionNames: ['f'] } },
      generationConfig: {
        maxOutputTokens: 50,
        temperature: 1.5,
        topP: 0.9,
        topK: 3,
        stopSequences: ['END'],
        seed: 7,
        responseMimeType: 'application/json',
        responseJsonSchema: { type: 'object' },
        thinkingConfig: { thinkingBudget: 1_024, includeThoughts: true },
      },
    })
  })

  it.each([
    ['STOP', 'stop'],
    ['MAX_TOKENS', 'length'],
    ['SAFETY', 'content-filter'],
    ['RECITATION', 'content-filter'],
    ['OF_TOMORROW', 'stop'],
  ])('says %s as %s', async (stopReason, finishReason) => {
    const { model } = await start({ gemini: { stopReason } })
    expect((await model.run(hello, call)).output.finishReason).toBe(finishReason)
    expect((await collect(model.stream?.(hello, call))).at(-1)).toMatchObject({ finishReason })
  })

  it.each([
    [
      'a prompt that is refused',
      { status: 200, body: { promptFeedback: { blockReason: 'SAFETY' } } },
      'content_policy_violation',
      undefined,
    ],
    ['no answer', { status: 200, body: {} }, 'upstream_invalid', undefined],
    [
      'a model that is not there',
      { status: 404, body: { error: { code: 404, message: 'x', status: 'NOT_FOUND' } } },
      'model_not_found',
      undefined,
    ],
    [
      'a quota, with when to come back in the body',
      {
        status: 429,
        body: {
          error: {
            code: 429,
            status: 'RESOURCE_EXHAUSTED',
            message: 'quota',
            details: [{ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '12.5s' }],
          },
        },
      },
      'rate_limited',
      13_000,
    ],
    [
      'a prompt that is too long',
      {
        status: 400,
        body: {
          error: { code: 400, message: 'The input token count (9) exceeds the maximum', status: 'INVALID_ARGUMENT' },
        },
      },
      'context_length_exceeded',
      undefined,
    ],
    [
      'an overload',
      { status: 503, body: { error: { code: 503, message: 'x', status: 'UNAVAILABLE' } } },
      'upstream_failed',
      undefined,
    ],
  ])('tells %s', async (_name, answer, code, retryAfterMs) => {
    const { model } = await start({ gemini: { answer } })
    await expect(model.run(hello, call)).rejects.toMatchObject({ code, retryAfterMs })
  })

  it('takes a key that is refused for what it is, and hides it', async () => {
    const { model } = await start({}, { apiKey: 'AIza-wrong-secret-0000' })
    const error = await model.run(hello, call).catch((each: Error) => each)
    expect(error).toMatchObject({ code: 'upstream_credentials' })
    expect(String((error as Error).cause)).not.toContain('wrong-secret')
  })

  it('tells a stream that is cut, or breaks off with an error', async () => {
    for (const script of [
      { cutAfter: 3 },
      { withoutDone: true },
      { resetAfter: 3 },
      { errorAfter: { events: 3, error: { code: 500 } } },
    ]) {
      const { model } = await start({ gemini: script })
      await expect(collect(model.stream?.(hello, call))).rejects.toMatchObject({
        code: expect.stringMatching(/^upstream_/),
      })
    }
  })

  it('embeds with the dimensions that are asked for, and counts by itself', async () => {
    const { provider, upstream } = await start()
    const embed = provider.model('embed', 'embedding')
    const { output, usage } = (await embed?.run({ inputs: ['a', 'bc'], dimensions: 8 }, call)) ?? {}
    expect(output?.vectors.map((each) => each.length)).toEqual([8, 8])
    expect(usage?.estimated).toBe(true)
    expect(upstream.calls[0]?.path).toBe('/v1beta/models/embedding:batchEmbedContents')
    await expect(embed?.run({ inputs: [[1, 2]] }, call)).rejects.toMatchObject({ errors: [{ path: 'input[0]' }] })
  })

  it('counts tokens as Google does', async () => {
    const { model, upstream } = await start()
    expect(await model.countTokens?.(hello, call)).toBeGreaterThan(0)
    expect(upstream.calls[0]?.body).toMatchObject({ generateContentRequest: { model: 'models/gemini' } })
  })

  it.each([
    [{ apiKey: 'a', accessToken: 'b' }, /apiKey or accessToken/],
    [{ apiKey: 'a\n' }, /line break/],
    [{ baseUrl: 'x' }, /baseUrl/],
  ])('refuses %j where it is made', (options, message) => {
    expect(() => geminiProvider(options as never)).toThrow(message)
  })
})
