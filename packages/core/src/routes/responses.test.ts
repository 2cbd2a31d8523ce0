import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { defaultText } from '../../test/fixture-upstream.js'
import { llmGateway } from '../../test/llm-gateway.js'

type Params = OpenAI.Responses.ResponseCreateParamsNonStreaming
const ask = (model: string, more: Omit<Partial<Params>, 'stream'> = {}) => ({ model, input: 'Hello', ...more })
const calls = ['Paris', 'Oslo'].map((city, index) => ({
  id: `call_${index}`,
  name: 'weather',
  arguments: JSON.stringify({ city }),
}))
const tools: OpenAI.Responses.Tool[] = [
  { type: 'function', name: 'weather', description: 'd', parameters: { type: 'object' }, strict: false },
]
const bridged = ['gpt-test', 'claude-test', 'gemini-test', 'eu.anthropic.claude-test'] as const
const splits = ['none', 'bytes', 'random'] as const

describe.each([...bridged, 'native-test'])('responses of %s', (model) => {
  it('answers a text, with what it used', async () => {
    const { openAiClient, ended } = await llmGateway()
    const response = await openAiClient.responses.create(ask(model, { instructions: 'Be brief.' }))
    expect(response).toMatchObject({ object: 'response', status: 'completed', output_text: defaultText, error: null })
    await expect.poll(() => ended).toHaveLength(1)
    const { usage } = ended[0] ?? {}
    expect(usage).toMatchObject({ estimated: false })
    expect(response.usage?.total_tokens).toBe(
      Object.values(usage ?? {}).reduce((sum: number, count) => sum + (typeof count === 'number' ? count : 0), 0),
    )
  })

  it.each(splits)('streams a text, cut by %s', async (split) => {
    const { openAiClient, ended } = await llmGateway({ [model]: { split, noisy: split !== 'none' } })
    const types: string[] = []
    const numbers: number[] = []
    let text = ''
    const stream = openAiClient.responses.stream(ask(model))
    for await (const event of stream) {
      types.push(event.type)
      numbers.push(event.sequence_number)
      if (event.type === 'response.output_text.delta') text += event.delta
    }
    expect(text).toBe(defaultText)
    expect((await stream.finalResponse()).output_text).toBe(defaultText)
    expect(types.slice(0, 2)).toEqual(['response.created', 'response.in_progress'])
    expect(types.at(-1)).toBe('response.completed')
    expect(numbers).toEqual(numbers.map((_, index) => index))
    await expect.poll(() => ended).toMatchObject([{ usage: { estimated: false } }])
  })

  it('tells an error within a stream, and one that ends without its end', async () => {
    for (const script of [{ errorAfter: { events: 8, error: { code: 'x', message: 'no' } } }, { cutAfter: 8 }]) {
      const { openAiClient, ended } = await llmGateway({ [model]: script })
      const run = async () => {
        for await (const _ of await openAiClient.responses.create({ ...ask(model), stream: true }));
      }
      await expect(run()).rejects.toBeInstanceOf(OpenAI.APIError)
      await expect.poll(() => ended).toMatchObject([{ usage: { estimated: true } }])
    }
  })
})

describe.each(bridged)('responses, put into the words of %s', (model) => {
  it.each(splits)('calls tools, several at once, cut by %s', async (split) => {
    const { openAiClient } = await llmGateway({ [model]: { split, toolCalls: calls, text: '' } })
    const wanted = calls.map(({ id, name, arguments: json }) => ({
      type: 'function_call',
      call_id: model === 'gemini-test' ? expect.stringMatching(/^call_/) : id,
      name,
      arguments: json,
    }))
    expect((await openAiClient.responses.create(ask(model, { tools }))).output).toMatchObject(wanted)
    const stream = openAiClient.responses.stream(ask(model, { tools }))
    expect((await stream.finalResponse()).output).toMatchObject(wanted)
  })

  it('keeps thoughts, and what proves them, through a conversation', async () => {
    const { openAiClient, anthropic } = await llmGateway({
      [model]: { reasoning: [{ text: 'Hm, well.', signature: 'c2ln' }] },
    })
    const first = await openAiClient.responses.create(
      ask(model, { reasoning: { effort: 'low' }, max_output_tokens: 9_000 }),
    )
    const [thought] = first.output
    expect(thought).toMatchObject({ type: 'reasoning', summary: [{ type: 'summary_text', text: 'Hm, well.' }] })
    const stream = openAiClient.responses.stream(ask(model))
    expect((await stream.finalResponse()).output[0]).toMatchObject({
      type: 'reasoning',
      summary: [{ text: 'Hm, well.' }],
    })
    await openAiClient.responses.create(
      ask(model, {
        input: [
          { role: 'user', content: 'Hello' },
          ...(first.output as never[]),
          { role: 'user', content: 'And now?' },
        ],
      }),
    )
    if (model !== 'claude-test') return
    expect(anthropic.calls.at(-1)?.body['messages']).toMatchObject([
      { role: 'user' },
      {
        role: 'assistant',
        content: [{ type: 'thinking', thinking: 'Hm, well.', signature: 'c2ln' }, { type: 'text' }],
      },
      { role: 'user' },
    ])
  })

  it('says that an answer is not whole', async () => {
    const stopReason = {
      'gpt-test': 'length',
      'claude-test': 'max_tokens',
      'gemini-test': 'MAX_TOKENS',
      'eu.anthropic.claude-test': 'max_tokens',
    }[model]
    const { openAiClient } = await llmGateway({ [model]: { stopReason } })
    const wanted = { status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } }
    expect(await openAiClient.responses.create(ask(model))).toMatchObject(wanted)
    expect(await openAiClient.responses.stream(ask(model)).finalResponse()).toMatchObject(wanted)
  })

  it.each([
    ['what is stored elsewhere', { previous_response_id: 'resp_1' }, 'previous_response_id'],
    ["a vendor's own tool", { tools: [{ type: 'web_search' }] }, 'tools[0].type'],
    ['the background', { background: true }, 'background'],
  ])('refuses %s, and says where', async (_name, more, param) => {
    const { openAiClient } = await llmGateway()
    await expect(openAiClient.responses.create(ask(model, more as never))).rejects.toMatchObject({ status: 400, param })
  })
})

describe('responses', () => {
  it('puts items and settings into the words of chat completions', async () => {
    const { openAiClient, openAi } = await llmGateway()
    await openAiClient.responses.create(
      ask('gpt-test', {
        instructions: 'Be brief.',
        input: [
          {
            role: 'user',
            content: [
              { type: 'input_text', text: 'Where?' },
              { type: 'input_image', image_url: 'https://example.com/a.png', detail: 'low' },
            ],
          },
          { type: 'function_call', call_id: 'c1', name: 'weather', arguments: '{}' },
          { type: 'function_call', call_id: 'c2', name: 'weather', arguments: '{}' },
          { type: 'function_call_output', call_id: 'c1', output: '21' },
          { type: 'function_call_output', call_id: 'c2', output: '3' },
        ],
        tools,
        tool_choice: { type: 'function', name: 'weather' },
        parallel_tool_calls: false,
        text: { format: { type: 'json_schema', name: 'x', schema: { type: 'object' }, strict: true } },
        reasoning: { effort: 'high' },
        max_output_tokens: 50,
        user: 'u',
      }),
    )
    expect(openAi.calls[0]?.body).toEqual({
      model: 'gpt-test',
      messages: [
        { role: 'system', content: 'Be brief.' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'Where?' },
            { type: 'image_url', image_url: { url: 'https://example.com/a.png', detail: 'low' } },
          ],
        },
        {
          role: 'assistant',
          content: null,
          tool_calls: ['c1', 'c2'].map((id) => ({
            id,
            type: 'function',
            function: { name: 'weather', arguments: '{}' },
          })),
        },
        { role: 'tool', tool_call_id: 'c1', content: '21' },
        { role: 'tool', tool_call_id: 'c2', content: '3' },
      ],
      tools: [
        {
          type: 'function',
          function: { name: 'weather', description: 'd', parameters: { type: 'object' }, strict: false },
        },
      ],
      tool_choice: { type: 'function', function: { name: 'weather' } },
      parallel_tool_calls: false,
      response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'object' }, strict: true } },
      reasoning_effort: 'high',
      max_tokens: 50,
      user: 'u',
    })
  })

  it('hands requests and answers of its own API on untouched', async () => {
    const { openAiClient, openAi } = await llmGateway()
    const response = await openAiClient.responses.create({
      ...ask('native-test'),
      odd: [1],
    } as never)
    expect(response).toMatchObject({ id: 'resp_fixture', odd: true })
    expect(openAi.calls[0]).toMatchObject({
      path: '/v1/responses',
      body: { model: 'native-test', odd: [1], input: 'Hello' },
    })
  })
})

describe.each(['gpt-test', 'claude-test', 'gemini-test'])('completions of %s', (model) => {
  it.each(splits)('writes on, whole and as a stream, cut by %s', async (split) => {
    const { openAiClient, ended, openAi } = await llmGateway({ [model]: { split } })
    const params = { model, prompt: 'Hello', max_tokens: 50 }
    const whole = await openAiClient.completions.create(params)
    expect(whole.choices).toMatchObject([{ text: defaultText, finish_reason: 'stop' }])
    expect(whole.usage?.total_tokens).toBeGreaterThan(0)
    let text = ''
    let usage: unknown
    for await (const chunk of await openAiClient.completions.create({
      ...params,
      stream: true,
      stream_options: { include_usage: true },
    })) {
      text += chunk.choices[0]?.text ?? ''
      usage = chunk.usage ?? usage
    }
    expect(text).toBe(defaultText)
    expect(usage).toMatchObject({ total_tokens: expect.any(Number) })
    await expect.poll(() => ended).toMatchObject([{ usage: { estimated: false } }, { usage: { estimated: false } }])
    if (model === 'gpt-test') expect(openAi.calls[0]).toMatchObject({ path: '/v1/completions', body: params })
  })

  it('keeps the usage from a caller who did not ask, and bills by it', async () => {
    const { openAiClient, ended } = await llmGateway()
    const chunks: OpenAI.Completion[] = []
    for await (const chunk of await openAiClient.completions.create({ model, prompt: 'Hello', stream: true }))
      chunks.push(chunk)
    expect(chunks.every(({ choices }) => choices.length === 1)).toBe(true)
    await expect.poll(() => ended).toMatchObject([{ usage: { estimated: false } }])
  })
})

it.each([
  ['several prompts', { prompt: ['a', 'b'] }, 'prompt'],
  ['tokens', { prompt: [1, 2] }, 'prompt'],
  ['several answers', { prompt: 'a', n: 2 }, 'n'],
  ['an echo', { prompt: 'a', echo: true }, 'echo'],
])('completions refuse %s where they cannot be said', async (_name, more, param) => {
  const { openAiClient } = await llmGateway()
  await expect(openAiClient.completions.create({ model: 'claude-test', ...more } as never)).rejects.toMatchObject({
    status: 400,
    param,
  })
})

it('answers without thoughts that are named by their ids alone, which no other model could read', async () => {
  const { openAiClient, anthropic } = await llmGateway()
  await openAiClient.responses.create({
    model: 'claude-test',
    input: [
      { role: 'user', content: 'Weather?' },
      { type: 'item_reference', id: 'rs_1' },
      { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}' },
      { type: 'function_call_output', call_id: 'c', output: '21' },
    ],
  })
  expect(anthropic.calls[0]?.body['messages']).toMatchObject([
    { role: 'user' },
    { role: 'assistant', content: [{ type: 'tool_use', id: 'c' }] },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'c' }] },
  ])
  const input = [{ type: 'item_reference' as const, id: 'msg_1' }]
  await expect(openAiClient.responses.create({ model: 'claude-test', input })).rejects.toMatchObject({ status: 400 })
})
