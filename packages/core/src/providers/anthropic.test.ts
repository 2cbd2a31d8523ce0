import { describe, expect, it, onTestFinished } from 'vitest'
import { anthropicKey, anthropicUpstream } from '../../test/anthropic-upstream.js'
import type { UpstreamScript } from '../../test/fixture-upstream.js'
import type { Call } from '../inference/model.js'
import type { GenerateInput, Part } from '../inference/task.js'
import { providerCases } from '../testing/provider.js'
import { type AnthropicOptions, anthropicProvider } from './anthropic.js'

const call: Call = { signal: new AbortController().signal, requestId: 'r-1' }
const hello: GenerateInput = { messages: [{ role: 'user', content: 'hello' }] }

async function start(scripts: Record<string, UpstreamScript> = {}, options: Partial<AnthropicOptions> = {}) {
  const upstream = await anthropicUpstream(scripts)
  const provider = anthropicProvider({ baseUrl: upstream.baseUrl, apiKey: anthropicKey, ...options })
  onTestFinished(async () => {
    await provider.close?.()
    await upstream.close()
  })
  const model = provider.model('generate', 'claude')
  if (model === undefined) throw new Error('no model')
  return { upstream, provider, model }
}

async function collect(parts: AsyncIterable<Part<'generate'>> | undefined): Promise<Part<'generate'>[]> {
  const all: Part<'generate'>[] = []
  for await (const part of parts ?? []) all.push(part)
  return all
}

describe('anthropicProvider', () => {
  describe('as any provider', () => {
    for (const { name, run } of providerCases) {
      it(`any name: ${name}`, () => run({ models: { generate: 'claude' }, make: async () => (await start()).provider }))
      it(`listed: ${name}`, () =>
        run({ models: { generate: 'claude' }, make: async () => (await start({}, { models: ['claude'] })).provider }))
    }
  })

  it('streams thoughts, text and calls in our words', async () => {
    const { model } = await start({
      claude: {
        reasoning: [
          { text: 'Hm.', signature: 's' },
          { text: '', redacted: 'r' },
        ],
        text: 'So be it.',
        toolCalls: [{ id: 't', name: 'f', arguments: '{"a":1}' }],
      },
    })
    const parts = await collect(model.stream?.(hello, call))
    expect(parts.filter(({ type }) => type === 'reasoning')).toEqual([
      { type: 'reasoning', text: 'Hm.' },
      { type: 'reasoning', text: '', signature: 's' },
      { type: 'reasoning', text: '', redacted: 'r' },
    ])
    expect(parts.map((part) => (part.type === 'text' ? part.text : '')).join('')).toBe('So be it.')
    const called = parts.filter((part) => part.type === 'tool-call')
    expect(called[0]).toEqual({ type: 'tool-call', index: 0, id: 't', name: 'f', arguments: '' })
    expect(called.map((part) => part.arguments).join('')).toBe('{"a":1}')
    expect(parts.at(-1)).toMatchObject({ type: 'end', finishReason: 'tool-calls' })
    expect((await model.run(hello, call)).output).toEqual({
      text: 'So be it.',
      reasoning: [
        { type: 'reasoning', text: 'Hm.', signature: 's' },
        { type: 'reasoning', text: '', redacted: 'r' },
      ],
      toolCalls: [{ id: 't', name: 'f', arguments: '{"a":1}' }],
      finishReason: 'tool-calls',
    })
  })

  it('counts what is cached apart, cumulative counts once', async () => {
    const usage = {
      input_tokens: 10,
      cache_read_input_tokens: 200,
      cache_creation_input_tokens: 30,
      cache_creation: { ephemeral_5m_input_tokens: 10, ephemeral_1h_input_tokens: 20 },
      output_tokens: 40,
    }
    const { model } = await start({ claude: { usage } })
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

  it('says which of the stop sequences ended the answer', async () => {
    const { model } = await start({ claude: { stopReason: 'stop_sequence' } })
    const input = { ...hello, stop: ['END'] }
    expect((await model.run(input, call)).output).toMatchObject({ finishReason: 'stop', stopSequence: 'END' })
    expect((await collect(model.stream?.(input, call))).at(-1)).toMatchObject({ stopSequence: 'END' })
  })

  it('thinks within what may be written, and not without room for it', async () => {
    const { model, upstream } = await start()
    const sent = async (more: Partial<GenerateInput>) => {
      await model.run({ ...hello, ...more }, call)
      return upstream.calls.at(-1)?.body
    }
    const thinking = async (more: Partial<GenerateInput>) => (await sent(more))?.['thinking']
    expect(await thinking({ reasoning: { effort: 'medium' } })).toEqual({ type: 'enabled', budget_tokens: 8_191 })
    expect(await thinking({ reasoning: { maxTokens: 5_000 } })).toEqual({ type: 'enabled', budget_tokens: 5_000 })
    expect(await thinking({ reasoning: { maxTokens: 10 } })).toEqual({ type: 'enabled', budget_tokens: 1_024 })
    expect(await thinking({ reasoning: { effort: 'max' }, maxOutputTokens: 2_000 })).toEqual({
      type: 'enabled',
      budget_tokens: 1_999,
    })
    expect(await thinking({ reasoning: { effort: 'low' }, maxOutputTokens: 1_024 })).toBeUndefined()
    expect(await thinking({ reasoning: { effort: 'none' } })).toEqual({ type: 'disabled' })
    expect(await sent({ responseFormat: { type: 'json' }, topK: 5 })).toMatchObject({
      top_k: 5,
      system: [{ type: 'text', text: 'Answer with one JSON object and nothing else.' }],
    })
  })

  it('marks what is worth keeping', async () => {
    const { model, upstream } = await start()
    await model.run(
      {
        messages: [
          { role: 'system', content: [{ type: 'text', text: 'Be brief.', cache: '1h' }] },
          { role: 'user', content: [{ type: 'text', text: 'hello', cache: '5m' }] },
          { role: 'assistant', content: '', toolCalls: [{ id: 'x', name: 'f', arguments: '{}', cache: '5m' }] },
          { role: 'tool', toolCallId: 'x', content: 'a', cache: '5m' },
        ],
        tools: [{ name: 'f', parameters: { type: 'object' }, cache: '5m' }],
      },
      call,
    )
    const cache_control = { type: 'ephemeral' }
    expect(upstream.calls[0]?.body).toEqual({
      model: 'claude',
      max_tokens: 8_192,
      system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral', ttl: '1h' } }],
      tools: [{ name: 'f', input_schema: { type: 'object' }, cache_control }],
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'hello', cache_control }] },
        { role: 'assistant', content: [{ type: 'tool_use', id: 'x', name: 'f', input: {}, cache_control }] },
        {
          role: 'user',
          content: [{ type: 'tool_result', tool_use_id: 'x', content: [{ type: 'text', text: 'a' }], cache_control }],
        },
      ],
    })
  })

  it('has its key hidden, whatever the upstream says', async () => {
    const { model } = await start({}, { apiKey: () => Promise.resolve('sk-ant-wrong-secret-000000') })
    const error = await model.run(hello, call).catch((each: Error) => each)
    expect(error).toMatchObject({ code: 'upstream_credentials', status: 502 })
    expect(JSON.stringify([String(error), String((error as Error).cause)])).not.toContain('wrong-secret')
  })

  it.each([
    [{ apiKey: 'a b' }, /line break/],
    [{ models: ['a', 'a'] }, /twice/],
    [{ defaultMaxTokens: 0 }, /defaultMaxTokens/],
    [{ baseUrl: 'ftp://x' }, /baseUrl/],
    [{ key: 'x' }, /key/],
  ])('refuses %j where it is made', (options, message) => {
    expect(() => anthropicProvider(options as never)).toThrow(message)
  })
})
