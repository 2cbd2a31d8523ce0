import Anthropic from '@anthropic-ai/sdk'
import { describe, expect, it } from 'vitest'
import { ask, weather } from '../../test/asking-messages.js'
import { llmGateway } from '../../test/llm-gateway.js'

describe('messages', () => {
  it("passes bytes, fields and headers of Anthropic's through untouched", async () => {
    const { anthropicClient, anthropic, url } = await llmGateway()
    const odd = { cache_control: { type: 'ephemeral' }, container: null, unheard_of: { a: [1] } }
    await anthropicClient.messages.create({ ...ask('claude-test'), ...odd } as never, {
      headers: { 'anthropic-beta': 'one-2026-01-01,two', 'anthropic-version': '2024-10-10' },
    })
    expect(anthropic.calls[0]?.body).toMatchObject({ ...odd, model: 'claude-test', max_tokens: 20_000 })
    expect(anthropic.calls[0]?.headers).toMatchObject({
      'anthropic-beta': 'one-2026-01-01,two',
      'anthropic-version': '2024-10-10',
    })
    expect(anthropic.calls[0]?.headers).not.toHaveProperty('x-stainless-lang')
    const direct = await fetch(`${anthropic.baseUrl}/messages`, {
      method: 'POST',
      headers: { 'x-api-key': 'sk-ant-upstream-secret-0123456789', 'anthropic-version': '2023-06-01' },
      body: JSON.stringify(ask('claude-test')),
    })
    const through = await fetch(`${url}/v1/messages`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(ask('claude-test')),
    })
    expect(await through.text()).toBe(await direct.text())
  })

  it('puts settings into the words of OpenAI', async () => {
    const { anthropicClient, openAi } = await llmGateway()
    await anthropicClient.messages.create(
      ask('gpt-test', {
        temperature: 0.5,
        top_p: 0.9,
        stop_sequences: ['END'],
        metadata: { user_id: 'u-1' },
        thinking: { type: 'enabled', budget_tokens: 2_000 },
        tools: [weather],
        tool_choice: { type: 'tool', name: 'weather', disable_parallel_tool_use: true },
        output_config: { format: { type: 'json_schema', schema: { type: 'object' } } },
      }),
    )
    expect(openAi.calls[0]?.body).toEqual({
      model: 'gpt-test',
      messages: [{ role: 'user', content: 'Hello' }],
      max_tokens: 20_000,
      temperature: 0.5,
      top_p: 0.9,
      stop: ['END'],
      user: 'u-1',
      reasoning_effort: 'low',
      tools: [
        {
          type: 'function',
          function: { name: 'weather', description: weather.description, parameters: weather.input_schema },
        },
      ],
      tool_choice: { type: 'function', function: { name: 'weather' } },
      parallel_tool_calls: false,
      response_format: {
        type: 'json_schema',
        json_schema: { name: 'answer', schema: { type: 'object' }, strict: true },
      },
    })
  })

  it('says nothing as an empty text, shortens long ids of calls, and takes the format by its name of the beta', async () => {
    const { anthropicClient, openAi } = await llmGateway()
    const id = `call_${'x'.repeat(40)}`
    const picture = { type: 'base64', media_type: 'image/png', data: 'iVBORw0K' } as const
    await anthropicClient.messages.create(
      ask('gpt-test', {
        tools: [weather],
        messages: [
          { role: 'user', content: 'Hello' },
          { role: 'assistant', content: [{ type: 'thinking', thinking: 'Hm.', signature: 'c2lnbmVk' }] },
          { role: 'user', content: 'Well?' },
          { role: 'assistant', content: [{ type: 'tool_use', id, name: 'weather', input: {} }] },
          {
            role: 'user',
            content: [{ type: 'tool_result', tool_use_id: id, content: [{ type: 'image', source: picture }] }],
          },
        ],
        output_format: { type: 'json_schema', schema: { type: 'object' } },
      } as never),
    )
    const { messages, response_format } = (openAi.calls[0]?.body ?? {}) as {
      messages: Array<{ role: string; content: unknown; tool_calls?: Array<{ id: string }>; tool_call_id?: string }>
      response_format: unknown
    }
    expect(messages.map(({ role, content }) => [role, Array.isArray(content) ? content.length : content])).toEqual([
      ['user', 'Hello'],
      ['assistant', ''],
      ['user', 'Well?'],
      ['assistant', null],
      ['tool', ''],
      ['user', 1],
    ])
    expect(messages[4]?.tool_call_id).toMatch(/^[\w-]{37}$/)
    expect(messages[4]?.tool_call_id).toBe(messages[3]?.tool_calls?.[0]?.id)
    expect(response_format).toMatchObject({ type: 'json_schema', json_schema: { schema: { type: 'object' } } })
  })

  it("puts what is worth keeping, and what comes of it, into Bedrock's words and back", async () => {
    const model = 'eu.anthropic.claude-test'
    const usage = {
      inputTokens: 4,
      outputTokens: 5,
      totalTokens: 39,
      cacheReadInputTokens: 20,
      cacheWriteInputTokens: 10,
    }
    const { anthropicClient, bedrock } = await llmGateway({ [model]: { usage } })
    const cache_control = { type: 'ephemeral' } as const
    const message = await anthropicClient.messages.create(
      ask(model, {
        system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral', ttl: '1h' } }],
        tools: [{ ...weather, cache_control }],
        messages: [
          { role: 'user', content: [{ type: 'text', text: 'Hello', cache_control }] },
          { role: 'assistant', content: [{ type: 'tool_use', id: 't', name: 'weather', input: {}, cache_control }] },
          { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: '21', cache_control }] },
        ],
      }),
    )
    const point = { cachePoint: { type: 'default' } }
    expect(bedrock.calls[0]?.body).toMatchObject({
      system: [{ text: 'Be brief.' }, { cachePoint: { type: 'default', ttl: '1h' } }],
      toolConfig: { tools: [{ toolSpec: { name: 'weather' } }, point] },
      messages: [
        { content: [{ text: 'Hello' }, point] },
        { content: [{ toolUse: {} }, point] },
        { content: [{ toolResult: {} }, point] },
      ],
    })
    expect(message.usage).toMatchObject({
      input_tokens: 4,
      cache_read_input_tokens: 20,
      cache_creation_input_tokens: 10,
      output_tokens: 5,
    })
  })

  it.each([
    ["a vendor's own tool", { tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, 'tools[0].type'],
    ['servers of tools', { mcp_servers: [{ type: 'url', url: 'https://example.com', name: 'x' }] }, 'mcp_servers'],
    ['a tool without a name', { tools: [weather], tool_choice: { type: 'tool' } }, 'tool_choice.name'],
  ])('refuses %s, which the model that answers cannot be told, and says where', async (_name, more, path) => {
    const { anthropicClient, openAi } = await llmGateway()
    await expect(anthropicClient.messages.create(ask('gpt-test', more as never))).rejects.toMatchObject({
      status: 400,
      error: { error: { message: expect.stringContaining(path) } },
    })
    expect(openAi.calls).toHaveLength(0)
  })

  it.each([
    ['no max_tokens', { max_tokens: undefined }, 'max_tokens'],
    ['no messages', { messages: [] }, 'messages'],
    ['a temperature of 2', { temperature: 2 }, 'temperature'],
    ['a role that is none', { messages: [{ role: 'tool', content: 'x' }] }, 'messages[0].role'],
  ])('refuses %s', async (_name, more, path) => {
    const { anthropicClient } = await llmGateway()
    const error = await anthropicClient.messages
      .create(ask('claude-test', more as never))
      .catch((each: unknown) => each)
    expect(error).toBeInstanceOf(Anthropic.BadRequestError)
    expect((error as Error).message).toContain(path)
  })

  it('pings a stream that is silent', async () => {
    const { url } = await llmGateway({ 'gpt-test': { pauseMs: 60 } }, { heartbeatMs: 20 })
    const answer = await fetch(`${url}/v1/messages`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...ask('gpt-test'), stream: true }),
    })
    const text = await answer.text()
    expect(text).toContain('event: ping\ndata: {"type":"ping"}\n\n')
    expect(text.startsWith('event: message_start\n')).toBe(true)
  })
})
