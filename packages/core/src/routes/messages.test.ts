import Anthropic from '@anthropic-ai/sdk'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ask, weather } from '../../test/asking-messages.js'
import { defaultText, type UpstreamScript } from '../../test/fixture-upstream.js'
import { llmGateway } from '../../test/llm-gateway.js'

const calls = [
  { id: 'toolu_1', name: 'weather', arguments: '{"city":"Paris"}' },
  { id: 'toolu_2', name: 'weather', arguments: '{"city":"Москва","deep":{"a":[1,2,{"b":null}]}}' },
]

const all = ['claude-test', 'gpt-test', 'gemini-test', 'eu.anthropic.claude-test'] as const
const splits = ['none', 'bytes', 'random'] as const

describe.each(all)('messages of %s', (model) => {
  it('answers a text, with what it used', async () => {
    const { anthropicClient, ended } = await llmGateway()
    const message = await anthropicClient.messages.create(ask(model, { system: 'Be brief.' }))
    expect(message).toMatchObject({ type: 'message', role: 'assistant', stop_reason: 'end_turn', stop_sequence: null })
    expect(message.content).toMatchObject([{ type: 'text', text: defaultText }])
    expect(message.usage.input_tokens).toBeGreaterThan(0)
    expect(message._request_id).toMatch(/^[\w-]{8,}$/)
    await expect.poll(() => ended).toHaveLength(1)
    const { usage } = ended[0] ?? {}
    expect(usage).toMatchObject({ estimated: false, inputTokens: message.usage.input_tokens })
    expect(usage?.outputTokens).toBe(message.usage.output_tokens)
  })

  it.each(splits)('streams a text, cut by %s, and the same comes out', async (split) => {
    const { anthropicClient, ended } = await llmGateway({ [model]: { split, noisy: split !== 'none' } })
    const stream = anthropicClient.messages.stream(ask(model))
    const pieces: string[] = []
    stream.on('text', (text) => pieces.push(text))
    const message = await stream.finalMessage()
    expect(pieces.join('')).toBe(defaultText)
    expect(pieces.length).toBeGreaterThan(3)
    expect(message).toMatchObject({ stop_reason: 'end_turn', content: [{ type: 'text', text: defaultText }] })
    await expect.poll(() => ended).toHaveLength(1)
    expect(ended[0]?.usage).toMatchObject({ estimated: false, outputTokens: message.usage.output_tokens })
    expect(message.usage.input_tokens).toBe(ended[0]?.usage?.inputTokens)
  })

  it.each(splits)('calls tools, several at once, cut by %s', async (split) => {
    const { anthropicClient } = await llmGateway({ [model]: { split, toolCalls: calls } })
    const wanted = calls.map(({ id, name, arguments: json }) => ({
      type: 'tool_use',
      // Google's calls have no ids.
      id: model === 'gemini-test' ? expect.stringMatching(/^call_/) : id,
      name,
      input: JSON.parse(json) as unknown,
    }))
    const params = ask(model, { tools: [weather], tool_choice: { type: 'any' } })
    const whole = await anthropicClient.messages.create(params)
    expect(whole).toMatchObject({ stop_reason: 'tool_use', content: wanted })
    const streamed = await anthropicClient.messages.stream(params).finalMessage()
    expect(streamed).toMatchObject({ stop_reason: 'tool_use', content: wanted })
  })

  it('takes a conversation with tools, pictures and thoughts', async () => {
    const { anthropicClient, anthropic, openAi, gemini, bedrock } = await llmGateway()
    const picture = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0K' } } as const
    await anthropicClient.messages.create(
      ask(model, {
        system: [{ type: 'text', text: 'Be brief.' }],
        tools: [weather],
        messages: [
          { role: 'user', content: [picture, { type: 'text', text: 'Where is it, and is it warm there?' }] },
          {
            role: 'assistant',
            content: [
              { type: 'thinking', thinking: 'The tower…', signature: 'c2lnbmVk' },
              { type: 'text', text: 'Paris.' },
              { type: 'tool_use', id: 'toolu_1', name: 'weather', input: { city: 'Paris' } },
            ],
          },
          {
            role: 'user',
            content: [
              { type: 'tool_result', tool_use_id: 'toolu_1', content: [{ type: 'text', text: '21 °C' }, picture] },
              { type: 'text', text: 'So?' },
            ],
          },
        ],
      }),
    )
    if (model === 'claude-test') {
      expect(anthropic.calls[0]?.body['messages']).toHaveLength(3)
      return
    }
    if (model === 'gemini-test') {
      expect(gemini.calls[0]?.body['contents']).toMatchObject([
        { role: 'user', parts: [{ inlineData: { mimeType: 'image/png' } }, { text: expect.stringMatching(/^Where/) }] },
        { role: 'model', parts: [{ text: 'Paris.' }, { functionCall: { name: 'weather', args: { city: 'Paris' } } }] },
        {
          role: 'user',
          parts: [
            { functionResponse: { name: 'weather', response: { output: '21 °C' } } },
            { inlineData: {} },
            { text: 'So?' },
          ],
        },
      ])
      return
    }
    if (model === 'eu.anthropic.claude-test') {
      const image = { image: { format: 'png', source: { bytes: 'iVBORw0K' } } }
      expect(bedrock.calls[0]?.body['messages']).toEqual([
        { role: 'user', content: [image, { text: 'Where is it, and is it warm there?' }] },
        {
          role: 'assistant',
          content: [
            { reasoningContent: { reasoningText: { text: 'The tower…', signature: 'c2lnbmVk' } } },
            { text: 'Paris.' },
            { toolUse: { toolUseId: 'toolu_1', name: 'weather', input: { city: 'Paris' } } },
          ],
        },
        {
          role: 'user',
          content: [{ toolResult: { toolUseId: 'toolu_1', content: [{ text: '21 °C' }, image] } }, { text: 'So?' }],
        },
      ])
      return
    }
    const url = 'data:image/png;base64,iVBORw0K'
    expect(openAi.calls[0]?.body['messages']).toEqual([
      { role: 'system', content: [{ type: 'text', text: 'Be brief.' }] },
      {
        role: 'user',
        content: [
          { type: 'image_url', image_url: { url } },
          { type: 'text', text: 'Where is it, and is it warm there?' },
        ],
      },
      {
        role: 'assistant',
        content: [{ type: 'text', text: 'Paris.' }],
        tool_calls: [{ id: 'toolu_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Paris"}' } }],
      },
      { role: 'tool', tool_call_id: 'toolu_1', content: [{ type: 'text', text: '21 °C' }] },
      { role: 'user', content: [{ type: 'image_url', image_url: { url } }] },
      { role: 'user', content: [{ type: 'text', text: 'So?' }] },
    ])
  })

  it('shows thoughts before the answer', async () => {
    const reasoning = [{ text: 'Let me think it over, slowly.', signature: 'c2lnbmVk' }]
    const { anthropicClient } = await llmGateway({ [model]: { reasoning } })
    const params = ask(model, { thinking: { type: 'enabled', budget_tokens: 4_000 } })
    const signature = {
      'claude-test': 'c2lnbmVk',
      'gpt-test': '',
      'gemini-test': 'gemini.c2lnbmVk',
      'eu.anthropic.claude-test': 'c2lnbmVk',
    }[model]
    const wanted = [
      { type: 'thinking', thinking: 'Let me think it over, slowly.', signature },
      { type: 'text', text: defaultText },
    ]
    expect((await anthropicClient.messages.create(params)).content).toMatchObject(wanted)
    const { content } = await anthropicClient.messages.stream(params).finalMessage()
    // Google proves the whole answer, at its end.
    if (model === 'gemini-test')
      expect(content).toMatchObject([{ thinking: 'Let me think it over, slowly.' }, wanted[1], { signature }])
    else expect(content).toMatchObject(wanted)
  })

  it('counts tokens without running anything', async () => {
    const { anthropicClient, ended, openAi } = await llmGateway()
    const { max_tokens: _, ...counted } = ask(model, { tools: [weather] })
    const { input_tokens: tokens } = await anthropicClient.messages.countTokens(counted)
    expect(tokens).toBeGreaterThan(3)
    expect(openAi.calls).toHaveLength(0)
    await expect.poll(() => ended).toMatchObject([{ usage: undefined }])
  })

  it.each([
    [400, { status: 400, code: 'invalid_request_error' }, Anthropic.BadRequestError, 'invalid_request_error'],
    [401, { status: 502, code: '' }, Anthropic.InternalServerError, 'api_error'],
    [404, { status: 404, code: 'not_found_error' }, Anthropic.NotFoundError, 'not_found_error'],
    [429, { status: 429, code: 'rate_limit_error' }, Anthropic.RateLimitError, 'rate_limit_error'],
    [500, { status: 502, code: '' }, Anthropic.InternalServerError, 'api_error'],
    [529, { status: 502, code: '' }, Anthropic.InternalServerError, 'api_error'],
  ])("tells an upstream's %d in Anthropic's own words", async (status, { status: told, code }, kind, type) => {
    const body =
      model === 'claude-test'
        ? { type: 'error', error: { type: code, message: 'no' } }
        : model === 'gpt-test'
          ? { error: { message: 'no', type: 'invalid_request_error', code: status === 404 ? 'model_not_found' : null } }
          : { error: { message: 'no', code: status, status: status === 404 ? 'NOT_FOUND' : 'INVALID_ARGUMENT' } }
    const amazon = model === 'eu.anthropic.claude-test'
    const type404 = amazon && status === 404 ? { 'x-amzn-errortype': 'ResourceNotFoundException' } : {}
    const script: UpstreamScript = {
      answer: { status, body: amazon ? { message: 'no' } : body, headers: { 'retry-after': '7', ...type404 } },
    }
    const { anthropicClient } = await llmGateway({ [model]: script })
    for (const run of [
      () => anthropicClient.messages.create(ask(model)),
      () => anthropicClient.messages.stream(ask(model)).finalMessage(),
    ]) {
      const error = (await run().catch((each: unknown) => each)) as InstanceType<typeof Anthropic.APIError>
      expect(error).toBeInstanceOf(kind)
      expect(error).toMatchObject({ status: told, type, error: { type: 'error', request_id: expect.any(String) } })
      if (status === 429) expect(error.headers?.get('retry-after')).toBe('7')
    }
  })

  it('tells an error within a stream as one, and bills what was written', async () => {
    const { anthropicClient, ended } = await llmGateway({
      [model]: { errorAfter: { events: 6, error: { type: 'overloaded_error', message: 'Overloaded' } } },
    })
    const stream = anthropicClient.messages.stream(ask(model))
    const pieces: string[] = []
    stream.on('text', (text) => pieces.push(text))
    await expect(stream.finalMessage()).rejects.toMatchObject({ type: 'api_error' })
    expect(pieces.length).toBeGreaterThan(0)
    await expect.poll(() => ended).toMatchObject([{ error: 'upstream_failed', usage: { estimated: true } }])
    expect(ended[0]?.usage?.outputTokens).toBeGreaterThan(0)
  })

  it('tells a stream that ends without its end as an error, and never as a good end', async () => {
    for (const cutAfter of [0, 1, 2, 3, 5]) {
      const { anthropicClient } = await llmGateway({ [model]: { cutAfter } })
      await expect(anthropicClient.messages.stream(ask(model)).finalMessage()).rejects.toBeInstanceOf(Error)
    }
  })

  it('stops the upstream when its caller leaves', async () => {
    const { anthropicClient, anthropic, openAi, gemini, bedrock, ended } = await llmGateway({
      [model]: { stallAfter: 6 },
    })
    const upstream = {
      'claude-test': anthropic,
      'gpt-test': openAi,
      'gemini-test': gemini,
      'eu.anthropic.claude-test': bedrock,
    }[model]
    const called = upstream.next()
    const stream = anthropicClient.messages.stream(ask(model))
    stream.once('text', () => stream.abort())
    await expect(stream.finalMessage()).rejects.toBeInstanceOf(Anthropic.APIUserAbortError)
    expect(await (await called).broken).toBe(true)
    await expect.poll(() => ended).toMatchObject([{ aborted: true, usage: { estimated: true } }])
  })

  it('is right however its upstream is cut: whole, or an error', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          split: fc.constantFrom(...splits),
          lineEnd: fc.constantFrom('\n' as const, '\r\n' as const, '\r' as const),
          noisy: fc.boolean(),
          fault: fc.constantFrom('none', 'cutAfter', 'resetAfter', 'errorAfter'),
          at: fc.nat({ max: 30 }),
          text: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }).map((text) => `a ${text}`),
        }),
        async ({ fault, at, text, ...script }) => {
          const broken =
            fault === 'none' ? {} : { [fault]: fault === 'errorAfter' ? { events: at, error: { message: 'x' } } : at }
          const { anthropicClient, ended } = await llmGateway({ [model]: { ...script, ...broken, text } })
          let written = ''
          const stream = anthropicClient.messages.stream(ask(model)).on('text', (piece) => {
            written += piece
          })
          const sent = text.match(/\s*\S+/g)?.join('') ?? ''
          const whole = await stream.finalMessage().then(
            (message) => message,
            () => undefined,
          )
          expect(sent.startsWith(written)).toBe(true)
          if (whole !== undefined) expect(whole.content).toMatchObject([{ type: 'text', text: sent }])
          if (fault === 'none') expect(whole).toBeDefined()
          await expect.poll(() => ended).toHaveLength(1)
        },
      ),
      { numRuns: 25 },
    )
  })
})
