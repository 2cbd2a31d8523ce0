import { describe, expect, it } from 'vitest'
import { faultGate, type WireName } from './fault-gate.js'
import { ask } from './surfaces.js'

const words = 'one two three four five six seven eight nine ten '
const data = (...events: unknown[]) => events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('')
const named = (...events: Array<{ readonly type: string }>) =>
  events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('')

/** The row of a stream that breaks off after these bytes. */
async function cutAfter(wire: WireName, body: string) {
  const { url, upstream, rows } = await faultGate(wire)
  upstream.play('model', async (line) => {
    await line.head({ 'content-type': 'text/event-stream' })
    await line.send(body)
    line.reset()
  })
  const heard = await ask(url, wire === 'anthropic' ? 'messages' : 'chat', 'model', true)
  expect(heard.isWhole).toBe(false)
  return (await rows(1))[0]?.usage
}

describe('what an upstream has said of its usage holds for a stream that breaks off', () => {
  const chunk = (content: string, more: object = {}) => ({
    choices: [{ index: 0, delta: { content }, finish_reason: null }],
    ...more,
  })
  const told = { prompt_tokens: 900, prompt_tokens_details: { cached_tokens: 800 } }

  it('of OpenAI: the input, and of the output what was written since, too', async () => {
    const early = chunk('', { usage: { ...told, completion_tokens: 0 } })
    const usage = await cutAfter('openai', data(early, ...Array.from({ length: 20 }, () => chunk(words))))
    expect(usage).toMatchObject({ inputTokens: 100, cacheReadTokens: 800, estimated: true })
    expect(usage?.outputTokens).toBeGreaterThan(150)
  })

  it('of OpenAI: all of it, where it is told with every piece', async () => {
    const each = (completion_tokens: number) => chunk(words, { usage: { ...told, completion_tokens } })
    const usage = await cutAfter('openai', data(each(4_000), each(8_000)))
    expect(usage).toEqual({ inputTokens: 100, cacheReadTokens: 800, outputTokens: 8_000, estimated: true })
  })

  const start = {
    type: 'message_start',
    message: {
      type: 'message',
      usage: { input_tokens: 7, cache_read_input_tokens: 50_000, cache_creation_input_tokens: 30, output_tokens: 1 },
    },
  }
  const open = { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }
  const piece = { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: words } }
  const input = { inputTokens: 7, cacheReadTokens: 50_000, cacheWriteTokens: 30 }

  it('of Anthropic: what was read from its cache, which costs a tenth, and what was written since', async () => {
    const usage = await cutAfter('anthropic', named(start, open, ...Array.from({ length: 20 }, () => piece)))
    expect(usage).toMatchObject({ ...input, estimated: true })
    expect(usage?.outputTokens).toBeGreaterThan(150)
  })

  it('of Anthropic: all of it, but the last event', async () => {
    const last = { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 5_000 } }
    const usage = await cutAfter('anthropic', named(start, open, piece, last))
    expect(usage).toEqual({ ...input, outputTokens: 5_000, estimated: true })
  })

  it('of Gemini: thoughts that nobody was shown', async () => {
    const usageMetadata = { promptTokenCount: 900, cachedContentTokenCount: 800, thoughtsTokenCount: 3_000 }
    const answer = (more: object) => ({
      candidates: [{ content: { parts: [{ text: words }] } }],
      usageMetadata,
      ...more,
    })
    const usage = await cutAfter('gemini', data(answer({}), answer({ usageMetadata: undefined })))
    expect(usage).toMatchObject({ inputTokens: 100, cacheReadTokens: 800, reasoningTokens: 3_000, estimated: true })
  })
})

describe('a count of the output that is none', () => {
  const answer = (usage: object) => ({
    stream: `${data(
      { choices: [{ index: 0, delta: { content: words }, finish_reason: 'stop' }] },
      { choices: [], usage },
    )}data: [DONE]\n\n`,
    json: JSON.stringify({
      choices: [{ index: 0, message: { role: 'assistant', content: words }, finish_reason: 'stop' }],
      usage,
    }),
  })
  const play = async (kind: 'stream' | 'json', usage: object) => {
    const { url, upstream, rows } = await faultGate('openai', {}, undefined, undefined, {
      usdPerMillionTokens: { input: 150, output: 600 },
    })
    upstream.play('model', async (line) => {
      await line.head({ 'content-type': kind === 'json' ? 'application/json' : 'text/event-stream' })
      await line.send(answer(usage)[kind])
      line.end()
    })
    expect((await ask(url, 'chat', 'model', kind === 'stream')).isWhole).toBe(true)
    return (await rows(1))[0]
  }

  it.each(['stream', 'json'] as const)('is made up for by what was written (%s)', async (kind) => {
    for (const count of [0, null, undefined]) {
      const row = await play(kind, { prompt_tokens: 5, completion_tokens: count })
      expect(row?.usage).toMatchObject({ inputTokens: 5, estimated: true })
      expect(row?.usage?.outputTokens).toBeGreaterThan(9)
    }
  })

  it.each(['stream', 'json'] as const)('is not believed where no price could be reckoned (%s)', async (kind) => {
    const row = await play(kind, { prompt_tokens: 5, completion_tokens: 1e12 })
    expect(row).toMatchObject({ outcome: 'ok', usage: { estimated: true }, costNanoUsd: expect.any(Number) })
    const most = await play(kind, { prompt_tokens: 1e9, completion_tokens: 1e9 })
    expect(most).toMatchObject({ outcome: 'ok', usage: { estimated: false }, costNanoUsd: 750e12 })
  })
})
