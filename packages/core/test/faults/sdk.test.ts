import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { defaultText } from '../fixture-upstream.js'
import { faultGate, limits, type WireName, wires } from './fault-gate.js'
import type { Play } from './faulty-upstream.js'

const names = Object.keys(wires) as WireName[]
const words = [{ role: 'user' as const, content: 'Hello' }]

async function gate(wire: WireName, play: Play, options: (typeof limits)['long' | 'short']) {
  const { url, upstream, rows } = await faultGate(wire, options)
  upstream.play('model', play)
  const openAi = new OpenAI({ apiKey: 'any', baseURL: `${url}/v1`, maxRetries: 0 })
  const anthropic = new Anthropic({ apiKey: 'any', baseURL: url, maxRetries: 0 })
  return {
    rows,
    chat: () => openAi.chat.completions.stream({ model: 'model', messages: words }).finalContent(),
    responses: async () =>
      (await openAi.responses.stream({ model: 'model', input: 'Hello' }).finalResponse()).output_text,
    messages: () => anthropic.messages.stream({ model: 'model', max_tokens: 9, messages: words }).finalText(),
  }
}

const after =
  (part: number, then: Play): Play =>
  async (line, healthy) => {
    const body = Buffer.concat(healthy.pieces)
    await line.head({ 'content-type': healthy.contentType, 'content-length': body.length })
    await line.send(body.subarray(0, body.length * part))
    await then(line, healthy)
  }

/** How the vendors' own clients take it. */
const cases: ReadonlyArray<{ name: string; play: Play; openAi: unknown; anthropic: unknown }> = [
  {
    name: 'a 429',
    play: (line) => line.head({ 'retry-after': 9, 'content-length': 0 }, '429 Slow'),
    openAi: { status: 429, code: 'rate_limit_exceeded' },
    anthropic: { status: 429 },
  },
  {
    name: 'a reset before the head',
    play: (line) => line.reset(),
    openAi: { status: 502 },
    anthropic: { status: 502 },
  },
  {
    name: 'silence before the head',
    play: (line) => line.silence(),
    openAi: { status: 504, code: 'upstream_timeout' },
    anthropic: { status: 504 },
  },
  {
    name: 'a reset half way',
    play: after(0.5, (line) => line.reset()),
    openAi: { message: expect.stringMatching(/broke the connection/) },
    anthropic: { message: expect.stringMatching(/broke the connection/) },
  },
  {
    name: 'silence half way',
    play: after(0.5, (line) => line.silence()),
    openAi: { message: expect.stringMatching(/fell silent/) },
    anthropic: { message: expect.stringMatching(/fell silent/) },
  },
]

describe.each(names)('the official clients, in front of %s', (wire) => {
  it('get the whole text however small its packets are', async () => {
    const { chat, responses, messages, rows } = await gate(
      wire,
      async (line, { contentType, pieces }) => {
        await line.head({ 'content-type': contentType })
        await line.dribble(Buffer.concat(pieces), 3)
        line.end()
      },
      limits.long,
    )
    expect(await Promise.all([chat(), responses(), messages()])).toEqual([defaultText, defaultText, defaultText])
    expect(await rows(3)).toMatchObject([{ outcome: 'ok' }, { outcome: 'ok' }, { outcome: 'ok' }])
  })

  it.each(cases)('$name is an error that they know', async ({ play, openAi, anthropic }) => {
    const { chat, responses, messages, rows } = await gate(wire, play, limits.short)
    const [one, other, third] = await Promise.allSettled([chat(), responses(), messages()])
    expect([one, other, third]).toMatchObject([
      { status: 'rejected', reason: openAi },
      { status: 'rejected', reason: openAi },
      { status: 'rejected', reason: anthropic },
    ])
    expect(await rows(3)).toMatchObject([{ outcome: 'error' }, { outcome: 'error' }, { outcome: 'error' }])
  })
})
