import type OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import {
  card,
  email,
  guards,
  key,
  models,
  prompt,
  scripts,
  sent,
  upstreamOf,
  written,
} from '../../test/guarded-gateway.js'
import { llmGateway } from '../../test/llm-gateway.js'
import { redactPii } from '../wrappers/redact-pii.js'

const meant = `Mailed ${email} about ${card}, with ${key}; [EMAIL_7] is nobody.`

describe.each(models)('what is kept from %s and put back into its answer', (model) => {
  // Letter by letter, and bytes cut anywhere.
  const text = { text: written, pieceLength: 1, split: 'random' } as const

  it('in chat', async () => {
    const gateway = await llmGateway(scripts(text), { guards })
    const ask = {
      model,
      messages: [
        { role: 'system' as const, content: `I am ${email}` },
        { role: 'user' as const, content: prompt },
      ],
    }
    const answer = await gateway.openAiClient.chat.completions.create(ask)
    expect(answer.choices[0]?.message.content).toBe(meant)
    const stream = gateway.openAiClient.chat.completions.stream({ ...ask, stream_options: { include_usage: true } })
    const streamed = await stream.finalChatCompletion()
    expect(streamed.choices[0]).toMatchObject({ message: { content: meant }, finish_reason: 'stop' })
    sent(upstreamOf(gateway, model).calls)
    await expect.poll(() => gateway.ended).toHaveLength(2)
    for (const { usage, flags } of gateway.ended) {
      expect(usage?.estimated).toBe(false)
      expect(flags).toEqual(['pii:email', 'pii:credit_card', 'pii:secret'])
    }
    expect(answer.usage?.prompt_tokens).toBe(streamed.usage?.prompt_tokens)
  })

  it('in responses', async () => {
    const gateway = await llmGateway(scripts(text), { guards })
    const ask = { model, instructions: `I am ${email}`, input: prompt }
    expect((await gateway.openAiClient.responses.create(ask)).output_text).toBe(meant)
    const stream = gateway.openAiClient.responses.stream(ask)
    let deltas = ''
    for await (const event of stream) if (event.type === 'response.output_text.delta') deltas += event.delta
    expect(deltas).toBe(meant)
    expect((await stream.finalResponse()).output_text).toBe(meant)
    sent(upstreamOf(gateway, model).calls)
  })

  it('in messages, and when their tokens are counted', async () => {
    const gateway = await llmGateway(scripts(text), { guards })
    const ask = {
      model,
      max_tokens: 1_000,
      system: [{ type: 'text' as const, text: `I am ${email}` }],
      messages: [{ role: 'user' as const, content: [{ type: 'text' as const, text: prompt }] }],
    }
    const answer = await gateway.anthropicClient.messages.create(ask)
    expect(answer.content).toMatchObject([{ type: 'text', text: meant }])
    const streamed = await gateway.anthropicClient.messages.stream(ask).finalMessage()
    expect(streamed).toMatchObject({ content: [{ type: 'text', text: meant }], stop_reason: 'end_turn' })
    const { max_tokens: _, ...counted } = ask
    expect((await gateway.anthropicClient.messages.countTokens(counted)).input_tokens).toBeGreaterThan(0)
    sent(upstreamOf(gateway, model).calls)
  })

  it('in completions', async () => {
    const gateway = await llmGateway(scripts(text), { guards })
    const answer = await gateway.openAiClient.completions.create({ model, prompt, max_tokens: 100 })
    expect(answer.choices[0]?.text).toBe(meant)
    sent(upstreamOf(gateway, model).calls)
  })

  it('in calls of tools and what they answered', async () => {
    const script = {
      text: '',
      toolCalls: [{ id: 'call_1', name: 'mail', arguments: '{"to":"[EMAIL_1]","text":"\\"[EMAIL_2]\\" [PHONE_1]"}' }],
    }
    const gateway = await llmGateway(scripts(script), { guards })
    const tools = [
      {
        type: 'function' as const,
        function: {
          name: 'mail',
          parameters: { type: 'object', properties: { to: { type: 'string', default: email } } },
        },
      },
    ]
    const ask: Omit<OpenAI.ChatCompletionCreateParamsNonStreaming, 'stream'> = {
      model,
      tools,
      messages: [
        { role: 'user', content: `Mail ${email}` },
        {
          role: 'assistant',
          content: null,
          tool_calls: [
            {
              id: 'a',
              type: 'function',
              function: {
                name: 'mail',
                arguments: JSON.stringify({ [email]: 'bob@example.org', card: 4111111111111111 }),
              },
            },
          ],
        },
        { role: 'tool', tool_call_id: 'a', content: `{"log":"line\\n${email} +49 30 1234567"}` },
      ],
    }
    const input = { to: email, text: '"bob@example.org" +49 30 1234567' }
    const answer = await gateway.openAiClient.chat.completions.create(ask)
    const streamed = await gateway.openAiClient.chat.completions.stream(ask).finalChatCompletion()
    for (const { choices } of [answer, streamed]) {
      const call = choices[0]?.message.tool_calls?.[0]
      expect(call?.type === 'function' && JSON.parse(call.function.arguments)).toEqual(input)
    }
    const turns: Parameters<typeof gateway.anthropicClient.messages.create>[0]['messages'] = [
      { role: 'user', content: `Mail ${email}` },
      {
        role: 'assistant',
        content: [
          {
            type: 'tool_use',
            id: 'a',
            name: 'mail',
            input: { [email]: 'bob@example.org', id: email, n: 4111111111111111 },
          },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'a', content: [{ type: 'text', text: `${email} +49 30 1234567` }] },
        ],
      },
    ]
    const asked = {
      model,
      max_tokens: 1_000,
      tools: [{ name: 'mail', input_schema: { type: 'object' as const } }],
      messages: turns,
    }
    const whole = await gateway.anthropicClient.messages.create(asked)
    const final = await gateway.anthropicClient.messages.stream(asked).finalMessage()
    for (const { content } of [whole, final]) expect(content.at(-1)).toMatchObject({ type: 'tool_use', input })
    const items: OpenAI.Responses.ResponseInputItem[] = [
      { role: 'user', content: [{ type: 'input_text', text: `Mail ${email}` }] },
      { type: 'function_call', call_id: 'a', name: 'mail', arguments: JSON.stringify({ to: 'bob@example.org' }) },
      { type: 'function_call_output', call_id: 'a', output: `${email} +49 30 1234567` },
    ]
    const responded = await gateway.openAiClient.responses
      .stream({
        model,
        input: items,
        tools: [{ type: 'function', name: 'mail', parameters: { type: 'object' }, strict: false }],
      })
      .finalResponse()
    const called = responded.output.find(({ type }) => type === 'function_call')
    expect(called?.type === 'function_call' && JSON.parse(called.arguments)).toEqual(input)
    const bodies = sent(upstreamOf(gateway, model).calls, [email, 'bob@example.org', '1234567', '4111111111111111'])
    expect(JSON.stringify(bodies)).toContain('line')
  })
})

it('puts back what a model thought', async () => {
  const reasoning = [{ text: 'It is [EMAIL_1] …', signature: 'c2ln' }]
  const gateway = await llmGateway(scripts({ reasoning, text: written, pieceLength: 2 }), { guards })
  const ask = { model: 'claude-test', max_tokens: 2_000, thinking: { type: 'enabled' as const, budget_tokens: 1_024 } }
  const first = await gateway.anthropicClient.messages
    .stream({ ...ask, messages: [{ role: 'user', content: prompt }] })
    .finalMessage()
  expect(first.content[0]).toEqual({ type: 'thinking', thinking: `It is ${email} …`, signature: 'c2ln' })
  const messages = [
    { role: 'user' as const, content: prompt },
    { role: 'assistant' as const, content: first.content },
    { role: 'user' as const, content: 'Go on.' },
  ]
  await gateway.anthropicClient.messages.create({ ...ask, messages })
  const [, again] = sent(gateway.anthropic.calls)
  // As the model wrote it, or its signature would be of another thought.
  expect(again?.['messages']).toMatchObject([
    {},
    { content: [{ thinking: 'It is [EMAIL_1] …', signature: 'c2ln' }, {}] },
    {},
  ])
})

it('keeps the rest of the request as its caller wrote it', async () => {
  const gateway = await llmGateway(scripts({ text: written }), { guards })
  const messages = [
    {
      role: 'user' as const,
      content: [{ type: 'text' as const, text: prompt, cache_control: { type: 'ephemeral' as const } }],
    },
  ]
  await gateway.anthropicClient.messages.create({
    model: 'claude-test',
    max_tokens: 9,
    messages,
    metadata: { user_id: email },
  })
  const picture = { type: 'image_url' as const, image_url: { url: `data:image/png;base64,${'iVBORw0KGgo='}` } }
  await gateway.openAiClient.chat.completions.create({
    model: 'gpt-test',
    service_tier: 'flex',
    user: email,
    messages: [{ role: 'user', content: [picture, { type: 'text', text: prompt }] }],
  })
  const text = 'Mail [EMAIL_1] about [CREDIT_CARD_1], with [SECRET_1].'
  expect(sent(gateway.anthropic.calls)).toMatchObject([
    { messages: [{ content: [{ text, cache_control: { type: 'ephemeral' } }] }], metadata: { user_id: '[EMAIL_1]' } },
  ])
  expect(sent(gateway.openAi.calls)).toMatchObject([
    { service_tier: 'flex', user: '[EMAIL_1]', messages: [{ content: [picture, { text }] }] },
  ])
})

it("relays the upstream's own bytes where there is nothing to put back", async () => {
  const gateway = await llmGateway(scripts({ text: written }), { guards })
  const clean = await gateway.openAiClient.chat.completions.create({
    model: 'gpt-test',
    messages: [{ role: 'user', content: 'Hello' }],
  })
  expect(clean).toMatchObject({ system_fingerprint: 'fp_fixture', choices: [{ message: { content: written } }] })
  const bare = await llmGateway(scripts({ text: written }), { guards: [redactPii()] })
  const redacted = await bare.openAiClient.chat.completions.create({
    model: 'gpt-test',
    messages: [{ role: 'user', content: prompt }],
  })
  expect(redacted).toMatchObject({ system_fingerprint: 'fp_fixture', choices: [{ message: { content: written } }] })
  sent(bare.openAi.calls)
  const responded = await bare.openAiClient.responses.create({ model: 'native-test', input: prompt })
  expect(responded).toMatchObject({ id: 'resp_fixture', output_text: written })
  expect(sent(bare.openAi.calls)[1]).toMatchObject({ input: 'Mail [EMAIL_1] about [CREDIT_CARD_1], with [SECRET_1].' })
})

it('refuses what asks for an answer that nobody here can read', async () => {
  const gateway = await llmGateway({}, { guards })
  const ask = gateway.openAiClient.chat.completions.create({
    model: 'gpt-test',
    n: 2,
    messages: [{ role: 'user', content: prompt }],
  })
  await expect(ask).rejects.toMatchObject({ status: 400, code: 'invalid_request' })
  expect(gateway.openAi.calls).toEqual([])
})

it('reads what is to be embedded', async () => {
  const gateway = await llmGateway({}, { guards })
  const { data } = await gateway.openAiClient.embeddings.create({ model: 'embed-test', input: [prompt, 'b'] })
  expect(data).toHaveLength(2)
  expect(sent(gateway.openAi.calls)[0]).toMatchObject({
    input: ['Mail [EMAIL_1] about [CREDIT_CARD_1], with [SECRET_1].', 'b'],
  })
})
