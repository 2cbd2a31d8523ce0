import { describe, expect, it } from 'vitest'
import { call, claude, collect, hello, llama, nova, sentTo, start } from '../../test/bedrock-model.js'
import type { GenerateInput, Message } from '../inference/task.js'

describe('bedrockProvider', () => {
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

  it.each([
    [claude, undefined],
    ['anthropic.claude-sonnet-5', { thinking: { type: 'adaptive' }, output_config: { effort: 'low' } }],
  ])(
    'does not give %s a budget for thinking where the thoughts that led to calls are not there',
    async (id, fields) => {
      const { model, upstream } = await start({}, {}, id)
      const messages: Message[] = [
        ...hello.messages,
        { role: 'assistant', content: '', toolCalls: [{ id: 'a', name: 'f', arguments: '{}' }] },
        { role: 'tool', toolCallId: 'a', content: '21' },
      ]
      await model.run({ messages, tools: [{ name: 'f', parameters: {} }], reasoning: { effort: 'low' } }, call)
      expect(upstream.calls[0]?.body['additionalModelRequestFields']).toEqual(fields)
    },
  )

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
        inferenceConfig: { maxTokens: 3_000 },
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
      { reasoning: { effort: 'low' }, tools: [{ name: 'f', parameters: {} }], toolChoice: { name: 'f' } },
      {
        toolConfig: {
          tools: [{ toolSpec: { name: 'f', inputSchema: { json: {} } } }],
          toolChoice: { tool: { name: 'f' } },
        },
      },
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
})
