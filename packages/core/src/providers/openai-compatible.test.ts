import { getEventListeners, once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { embeddingOf, openAiUpstream, type UpstreamScript, upstreamKey, wordsOf } from '../../test/openai-upstream.js'
import type { Call } from '../inference/model.js'
import type { GenerateInput, Part } from '../inference/task.js'
import { providerCases } from '../testing/provider.js'
import { type OpenAiCompatibleOptions, openAiCompatible } from './openai-compatible.js'

const call: Call = { signal: new AbortController().signal, requestId: 'r-1' }
const hello: GenerateInput = { messages: [{ role: 'user', content: 'hello' }] }

async function start(scripts: Record<string, UpstreamScript> = {}, options: Partial<OpenAiCompatibleOptions> = {}) {
  const upstream = await openAiUpstream(scripts)
  const provider = openAiCompatible({ name: 'up', baseUrl: upstream.baseUrl, apiKey: upstreamKey, ...options })
  onTestFinished(async () => {
    await provider.close?.()
    await upstream.close()
  })
  return { upstream, provider }
}

async function collect(parts: AsyncIterable<Part<'generate'>> | undefined): Promise<Part<'generate'>[]> {
  const all: Part<'generate'>[] = []
  for await (const part of parts ?? []) all.push(part)
  return all
}

describe('openAiCompatible', () => {
  describe('as any provider', () => {
    const subject = {
      models: { generate: 'gpt-test', embed: 'embed-test' },
      async make() {
        const { provider } = await start({ 'gpt-test': {}, 'embed-test': {} })
        return provider
      },
    }
    for (const { name, run } of providerCases) {
      it(`any name: ${name}`, () => run(subject))
      it(`listed: ${name}`, () =>
        run({
          ...subject,
          make: async () => (await start({}, { models: ['gpt-test', { id: 'embed-test', task: 'embed' }] })).provider,
        }))
    }
  })

  it('builds a request from an input in our words', async () => {
    const { upstream, provider } = await start()
    await provider.model('generate', 'm')?.run(
      {
        messages: [
          { role: 'system', content: 's' },
          {
            role: 'user',
            name: 'ann',
            content: [
              { type: 'text', text: 't' },
              { type: 'image', url: 'https://x/y.png', detail: 'low' },
              { type: 'native', native: { type: 'input_audio', input_audio: { data: '', format: 'wav' } } },
            ],
          },
          { role: 'assistant', content: '', toolCalls: [{ id: 'c1', name: 'f', arguments: '{}' }] },
          { role: 'tool', content: 'r', toolCallId: 'c1' },
        ],
        maxOutputTokens: 9,
        temperature: 0,
        topP: 0.5,
        stop: ['x'],
        seed: 3,
      },
      call,
    )
    expect(upstream.calls[0]?.body).toEqual({
      model: 'm',
      messages: [
        { role: 'system', content: 's' },
        {
          role: 'user',
          name: 'ann',
          content: [
            { type: 'text', text: 't' },
            { type: 'image_url', image_url: { url: 'https://x/y.png', detail: 'low' } },
            { type: 'input_audio', input_audio: { data: '', format: 'wav' } },
          ],
        },
        {
          role: 'assistant',
          content: '',
          tool_calls: [{ id: 'c1', type: 'function', function: { name: 'f', arguments: '{}' } }],
        },
        { role: 'tool', content: 'r', tool_call_id: 'c1' },
      ],
      max_tokens: 9,
      temperature: 0,
      top_p: 0.5,
      stop: ['x'],
      seed: 3,
    })
    expect(upstream.calls[0]?.headers).toMatchObject({ 'x-request-id': 'r-1', authorization: `Bearer ${upstreamKey}` })
  })

  it('streams text and tool calls in our words', async () => {
    const toolCalls = [{ id: 'c1', name: 'f', arguments: '{"a":12345}' }]
    const { provider } = await start({ talks: { split: 'bytes' }, calls: { toolCalls, split: 'random' } })
    const text = await collect(provider.model('generate', 'talks')?.stream?.(hello, call))
    expect(text.map((part) => (part.type === 'text' ? part.text : '')).join('')).toBe(wordsOf().join(''))
    expect(text.at(-1)).toMatchObject({ type: 'end', finishReason: 'stop', usage: { estimated: false } })
    const called = await collect(provider.model('generate', 'calls')?.stream?.(hello, call))
    expect(called[0]).toEqual({ type: 'tool-call', index: 0, id: 'c1', name: 'f', arguments: '' })
    expect(called.map((part) => (part.type === 'tool-call' ? part.arguments : '')).join('')).toBe('{"a":12345}')
    expect(called.at(-1)).toMatchObject({ finishReason: 'tool-calls' })
    const whole = await provider.model('generate', 'calls')?.run(hello, call)
    expect(whole?.output).toEqual({ text: '', toolCalls, finishReason: 'tool-calls' })
  })

  it('asks for base64 embeddings and takes numbers too', async () => {
    const { upstream, provider } = await start({ floats: { floatsOnly: true } })
    for (const id of ['base64', 'floats']) {
      const result = await provider.model('embed', id)?.run({ inputs: ['a', 'bcd'], dimensions: 3 }, call)
      expect(result?.output.vectors).toEqual([embeddingOf('a', 3), embeddingOf('bcd', 3)])
    }
    expect(upstream.calls[0]?.body).toEqual({
      model: 'base64',
      input: ['a', 'bcd'],
      encoding_format: 'base64',
      dimensions: 3,
    })
  })

  it.each([
    ['too few', { data: [{ index: 0, embedding: [1] }] }],
    [
      'one twice',
      {
        data: [
          { index: 0, embedding: [1] },
          { index: 0, embedding: [1] },
        ],
      },
    ],
    [
      'an empty one',
      {
        data: [
          { index: 0, embedding: [1] },
          { index: 1, embedding: [] },
        ],
      },
    ],
    [
      'words',
      {
        data: [
          { index: 0, embedding: [1] },
          { index: 1, embedding: ['x'] },
        ],
      },
    ],
    ['no list', { data: { 0: 1 } }],
    ['nothing', { data: [null, null] }],
  ])('refuses embeddings of which there are %s', async (_name, body) => {
    const { provider } = await start({ m: { answer: { status: 200, body } } })
    const run = provider.model('embed', 'm')?.run({ inputs: ['a', 'b'] }, call)
    await expect(run).rejects.toMatchObject({ code: 'upstream_invalid' })
  })

  it('asks for the key every time if it is a function, and hides it in what the upstream says', async () => {
    const keys = ['old-key-1', upstreamKey]
    const { provider, upstream } = await start(
      { m: { answer: { status: 400, body: { error: `you sent old-key-1 and ${upstreamKey}` } } } },
      { apiKey: async () => keys.shift() ?? upstreamKey },
    )
    const run = () => provider.model('generate', 'm')?.run(hello, call)
    await expect(run()).rejects.toMatchObject({ code: 'upstream_credentials' })
    await expect(run()).rejects.toMatchObject({
      message: expect.stringContaining('you sent [redacted] and [redacted]'),
    })
    expect(upstream.calls.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer old-key-1',
      `Bearer ${upstreamKey}`,
    ])
  })

  it('does not call an upstream whose key cannot be had', async () => {
    for (const apiKey of [
      () => Promise.reject(new Error('vault down')),
      () => {
        throw new Error('vault down')
      },
    ]) {
      const { provider, upstream } = await start({}, { apiKey })
      await expect(provider.model('generate', 'm')?.run(hello, call)).rejects.toMatchObject({
        code: 'upstream_credentials',
      })
      expect(upstream.calls).toHaveLength(0)
    }
  })

  it('lists what the upstream has, asked once, and still has it when the upstream fails', async () => {
    const { upstream, provider } = await start({ 'gpt-test': {}, 'text-embed': {} })
    const lists = await Promise.all([provider.list?.(), provider.list?.()])
    expect(lists[0]).toEqual([
      { id: 'gpt-test', task: 'generate', ownedBy: 'fixture' },
      { id: 'text-embed', task: 'embed', ownedBy: 'fixture' },
    ])
    expect(lists[1]).toEqual(lists[0])
    expect(upstream.calls).toHaveLength(1)
  })

  it('uses a connection again after a stream, and after an error', async () => {
    const { upstream, provider } = await start({ bad: { answer: { status: 500, body: {} } } }, { maxConnections: 1 })
    for (let round = 0; round < 5; round += 1) {
      await collect(provider.model('generate', 'm')?.stream?.(hello, call))
      await provider
        .model('generate', 'bad')
        ?.run(hello, call)
        .catch(() => {})
    }
    expect(upstream.connections()).toBe(1)
  })

  it('refuses what would wait for a connection too long', async () => {
    const { upstream, provider } = await start({ m: { stallAfter: -1 } }, { maxConnections: 1, maxQueued: 1 })
    const controller = new AbortController()
    const model = provider.model('generate', 'm')
    const waiting = [1, 2].map(() =>
      model?.run(hello, { ...call, signal: controller.signal }).catch((error) => error.code),
    )
    await upstream.next()
    await expect(model?.run(hello, call)).rejects.toMatchObject({ code: 'overloaded', status: 503 })
    controller.abort()
    expect(await Promise.all(waiting)).toEqual(['client_closed', 'client_closed'])
    // The one that waited was never sent.
    upstream.script('m', {})
    await model?.run(hello, call)
    expect(upstream.calls).toHaveLength(2)
  })

  it('leaves no listener on a signal that many calls share', async () => {
    const { provider } = await start()
    const signal = new AbortController().signal
    const shared = { ...call, signal }
    for (let round = 0; round < 20; round += 1) {
      await provider.model('generate', 'm')?.run(hello, shared)
      await collect(provider.model('generate', 'm')?.stream?.(hello, shared))
    }
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })

  it('tells an upstream that does not speak HTTP from one that is down', async () => {
    const server = createServer((socket) => {
      socket.once('data', () => socket.end('SSH-2.0-OpenSSH\r\n'))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const { port } = server.address() as AddressInfo
    const provider = openAiCompatible({ name: 'ssh', baseUrl: `http://127.0.0.1:${port}` })
    onTestFinished(() => provider.close?.())
    await expect(provider.model('generate', 'm')?.run(hello, call)).rejects.toMatchObject({
      code: 'upstream_invalid',
      message: 'The upstream ssh did not keep to HTTP.',
    })
  })

  it('refuses calls once it is closed', async () => {
    const { provider } = await start()
    await provider.close?.()
    await expect(provider.model('generate', 'm')?.run(hello, call)).rejects.toMatchObject({ code: 'not_ready' })
  })

  it.each<[string, Partial<OpenAiCompatibleOptions>, RegExp]>([
    ['a base URL that is none', { baseUrl: 'api.openai.com' }, /baseUrl/],
    ['a base URL of another kind', { baseUrl: 'ftp://x/' }, /baseUrl/],
    ['credentials in the base URL', { baseUrl: 'https://u:hunter2@x/' }, /must not hold credentials/],
    ['a key with a line break', { apiKey: 'hunter2\n' }, /apiKey/],
    ['an unknown option', { timeout: 5 } as never, /timeout/],
    ['a model twice', { models: ['a', { id: 'a' }] }, /twice/],
  ])('refuses %s', (_name, options, message) => {
    const make = () => openAiCompatible({ name: 'up', baseUrl: 'https://example.com/v1', ...options })
    expect(make).toThrow(expect.objectContaining({ code: 'config_invalid', message: expect.stringMatching(message) }))
    expect(make).not.toThrow(/hunter2/)
  })
})
