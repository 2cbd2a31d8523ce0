import { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand } from '@aws-sdk/client-bedrock-runtime'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  bedrockApiKey,
  bedrockCredentials,
  bedrockEvent,
  bedrockRegion,
  bedrockUpstream,
} from '../../test/bedrock-upstream.js'
import { defaultText, type UpstreamScript } from '../../test/fixture-upstream.js'
import type { Call } from '../inference/model.js'
import type { GenerateInput, Message, Part } from '../inference/task.js'
import { providerCases } from '../testing/provider.js'
import { type BedrockOptions, bedrockProvider } from './bedrock.js'

const call: Call = { signal: new AbortController().signal, requestId: 'r-1' }
const hello: GenerateInput = { messages: [{ role: 'user', content: 'hello' }] }
const claude = 'eu.anthropic.claude-sonnet-4-5-20250929-v1:0'
const nova = 'amazon.nova-2-lite-v1:0'
const llama = 'meta.llama3-3-70b-instruct-v1:0'

async function start(scripts: Record<string, UpstreamScript> = {}, options: Partial<BedrockOptions> = {}, id = claude) {
  const upstream = await bedrockUpstream(scripts)
  const proof = options.apiKey === undefined ? { credentials: bedrockCredentials } : {}
  const provider = bedrockProvider({ baseUrl: upstream.baseUrl, region: bedrockRegion, ...proof, ...options })
  onTestFinished(async () => {
    await provider.close?.()
    await upstream.close()
  })
  const model = provider.model('generate', id)
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

/** What is sent to a model. */
async function sentTo(id: string, input: Partial<GenerateInput>) {
  const { model, upstream } = await start({}, {}, id)
  await model.run({ ...hello, ...input }, call)
  return upstream.calls.at(-1)?.body ?? {}
}

describe('bedrockProvider', () => {
  describe('as any provider', () => {
    for (const { name, run } of providerCases) {
      const models = { generate: claude }
      it(`any name: ${name}`, () => run({ models, make: async () => (await start()).provider }))
      it(`listed: ${name}`, () => run({ models, make: async () => (await start({}, { models: [claude] })).provider }))
      it(`by key: ${name}`, () =>
        run({ models, make: async () => (await start({}, { apiKey: bedrockApiKey })).provider }))
    }
  })

  describe('the upstream of these tests', () => {
    it("is what Amazon's own client speaks to", async () => {
      const toolCalls = [{ id: 't', name: 'f', arguments: '{"a":[1,2]}' }]
      const { model, upstream } = await start({ [claude]: { text: 'So be it.', toolCalls } })
      const client = new BedrockRuntimeClient({
        endpoint: upstream.baseUrl,
        region: bedrockRegion,
        credentials: bedrockCredentials,
        requestHandler: new NodeHttpHandler(),
      })
      onTestFinished(() => client.destroy())
      const tools = [{ name: 'f', description: 'd', parameters: { type: 'object' } }]
      const asked = {
        modelId: claude,
        messages: [
          {
            role: 'user' as const,
            content: [
              { text: 'hello' },
              { image: { format: 'png' as const, source: { bytes: Buffer.from('iVBORw0K', 'base64') } } },
            ],
          },
        ],
        system: [{ text: 'Be brief.' }],
        toolConfig: {
          tools: [{ toolSpec: { name: 'f', description: 'd', inputSchema: { json: { type: 'object' } } } }],
          toolChoice: { any: {} },
        },
        inferenceConfig: { maxTokens: 9, temperature: 0.5, topP: 0.25, stopSequences: ['END'] },
        additionalModelRequestFields: { top_k: 3 },
        additionalModelResponseFieldPaths: ['/stop_sequence'],
      }
      const whole = await client.send(new ConverseCommand(asked))
      expect(whole.output?.message?.content).toEqual([
        { text: 'So be it.' },
        { toolUse: { toolUseId: 't', name: 'f', input: { a: [1, 2] } } },
      ])
      const { stream } = await client.send(new ConverseStreamCommand(asked))
      let text = ''
      for await (const event of stream ?? []) text += event.contentBlockDelta?.delta?.text ?? ''
      expect(text).toBe('So be it.')

      await model.run(
        {
          messages: [
            { role: 'system', content: 'Be brief.' },
            {
              role: 'user',
              content: [
                { type: 'text', text: 'hello' },
                { type: 'image', url: 'data:image/png;base64,iVBORw0K' },
              ],
            },
          ],
          tools,
          toolChoice: 'required',
          maxOutputTokens: 9,
          temperature: 0.5,
          topP: 0.25,
          topK: 3,
          stop: ['END'],
        },
        call,
      )
      const [official, , ours] = upstream.calls
      expect(ours?.path).toBe(official?.path)
      expect(ours?.body).toEqual(official?.body)
    })

    it('refuses what is not signed with its secret', async () => {
      for (const wrong of [{ secretAccessKey: 'x' }, { sessionToken: 'x' }, { accessKeyId: 'AKIAWRONG' }]) {
        const { model } = await start({}, { credentials: { ...bedrockCredentials, ...wrong } })
        await expect(model.run(hello, call)).rejects.toMatchObject({ code: 'upstream_credentials' })
      }
      const { model } = await start({}, { region: 'us-east-1' })
      await expect(model.run(hello, call)).rejects.toMatchObject({ code: 'upstream_credentials' })
    })
  })

  it.each([claude, 'arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2c3', 'plain'])(
    'signs for %s, with credentials that are fetched',
    async (id) => {
      const { model, upstream } = await start({}, { credentials: () => Promise.resolve(bedrockCredentials) }, id)
      expect((await model.run(hello, call)).output.text).toBe(defaultText)
      expect(upstream.calls[0]?.path).toBe(`/model/${encodeURIComponent(id)}/converse`)
      expect(textOf(await collect(model.stream?.(hello, call)))).toBe(defaultText)
      expect(upstream.calls[1]?.path).toBe(`/model/${encodeURIComponent(id)}/converse-stream`)
    },
  )

  it('has no model of a name that would be another path', async () => {
    const { provider } = await start()
    for (const name of ['..', '.', '', 'a?b', 'a#b', 'a b', 'a\\b', 'é', '../../x', 'a%2fb']) {
      expect(provider.model('generate', name), name).toBeUndefined()
    }
    expect(provider.model('embed', claude)).toBeUndefined()
  })

  it.each(['none', 'bytes', 'random'] as const)('streams the same text, cut by %s', async (split) => {
    const { model } = await start({ [claude]: { split } })
    const parts = await collect(model.stream?.(hello, call))
    expect(textOf(parts)).toBe(defaultText)
    expect(parts.at(-1)).toMatchObject({ type: 'end', finishReason: 'stop', usage: { estimated: false } })
  })

  it('calls several tools, thinks, and takes answers and thoughts back', async () => {
    const toolCalls = [
      { id: 'x', name: 'weather', arguments: '{"city":"Paris"}' },
      { id: 'y', name: 'time', arguments: '{}' },
    ]
    const reasoning = [
      { text: 'Hm. So.', signature: 'sig' },
      { text: '', redacted: 'cmVk' },
    ]
    const { model, upstream } = await start({ [claude]: { text: 'Let me see.', toolCalls, reasoning } })
    const { output } = await model.run(hello, call)
    expect(output).toEqual({
      text: 'Let me see.',
      reasoning: [
        { type: 'reasoning', text: 'Hm. So.', signature: 'sig' },
        { type: 'reasoning', text: '', redacted: 'cmVk' },
      ],
      toolCalls,
      finishReason: 'tool-calls',
    })
    const streamed = await collect(model.stream?.(hello, call))
    expect(streamed.filter((part) => part.type === 'reasoning')).toEqual([
      { type: 'reasoning', text: 'Hm.' },
      { type: 'reasoning', text: ' So.' },
      { type: 'reasoning', text: '', signature: 'sig' },
      { type: 'reasoning', text: '', redacted: 'cmVk' },
    ])
    const called = streamed.filter((part) => part.type === 'tool-call')
    expect(called.filter(({ id }) => id !== undefined).map(({ index, id, name }) => [index, id, name])).toEqual([
      [0, 'x', 'weather'],
      [1, 'y', 'time'],
    ])
    for (const { index, json } of [
      { index: 0, json: '{"city":"Paris"}' },
      { index: 1, json: '{}' },
    ]) {
      const pieces = called.filter((part) => part.index === index)
      expect(pieces.map((part) => part.arguments).join('')).toBe(json)
    }
    expect(streamed.at(-1)).toMatchObject({ type: 'end', finishReason: 'tool-calls' })

    const messages: Message[] = [
      ...hello.messages,
      { role: 'assistant', content: [...(output.reasoning ?? []), { type: 'text', text: output.text }], toolCalls },
      {
        role: 'tool',
        toolCallId: 'x',
        content: [
          { type: 'text', text: 'warm' },
          { type: 'image', url: 'data:image/jpg;base64,iVBORw0K' },
        ],
      },
      { role: 'tool', toolCallId: 'y', content: 'broken', isError: true },
      { role: 'user', content: 'So?' },
    ]
    await model.run({ messages, tools: [{ name: 'weather', parameters: { type: 'object' } }] }, call)
    expect(upstream.calls.at(-1)?.body['messages']).toEqual([
      { role: 'user', content: [{ text: 'hello' }] },
      {
        role: 'assistant',
        content: [
          { reasoningContent: { reasoningText: { text: 'Hm. So.', signature: 'sig' } } },
          { reasoningContent: { redactedContent: 'cmVk' } },
          { text: 'Let me see.' },
          { toolUse: { toolUseId: 'x', name: 'weather', input: { city: 'Paris' } } },
          { toolUse: { toolUseId: 'y', name: 'time', input: {} } },
        ],
      },
      {
        role: 'user',
        content: [
          {
            toolResult: {
              toolUseId: 'x',
              content: [{ text: 'warm' }, { image: { format: 'jpeg', source: { bytes: 'iVBORw0K' } } }],
            },
          },
          { toolResult: { toolUseId: 'y', content: [{ text: 'broken' }], status: 'error' } },
          { text: 'So?' },
        ],
      },
    ])
  })

  it('sends no thoughts and no status to models that do not take them, nor thoughts of others to Claude', async () => {
    const conversation = (signature?: string): Message[] => [
      { role: 'user', content: 'hello' },
      {
        role: 'assistant',
        content: [{ type: 'reasoning', text: 'Hm.', ...(signature === undefined ? {} : { signature }) }],
        toolCalls: [{ id: 'x', name: 'f', arguments: '' }],
      },
      { role: 'tool', toolCallId: 'x', content: 'no', isError: true },
    ]
    const call = { toolUse: { toolUseId: 'x', name: 'f', input: {} } }
    for (const [id, signature, status] of [
      [llama, 'sig', undefined],
      [nova, 'sig', 'error'],
      [claude, 'gemini.sig', 'error'],
      [claude, undefined, 'error'],
    ] as const) {
      const { messages } = (await sentTo(id, { messages: conversation(signature) })) as { messages: Message[] }
      expect(messages[1]?.content).toEqual([call])
      expect(messages[2]?.content).toEqual([
        { toolResult: { toolUseId: 'x', content: [{ text: 'no' }], ...(status === undefined ? {} : { status }) } },
      ])
    }
  })

  it('defines the tools that were called, where the caller does not any more', async () => {
    const messages: Message[] = [
      { role: 'user', content: 'hello' },
      {
        role: 'assistant',
        content: '',
        toolCalls: [
          { id: 'x', name: 'f', arguments: '{}' },
          { id: 'y', name: 'g', arguments: '{}' },
        ],
      },
      { role: 'tool', toolCallId: 'x', content: '' },
      { role: 'tool', toolCallId: 'y', content: ' ' },
    ]
    const spec = (name: string, json: object) => ({ toolSpec: { name, inputSchema: { json } } })
    expect((await sentTo(claude, { messages }))['toolConfig']).toEqual({
      tools: [spec('f', { type: 'object' }), spec('g', { type: 'object' })],
    })
    const tools = [{ name: 'f', parameters: { type: 'object', properties: {} } }]
    const none = await sentTo(claude, { messages, tools, toolChoice: 'none' })
    expect(none).toMatchObject({
      toolConfig: { tools: [spec('f', { type: 'object', properties: {} }), spec('g', { type: 'object' })] },
      system: [{ text: 'Answer without calling a tool.' }],
    })
    expect(none).not.toHaveProperty('toolConfig.toolChoice')
    expect(await sentTo(claude, { tools, toolChoice: 'none' })).not.toHaveProperty('toolConfig')
    expect(await sentTo(claude, { tools, toolChoice: { name: 'f' } })).toMatchObject({
      toolConfig: { toolChoice: { tool: { name: 'f' } } },
    })
  })

  it('says which of the stop sequences ended the answer', async () => {
    const { model } = await start({ [claude]: { stopReason: 'stop_sequence' } })
    const input = { ...hello, stop: ['END'] }
    expect((await model.run(input, call)).output).toMatchObject({ finishReason: 'stop', stopSequence: 'END' })
    expect((await collect(model.stream?.(input, call))).at(-1)).toMatchObject({ stopSequence: 'END' })
  })

  it('marks what is worth keeping, for models that know the mark', async () => {
    const input: Partial<GenerateInput> = {
      messages: [
        { role: 'system', content: [{ type: 'text', text: 'Be brief.', cache: '1h' }] },
        { role: 'user', content: [{ type: 'text', text: 'hello', cache: '5m' }] },
        { role: 'assistant', content: '', toolCalls: [{ id: 'x', name: 'f', arguments: '{}', cache: '5m' }] },
        { role: 'tool', toolCallId: 'x', content: [{ type: 'text', text: 'a', cache: '5m' }], cache: '5m' },
      ],
      tools: [{ name: 'f', parameters: { type: 'object' }, cache: '5m' }],
    }
    const point = { cachePoint: { type: 'default' } }
    const spec = { toolSpec: { name: 'f', inputSchema: { json: { type: 'object' } } } }
    const messages = (points: object[]) => [
      { role: 'user', content: [{ text: 'hello' }, ...points] },
      { role: 'assistant', content: [{ toolUse: { toolUseId: 'x', name: 'f', input: {} } }, ...points] },
      { role: 'user', content: [{ toolResult: { toolUseId: 'x', content: [{ text: 'a' }] } }, ...points] },
    ]
    const kept = { system: [{ text: 'Be brief.' }, { cachePoint: { type: 'default', ttl: '1h' } }] }
    expect(await sentTo(claude, input)).toEqual({
      ...kept,
      messages: messages([point]),
      toolConfig: { tools: [spec, point] },
    })
    expect(await sentTo(nova, input)).toEqual({ ...kept, messages: messages([point]), toolConfig: { tools: [spec] } })
    for (const id of [llama, 'anthropic.claude-3-haiku-20240307-v1:0', 'anthropic.claude-3-5-sonnet-20240620-v1:0']) {
      expect(await sentTo(id, input)).toEqual({
        system: [{ text: 'Be brief.' }],
        messages: messages([]),
        toolConfig: { tools: [spec] },
      })
    }
    const arn = 'arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1'
    const { model, upstream } = await start({}, { baseModels: { [arn]: claude } }, arn)
    await model.run({ ...hello, ...input }, call)
    expect(upstream.calls[0]?.body).toMatchObject(kept)
  })

  it.each<[string, Partial<GenerateInput>, object]>([
    [
      claude,
      { reasoning: { effort: 'medium' }, temperature: 0.5, topK: 3 },
      {
        additionalModelRequestFields: { thinking: { type: 'enabled', budget_tokens: 8_192 } },
        inferenceConfig: { maxTokens: 16_384 },
      },
    ],
    [
      claude,
      { reasoning: { maxTokens: 5_000 }, maxOutputTokens: 3_000, topP: 0.9 },
      {
        additionalModelRequestFields: { thinking: { type: 'enabled', budget_tokens: 2_999 } },
        inferenceConfig: { maxTokens: 3_000, topP: 0.9 },
      },
    ],
    [
      'us.anthropic.claude-3-7-sonnet-20250219-v1:0',
      { reasoning: { effort: 'none' }, temperature: 2, topK: 3 },
      {
        additionalModelRequestFields: { thinking: { type: 'disabled' }, top_k: 3 },
        inferenceConfig: { temperature: 1 },
      },
    ],
    [
      'global.anthropic.claude-opus-4-6-v1',
      { reasoning: { effort: 'max' }, temperature: 0.5 },
      { additionalModelRequestFields: { thinking: { type: 'adaptive' }, output_config: { effort: 'max' } } },
    ],
    [
      'anthropic.claude-sonnet-5',
      { reasoning: { maxTokens: 2_000 } },
      { additionalModelRequestFields: { thinking: { type: 'adaptive' }, output_config: { effort: 'low' } } },
    ],
    [
      claude,
      { parallelToolCalls: false, tools: [{ name: 'f', parameters: {} }], toolChoice: 'required' },
      {
        additionalModelRequestFields: { tool_choice: { type: 'any', disable_parallel_tool_use: true } },
        toolConfig: { tools: [{ toolSpec: { name: 'f', inputSchema: { json: {} } } }], toolChoice: { any: {} } },
      },
    ],
    [
      nova,
      { reasoning: { effort: 'high' }, temperature: 0.5 },
      { additionalModelRequestFields: { reasoningConfig: { type: 'enabled', maxReasoningEffort: 'high' } } },
    ],
    [
      nova,
      { reasoning: { effort: 'high' }, maxOutputTokens: 10, topK: 4 },
      {
        additionalModelRequestFields: {
          reasoningConfig: { type: 'enabled', maxReasoningEffort: 'medium' },
          inferenceConfig: { topK: 4 },
        },
        inferenceConfig: { maxTokens: 10 },
      },
    ],
    [
      'openai.gpt-oss-120b-1:0',
      { reasoning: { effort: 'low' } },
      { additionalModelRequestFields: { reasoning_effort: 'low' } },
    ],
    [
      'us.openai.gpt-5.6-terra',
      { reasoning: { effort: 'minimal' } },
      { additionalModelRequestFields: { reasoning: { effort: 'low' } } },
    ],
    [llama, { reasoning: { effort: 'low' }, topK: 3, seed: 4, user: 'u' }, {}],
    [
      claude,
      { responseFormat: { type: 'json-schema', name: 'x', schema: { type: 'object' } } },
      {
        outputConfig: {
          textFormat: { type: 'json_schema', structure: { jsonSchema: { schema: '{"type":"object"}', name: 'x' } } },
        },
      },
    ],
    [
      claude,
      { responseFormat: { type: 'json' } },
      { system: [{ text: 'Answer with one JSON object and nothing else.' }] },
    ],
  ])('puts settings into the words of %s: %j', async (id, input, sent) => {
    expect(await sentTo(id, input)).toEqual({ messages: [{ role: 'user', content: [{ text: 'hello' }] }], ...sent })
  })

  it('changes bodies as it is told', async () => {
    const guardrail = { guardrailIdentifier: 'g', guardrailVersion: '1' }
    const { model, upstream } = await start({}, { patchBody: [{ pointer: '/guardrailConfig', value: guardrail }] })
    await model.run(hello, call)
    expect(upstream.calls[0]?.body['guardrailConfig']).toEqual(guardrail)
  })

  it.each([['https://example.com/a.png'], ['data:image/bmp;base64,Qk0='], ['data:image/png,raw']])(
    'refuses the picture %s, where it stands',
    async (url) => {
      const { model, upstream } = await start()
      const messages: Message[] = [{ role: 'user', content: [{ type: 'image', url }] }]
      await expect(model.run({ messages }, call)).rejects.toMatchObject({
        code: 'invalid_request',
        errors: [{ path: 'messages[0].content' }],
      })
      expect(upstream.calls).toHaveLength(0)
    },
  )

  it('counts what is cached apart', async () => {
    const usage = {
      inputTokens: 10,
      outputTokens: 40,
      totalTokens: 280,
      cacheReadInputTokens: 200,
      cacheWriteInputTokens: 30,
      cacheDetails: [
        { ttl: '1h', inputTokens: 20 },
        { ttl: '5m', inputTokens: 10 },
      ],
    }
    const { model } = await start({ [claude]: { usage } })
    const counts = {
      inputTokens: 10,
      cacheReadTokens: 200,
      cacheWriteTokens: 10,
      cacheWrite1hTokens: 20,
      outputTokens: 40,
      estimated: false,
    }
    expect((await model.run(hello, call)).usage).toEqual(counts)
    expect((await collect(model.stream?.(hello, call))).at(-1)).toMatchObject({ usage: counts })
  })

  it('estimates what the upstream does not say', async () => {
    const { model } = await start({ [claude]: { usage: false } })
    expect((await model.run(hello, call)).usage).toMatchObject({ estimated: true })
    expect((await collect(model.stream?.(hello, call))).at(-1)).toMatchObject({ usage: { estimated: true } })
  })

  it.each([
    ['end_turn', 'stop'],
    ['max_tokens', 'length'],
    ['model_context_window_exceeded', 'length'],
    ['guardrail_intervened', 'content-filter'],
    ['content_filtered', 'content-filter'],
    ['of_tomorrow', 'stop'],
  ])('says %s as %s', async (stopReason, finishReason) => {
    const { model } = await start({ [claude]: { stopReason } })
    expect((await model.run(hello, call)).output.finishReason).toBe(finishReason)
    expect((await collect(model.stream?.(hello, call))).at(-1)).toMatchObject({ finishReason })
  })

  it.each([
    ['guardrail_intervened', 'content_policy_violation'],
    ['content_filtered', 'content_policy_violation'],
    ['malformed_tool_use', 'upstream_invalid'],
    ['malformed_model_output', 'upstream_invalid'],
  ])('takes nothing, and %s, for %s, and tells what it cost', async (stopReason, code) => {
    const { model } = await start({ [claude]: { text: '', stopReason } })
    const spent = vi.fn()
    await expect(model.run(hello, { ...call, spent })).rejects.toMatchObject({ code })
    expect(spent).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ estimated: false }))
    const stream = model.stream?.(hello, call)
    await expect(collect(stream)).rejects.toMatchObject({ code })
    expect(stream?.usageSoFar()).toMatchObject({ estimated: false })
  })

  it.each([
    [400, 'ValidationException', 'The provided model identifier is invalid.', 'model_not_found'],
    [404, 'ResourceNotFoundException', 'This model has reached the end of its life.', 'model_not_found'],
    [400, 'ValidationException', 'Input is too long for requested model.', 'context_length_exceeded'],
    [
      400,
      'ValidationException',
      'The model returned the following errors: prompt is too long: 227255 tokens > 200000 maximum',
      'context_length_exceeded',
    ],
    [
      400,
      'ValidationException',
      'The model returned the following errors: input length and `max_tokens` exceed context limit: 198214 + 8192 > 200000',
      'context_length_exceeded',
    ],
    [400, 'ValidationException', 'Output blocked by content filtering policy', 'content_policy_violation'],
    [400, 'ValidationException', 'Malformed input request', 'invalid_request'],
    [429, 'ThrottlingException', 'Too many tokens, please wait before trying again.', 'rate_limited'],
    [429, 'ModelNotReadyException', 'x', 'rate_limited'],
    [400, 'ServiceQuotaExceededException', 'x', 'rate_limited'],
    [
      403,
      'AccessDeniedException',
      "You don't have access to the model with the specified model ID.",
      'upstream_credentials',
    ],
    [
      403,
      'UnrecognizedClientException',
      'The security token included in the request is invalid.',
      'upstream_credentials',
    ],
    [400, 'ExpiredTokenException', 'The security token included in the request is expired', 'upstream_credentials'],
    [408, 'ModelTimeoutException', 'x', 'upstream_timeout'],
    [424, 'ModelErrorException', 'x', 'upstream_failed'],
    [500, 'InternalServerException', 'x', 'upstream_failed'],
    [503, 'ServiceUnavailableException', 'x', 'upstream_failed'],
  ])('tells %i %s (%s) as %s', async (status, type, message, code) => {
    const headers = { 'x-amzn-errortype': `${type}:http://internal.amazon.com/coral/com.amazon.bedrock/` }
    const { model } = await start({ [claude]: { answer: { status, headers, body: { message } } } })
    await expect(model.run(hello, call)).rejects.toMatchObject({ code })
    const stream = model.stream?.(hello, call)
    await expect(collect(stream)).rejects.toMatchObject({ code })
    expect(stream?.usageSoFar()).toMatchObject({ inputTokens: 0 })
  })

  it.each([
    ['throttlingException', 'Too many requests', 'rate_limited'],
    ['modelStreamErrorException', 'x', 'upstream_failed'],
    ['validationException', 'Input is too long for requested model.', 'context_length_exceeded'],
    ['validationException', 'x', 'invalid_request'],
    ['internalServerException', 'x', 'upstream_failed'],
    ['serviceUnavailableException', 'x', 'upstream_failed'],
    ['modelTimeoutException', 'x', 'upstream_timeout'],
    ['exceptionOfTomorrow', 'x', 'upstream_failed'],
  ])('tells the exception %s (%s) within a stream as %s', async (type, message, code) => {
    for (const events of [0, 4]) {
      const { model } = await start({ [claude]: { errorAfter: { events, error: { type, message } } } })
      await expect(collect(model.stream?.(hello, call))).rejects.toMatchObject({ code })
    }
  })

  it('takes no stream for whole that ends before its last event, wherever', async () => {
    // Start, words, stop of the block, messageStop, metadata.
    const { model } = await start({ [claude]: { text: 'one two' } })
    expect((await collect(model.stream?.(hello, call))).at(-1)).toMatchObject({ type: 'end' })
    for (const cutAfter of [0, 1, 2, 3, 4, 5]) {
      const { model } = await start({ [claude]: { text: 'one two', cutAfter } })
      await expect(collect(model.stream?.(hello, call)), `after ${cutAfter}`).rejects.toMatchObject({
        code: 'upstream_invalid',
      })
    }
    const { model: reset } = await start({ [claude]: { resetAfter: 3 } })
    const stream = reset.stream?.(hello, call)
    await expect(collect(stream)).rejects.toMatchObject({ code: 'upstream_failed' })
    expect(stream?.usageSoFar()).toMatchObject({ estimated: true })
  })

  it('takes no stream for whole that says what was used and not why it ended', async () => {
    const headers = { 'content-type': 'application/vnd.amazon.eventstream' }
    const usage = { inputTokens: 1, outputTokens: 1, totalTokens: 2 }
    const events = [
      bedrockEvent('contentBlockDelta', { contentBlockIndex: 0, delta: { text: 'one' } }),
      bedrockEvent('eventOfTomorrow', { a: 1 }),
      bedrockEvent('metadata', { usage }),
    ]
    const told = async (all: Uint8Array[]) => {
      const answer = { status: 200, headers, body: Buffer.concat(all) }
      const { model } = await start({ [claude]: { answer } })
      return collect(model.stream?.(hello, call))
    }
    await expect(told(events)).rejects.toMatchObject({ code: 'upstream_invalid' })
    const stop = bedrockEvent('messageStop', { stopReason: 'end_turn' })
    expect((await told([...events.slice(0, 2), stop, ...events.slice(2)])).map(({ type }) => type)).toEqual([
      'text',
      'end',
    ])
  })

  it('takes no other stream, and no answer without content', async () => {
    const { model } = await start({ [claude]: { answer: { status: 200, body: { output: {} } } } })
    await expect(model.run(hello, call)).rejects.toMatchObject({ code: 'upstream_invalid' })
    await expect(collect(model.stream?.(hello, call))).rejects.toMatchObject({ code: 'upstream_invalid' })
    const headers = { 'content-type': 'application/vnd.amazon.eventstream' }
    const { model: odd } = await start({ [claude]: { answer: { status: 200, headers, body: 'x'.repeat(200) } } })
    await expect(collect(odd.stream?.(hello, call))).rejects.toMatchObject({ code: 'upstream_invalid' })
  })

  it('shows neither secret nor token, whatever the upstream says', async () => {
    const secret = 'wrong-secret-0123456789'
    const { model, upstream } = await start({}, { credentials: { ...bedrockCredentials, secretAccessKey: secret } })
    const error = await model.run(hello, call).catch((each: Error) => each)
    const told = JSON.stringify([String(error), String((error as Error).cause)])
    expect(told).toContain('does not match')
    expect(told).not.toContain(bedrockCredentials.sessionToken)
    expect(told).not.toContain(secret)
    expect(JSON.stringify(upstream.calls[0]?.headers)).not.toContain(secret)
  })

  it('says so when there are no credentials at the moment', async () => {
    const { model, upstream } = await start({}, { credentials: () => Promise.reject(new Error('no role')) })
    await expect(model.run(hello, call)).rejects.toMatchObject({ code: 'upstream_credentials' })
    expect(upstream.calls).toHaveLength(0)
  })

  it('counts tokens as Bedrock does, and leaves it where it cannot', async () => {
    const { model, upstream } = await start()
    expect(await model.countTokens?.({ ...hello, maxOutputTokens: 3 }, call)).toBeGreaterThan(0)
    expect(upstream.calls[0]?.path).toBe('/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/count-tokens')
    expect(upstream.calls[0]?.body).toEqual({
      input: { converse: { messages: [{ role: 'user', content: [{ text: 'hello' }] }] } },
    })
    const headers = { 'x-amzn-errortype': 'ValidationException' }
    upstream.script('anthropic.claude-sonnet-4-5-20250929-v1:0', {
      answer: { status: 400, headers, body: { message: 'x' } },
    })
    expect(await model.countTokens?.(hello, call)).toBeUndefined()
  })

  it('reads the environment where nothing else is given', async () => {
    const upstream = await bedrockUpstream()
    onTestFinished(() => upstream.close())
    onTestFinished(() => void vi.unstubAllEnvs())
    for (const name of ['AWS_REGION', 'AWS_DEFAULT_REGION', 'AWS_BEARER_TOKEN_BEDROCK', 'AWS_ACCESS_KEY_ID']) {
      vi.stubEnv(name, '')
    }
    const options = { baseUrl: upstream.baseUrl }
    expect(() => bedrockProvider(options)).toThrow(/AWS_REGION/)
    vi.stubEnv('AWS_REGION', bedrockRegion)
    expect(() => bedrockProvider(options)).toThrow(/AWS_ACCESS_KEY_ID/)
    vi.stubEnv('AWS_ACCESS_KEY_ID', bedrockCredentials.accessKeyId)
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', bedrockCredentials.secretAccessKey)
    vi.stubEnv('AWS_SESSION_TOKEN', bedrockCredentials.sessionToken)
    const ask = async () => {
      const provider = bedrockProvider(options)
      onTestFinished(() => provider.close?.())
      return (await provider.model('generate', claude)?.run(hello, call))?.output.text
    }
    expect(await ask()).toBe(defaultText)
    vi.stubEnv('AWS_BEARER_TOKEN_BEDROCK', bedrockApiKey)
    expect(await ask()).toBe(defaultText)
    expect(upstream.calls.map(({ headers }) => headers.authorization?.split(' ')[0])).toEqual([
      'AWS4-HMAC-SHA256',
      'Bearer',
    ])
  })

  it.each([
    [{ apiKey: 'a', credentials: bedrockCredentials }, /credentials or apiKey/],
    [{ apiKey: 'a\n' }, /line break/],
    [{ credentials: { accessKeyId: 'a' } }, /credentials/],
    [{ region: 'evil.example/' }, /region/],
    [{ baseUrl: 'x' }, /baseUrl/],
    [{ models: ['..'] }, /models/],
    [{ key: 'x' }, /key/],
  ])('refuses %j where it is made', (options, message) => {
    expect(() => bedrockProvider({ region: 'us-east-1', apiKey: 'k', ...options } as never)).toThrow(message)
  })
})
