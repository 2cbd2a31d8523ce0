import type OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { defaultText } from '../../test/fixture-upstream.js'
import { llmGateway } from '../../test/llm-gateway.js'

const model = 'claude-test'
const ask = (more: Omit<Partial<OpenAI.ChatCompletionCreateParamsNonStreaming>, 'stream'> = {}) => ({
  model,
  messages: [{ role: 'user' as const, content: 'Hello' }],
  ...more,
})
const calls = [
  { id: 'toolu_1', name: 'weather', arguments: '{"city":"Paris"}' },
  { id: 'toolu_2', name: 'weather', arguments: '{"city":"Москва"}' },
]
const tools: OpenAI.ChatCompletionTool[] = [
  { type: 'function', function: { name: 'weather', parameters: { type: 'object' }, strict: true } },
]
const splits = ['none', 'bytes', 'random'] as const

describe("OpenAI's chat completions in front of Anthropic", () => {
  it('answers a text, with what it used', async () => {
    const { openAiClient, anthropic, ended } = await llmGateway({
      [model]: {
        usage: { input_tokens: 5, cache_read_input_tokens: 20, cache_creation_input_tokens: 3, output_tokens: 7 },
      },
    })
    const completion = await openAiClient.chat.completions.create(ask())
    expect(completion.choices).toMatchObject([
      { index: 0, finish_reason: 'stop', message: { role: 'assistant', content: defaultText } },
    ])
    // OpenAI counts what is cached within the prompt, Anthropic beside it.
    expect(completion.usage).toMatchObject({
      prompt_tokens: 28,
      completion_tokens: 7,
      total_tokens: 35,
      prompt_tokens_details: { cached_tokens: 20 },
    })
    expect(anthropic.calls[0]?.body).toEqual({
      model,
      max_tokens: 8_192,
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello' }] }],
    })
    await expect
      .poll(() => ended)
      .toMatchObject([{ usage: { inputTokens: 5, cacheReadTokens: 20, cacheWriteTokens: 3 } }])
  })

  it.each(splits)('streams a text and its usage, cut by %s', async (split) => {
    const { openAiClient } = await llmGateway({ [model]: { split, noisy: split !== 'none' } })
    const stream = await openAiClient.chat.completions.create({
      ...ask(),
      stream: true,
      stream_options: { include_usage: true },
    })
    let text = ''
    const chunks: OpenAI.ChatCompletionChunk[] = []
    for await (const chunk of stream) {
      chunks.push(chunk)
      text += chunk.choices[0]?.delta.content ?? ''
    }
    expect(text).toBe(defaultText)
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: expect.any(Number) } })
    expect(new Set(chunks.map(({ id, created }) => `${id} ${created}`)).size).toBe(1)
    expect(chunks.filter(({ choices }) => choices[0]?.finish_reason === 'stop')).toHaveLength(1)
  })

  it.each(splits)('calls tools, several at once, cut by %s', async (split) => {
    const { openAiClient } = await llmGateway({ [model]: { split, toolCalls: calls } })
    const wanted = calls.map(({ id, name, arguments: json }) => ({
      id,
      type: 'function',
      function: { name, arguments: json },
    }))
    const whole = await openAiClient.chat.completions.create(ask({ tools }))
    expect(whole.choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { tool_calls: wanted } })
    const streamed = await openAiClient.chat.completions.stream(ask({ tools })).finalChatCompletion()
    expect(streamed.choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { tool_calls: wanted } })
  })

  it('puts a conversation and its settings into the words of Anthropic', async () => {
    const { openAiClient, anthropic } = await llmGateway()
    await openAiClient.chat.completions.create(
      ask({
        messages: [
          { role: 'system', content: 'Be brief.' },
          {
            role: 'user',
            content: [
              { type: 'text', text: 'Where?' },
              { type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0K' } },
              { type: 'image_url', image_url: { url: 'https://example.com/a.png' } },
            ],
          },
          {
            role: 'assistant',
            content: '',
            tool_calls: calls.map(({ id, name, arguments: json }) => ({
              id,
              type: 'function',
              function: { name, arguments: json },
            })),
          },
          { role: 'tool', tool_call_id: 'toolu_1', content: '21 °C' },
          { role: 'tool', tool_call_id: 'toolu_2', content: '3 °C' },
          { role: 'user', content: 'So?' },
          { role: 'developer', content: 'In French.' },
        ],
        tools,
        tool_choice: 'required',
        parallel_tool_calls: false,
        temperature: 1.7,
        top_p: 0.9,
        stop: ['END'],
        user: 'u-1',
        max_completion_tokens: 500,
        response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'object' } } },
      }),
    )
    expect(anthropic.calls[0]?.body).toEqual({
      model,
      max_tokens: 500,
      system: [
        { type: 'text', text: 'Be brief.' },
        { type: 'text', text: 'In French.' },
      ],
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'Where?' },
            { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0K' } },
            { type: 'image', source: { type: 'url', url: 'https://example.com/a.png' } },
          ],
        },
        {
          role: 'assistant',
          content: [
            { type: 'tool_use', id: 'toolu_1', name: 'weather', input: { city: 'Paris' } },
            { type: 'tool_use', id: 'toolu_2', name: 'weather', input: { city: 'Москва' } },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 'toolu_1', content: [{ type: 'text', text: '21 °C' }] },
            { type: 'tool_result', tool_use_id: 'toolu_2', content: [{ type: 'text', text: '3 °C' }] },
            { type: 'text', text: 'So?' },
          ],
        },
      ],
      tools: [{ name: 'weather', input_schema: { type: 'object' }, strict: true }],
      tool_choice: { type: 'any', disable_parallel_tool_use: true },
      temperature: 1,
      top_p: 0.9,
      stop_sequences: ['END'],
      metadata: { user_id: 'u-1' },
      output_config: { format: { type: 'json_schema', schema: { type: 'object' } } },
    })
  })

  it('keeps thoughts and their signatures through a conversation', async () => {
    const reasoning = [
      { text: 'Let me think.', signature: 'c2lnbmVk' },
      { text: '', redacted: 'ZW5jcnlwdGVk' },
    ]
    const { openAiClient, anthropic } = await llmGateway({ [model]: { reasoning } })
    const params = ask({ reasoning_effort: 'low', max_completion_tokens: 10_000, temperature: 0.3 })
    const whole = (await openAiClient.chat.completions.create(params)).choices[0]?.message
    expect(whole).toMatchObject({
      reasoning_content: 'Let me think.',
      reasoning_details: [
        { type: 'reasoning.text', index: 0, text: 'Let me think.', signature: 'c2lnbmVk' },
        { type: 'reasoning.encrypted', index: 1, data: 'ZW5jcnlwdGVk' },
      ],
    })
    // Thinking refuses a temperature.
    expect(anthropic.calls[0]?.body).toMatchObject({ thinking: { type: 'enabled', budget_tokens: 2_048 } })
    expect(anthropic.calls[0]?.body).not.toHaveProperty('temperature')
    let thought = ''
    const details: unknown[] = []
    for await (const { choices } of await openAiClient.chat.completions.create({ ...params, stream: true })) {
      const delta = (choices[0]?.delta ?? {}) as { reasoning_content?: string; reasoning_details?: unknown[] }
      thought += delta.reasoning_content ?? ''
      details.push(...(delta.reasoning_details ?? []))
    }
    expect(thought).toBe('Let me think.')
    expect(details).toMatchObject([
      { signature: 'c2lnbmVk', index: 0 },
      { data: 'ZW5jcnlwdGVk', index: 1 },
    ])
    await openAiClient.chat.completions.create(
      ask({ messages: [...ask().messages, whole as never, { role: 'user', content: 'And now?' }] }),
    )
    expect(anthropic.calls.at(-1)?.body['messages']).toMatchObject([
      { role: 'user' },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 'Let me think.', signature: 'c2lnbmVk' },
          { type: 'redacted_thinking', data: 'ZW5jcnlwdGVk' },
          { type: 'text', text: defaultText },
        ],
      },
      { role: 'user' },
    ])
  })

  it('does not think where a tool has to be called, nor without the thoughts that led to calls', async () => {
    const { openAiClient, anthropic } = await llmGateway()
    const called = (more: object = {}) => [
      ...ask().messages,
      {
        role: 'assistant' as const,
        content: '\n\n',
        tool_calls: calls.map(({ id, name, arguments: json }) => ({
          id,
          type: 'function' as const,
          function: { name, arguments: json },
        })),
        ...more,
      },
      { role: 'tool' as const, tool_call_id: 'toolu_1', content: '21 °C' },
      { role: 'tool' as const, tool_call_id: 'toolu_2', content: ' ' },
    ]
    const reasoning_effort = 'low' as const
    const thought = { reasoning_details: [{ type: 'reasoning.text', text: 'Hm.', signature: 'c2lnbmVk' }] }
    for (const more of [
      ask({ tools, reasoning_effort, tool_choice: 'required' }),
      ask({ tools, reasoning_effort, tool_choice: { type: 'function', function: { name: 'weather' } } }),
      ask({ tools, reasoning_effort, messages: called() }),
      ask({ tools, reasoning_effort, messages: [...called(), { role: 'user', content: 'So?' }] }),
      ask({ tools, reasoning_effort, messages: called(thought) }),
      ask({
        tools,
        reasoning_effort,
        messages: [...called(), { role: 'assistant', content: 'Warm.' }, ...ask().messages],
      }),
    ]) {
      await openAiClient.chat.completions.create(more)
    }
    expect(anthropic.calls.map(({ body }) => 'thinking' in body)).toEqual([false, false, false, false, true, true])
  })

  it('leaves out blank texts, and top_p with thinking, which are refused; a refusal that comes back is a text', async () => {
    const { openAiClient, anthropic } = await llmGateway()
    await openAiClient.chat.completions.create(
      ask({
        reasoning_effort: 'low',
        top_p: 0.5,
        messages: [
          { role: 'system', content: ' ' },
          { role: 'user', content: 'Hello' },
          { role: 'assistant', content: null, refusal: 'No.' },
          { role: 'user', content: 'Please' },
          { role: 'assistant', content: [{ type: 'refusal', refusal: 'Never.' }] },
          { role: 'user', content: '\n' },
          { role: 'user', content: 'Bye' },
        ],
      }),
    )
    expect(anthropic.calls[0]?.body).not.toHaveProperty('system')
    expect(anthropic.calls[0]?.body).not.toHaveProperty('top_p')
    expect(anthropic.calls[0]?.body['messages']).toEqual(
      [
        ['user', 'Hello'],
        ['assistant', 'No.'],
        ['user', 'Please'],
        ['assistant', 'Never.'],
        ['user', 'Bye'],
      ].map(([role, text]) => ({ role, content: [{ type: 'text', text }] })),
    )
  })

  it.each([
    ['end_turn', 'stop'],
    ['max_tokens', 'length'],
    ['stop_sequence', 'stop'],
    ['tool_use', 'tool_calls'],
    ['refusal', 'content_filter'],
    ['model_context_window_exceeded', 'length'],
    ['of_tomorrow', 'stop'],
  ])('says %s as %s', async (stopReason, told) => {
    const { openAiClient } = await llmGateway({ [model]: { stopReason } })
    expect((await openAiClient.chat.completions.create(ask())).choices[0]?.finish_reason).toBe(told)
    const streamed = await openAiClient.chat.completions
      .stream(ask())
      .finalChatCompletion()
      .catch((error: Error) => error)
    // OpenAI's helper throws for these two by itself.
    if (streamed instanceof Error) expect(streamed.message).toMatch(/length|content filter/i)
    else expect(streamed.choices[0]?.finish_reason).toBe(told)
  })

  it.each([
    ['a tool that is no function', { tools: [{ type: 'custom', custom: { name: 'x' } }] }, 'tools[0].type'],
    ['two answers', { n: 2 }, 'n'],
    ['functions by their old name', { functions: [{ name: 'f', parameters: {} }] }, 'functions'],
    ['a spoken answer', { modalities: ['text', 'audio'] }, 'modalities[1]'],
    ['a search of the web', { web_search_options: {} }, 'web_search_options'],
    [
      'a sound',
      { messages: [{ role: 'user', content: [{ type: 'input_audio', input_audio: { data: 'x', format: 'wav' } }] }] },
      'messages[0].content',
    ],
    [
      'arguments that are none',
      {
        messages: [
          {
            role: 'assistant',
            tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{"a":' } }],
          },
        ],
      },
      'messages[0].tool_calls',
    ],
    [
      'a picture of nowhere',
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'file:///etc/passwd' } }] }] },
      'messages[0].content',
    ],
  ])('refuses %s, says where, and sends nothing', async (_name, more, param) => {
    const { openAiClient, anthropic } = await llmGateway()
    await expect(openAiClient.chat.completions.create(ask(more as never))).rejects.toMatchObject({ status: 400, param })
    expect(anthropic.calls).toHaveLength(0)
  })
})

describe("OpenAI's chat completions in front of Bedrock", () => {
  const bedrockModel = 'eu.anthropic.claude-test'

  it('answers a text, with what it used', async () => {
    const usage = {
      inputTokens: 5,
      outputTokens: 7,
      totalTokens: 35,
      cacheReadInputTokens: 20,
      cacheWriteInputTokens: 3,
    }
    const { openAiClient, bedrock, ended } = await llmGateway({ [bedrockModel]: { usage } })
    const completion = await openAiClient.chat.completions.create({ ...ask(), model: bedrockModel })
    expect(completion.choices).toMatchObject([{ finish_reason: 'stop', message: { content: defaultText } }])
    expect(completion.usage).toMatchObject({
      prompt_tokens: 28,
      completion_tokens: 7,
      prompt_tokens_details: { cached_tokens: 20 },
    })
    expect(bedrock.calls[0]?.body).toEqual({ messages: [{ role: 'user', content: [{ text: 'Hello' }] }] })
    await expect
      .poll(() => ended)
      .toMatchObject([{ usage: { inputTokens: 5, cacheReadTokens: 20, cacheWriteTokens: 3 } }])
  })

  it.each(splits)('streams a text, several calls and its usage, cut by %s', async (split) => {
    const { openAiClient } = await llmGateway({ [bedrockModel]: { split, text: defaultText, toolCalls: calls } })
    const stream = openAiClient.chat.completions.stream({
      ...ask({ tools }),
      model: bedrockModel,
      stream_options: { include_usage: true },
    })
    const { choices, usage } = await stream.finalChatCompletion()
    expect(choices).toMatchObject([
      {
        finish_reason: 'tool_calls',
        message: {
          content: defaultText,
          tool_calls: calls.map(({ id, name, arguments: json }) => ({ id, function: { name, arguments: json } })),
        },
      },
    ])
    expect(usage?.completion_tokens).toBeGreaterThan(0)
  })

  it('tells a stream that breaks off, and one that is throttled before it begins', async () => {
    const error = { type: 'throttlingException', message: 'Too many requests' }
    const { openAiClient } = await llmGateway({ [bedrockModel]: { errorAfter: { events: 1, error } } })
    const run = (script: object) =>
      openAiClient.chat.completions.create({ ...ask(script), model: bedrockModel, stream: true })
    await expect(run({})).rejects.toMatchObject({ status: 429 })
    const { openAiClient: cut } = await llmGateway({ [bedrockModel]: { cutAfter: 4 } })
    const stream = cut.chat.completions.stream({ ...ask(), model: bedrockModel })
    await expect(stream.finalChatCompletion()).rejects.toBeInstanceOf(Error)
  })
})
