import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { collected, gate, messages, post, quiet, start } from '../../test/chat-gate.js'
import { listen } from '../../test/hosts.js'
import { upstreamKey, usageOf, wordsOf } from '../../test/openai-upstream.js'
import { TollgateError } from '../errors.js'
import { dialect } from '../http/dialect.js'
import { listener, middleware } from '../http/handler.js'
import { errorHandler } from '../middleware/error-handler.js'
import { byteTokenizer } from '../providers/count-tokens.js'
import { completionTokens, promptTokens, type Usage } from '../usage.js'
import { chatCompletions } from './chat-completions.js'

describe('with the official SDK', () => {
  it('chats, and records what the upstream says was used', async () => {
    const { client, upstream, ends, nextEnd } = await start()
    const ended = nextEnd()
    const completion = await client.chat.completions.create({
      model: 'fast',
      messages,
      n: 2,
      seed: 7,
      top_logprobs: 3,
    } as never)
    expect(completion.choices.map((choice) => choice.message.content)).toEqual(Array(2).fill(wordsOf().join('')))
    expect(completion.system_fingerprint).toBe('fp_fixture')
    // Unknown fields pass, the alias does not, nor does the caller's key.
    expect(upstream.calls[0]?.body).toEqual({ model: 'gpt-test', messages, n: 2, seed: 7, top_logprobs: 3 })
    expect(upstream.calls[0]?.headers.authorization).toBe(`Bearer ${upstreamKey}`)
    const context = await ended
    const said = usageOf({ messages })
    expect(promptTokens(context.usage as never)).toBe(said['prompt_tokens'])
    expect(context).toMatchObject({
      target: { provider: 'up', model: 'gpt-test' },
      usage: { outputTokens: said['completion_tokens'], estimated: false },
      route: '/v1/chat/completions',
      dialect: 'openai',
    })
    expect(context.upstreamMs).toBeGreaterThan(0)
    expect(ends).toHaveLength(1)
  })

  it.each(['none', 'random', 'bytes'] as const)('streams text cut at %s', async (split) => {
    const { client, nextEnd } = await start({ 'gpt-test': { split } })
    const ended = nextEnd()
    const stream = await client.chat.completions.create({ model: 'gpt-test', messages, stream: true })
    let text = ''
    for await (const chunk of stream) {
      // The upstream was asked for usage by us: its event is not for this caller.
      expect(chunk.choices).toHaveLength(1)
      expect(chunk.usage ?? null).toBeNull()
      text += chunk.choices[0]?.delta.content ?? ''
    }
    expect(text).toBe(wordsOf().join(''))
    expect((await ended).usage).toEqual({
      inputTokens: usageOf({ messages })['prompt_tokens'],
      outputTokens: wordsOf().length,
      estimated: false,
    })
  })

  it('sends the usage event on to a caller who asks for it', async () => {
    const { client, upstream } = await start()
    const stream = await client.chat.completions.create({
      model: 'gpt-test',
      messages,
      stream: true,
      stream_options: { include_usage: true, include_obfuscation: false },
    })
    const chunks = await collected(stream)
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: usageOf({ messages }) })
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true)
    expect(upstream.calls[0]?.body['stream_options']).toEqual({ include_usage: true, include_obfuscation: false })
  })

  it('relays parallel tool calls, whole and streamed', async () => {
    const toolCalls = [
      { id: 'call_1', name: 'weather', arguments: '{"city":"Zürich","usage":{"x":1}}' },
      { id: 'call_2', name: 'time', arguments: '{"zone":"\\"usage\\": {"}' },
    ]
    const { client } = await start({ 'gpt-test': { toolCalls, split: 'random' } })
    const whole = await client.chat.completions.create({ model: 'gpt-test', messages })
    const expected = toolCalls.map(({ id, ...called }) => ({ id, type: 'function', function: called }))
    expect(whole.choices[0]?.message.tool_calls).toEqual(expected)
    const runner = client.chat.completions.stream({ model: 'gpt-test', messages })
    const final = await runner.finalChatCompletion()
    expect(final.choices[0]?.finish_reason).toBe('tool_calls')
    expect(final.choices[0]?.message.tool_calls).toMatchObject(expected)
  })

  it('relays refusals and details of usage', async () => {
    const usage = {
      prompt_tokens: 100,
      completion_tokens: 50,
      total_tokens: 150,
      prompt_tokens_details: { cached_tokens: 64 },
      completion_tokens_details: { reasoning_tokens: 20 },
    }
    const { client, nextEnd } = await start({ 'gpt-test': { refusal: 'I would rather not.', usage } })
    const ended = nextEnd()
    const final = await client.chat.completions.stream({ model: 'gpt-test', messages }).finalChatCompletion()
    expect(final.choices[0]?.message.refusal).toBe('I would rather not.')
    expect((await ended).usage).toEqual({
      inputTokens: 36,
      cacheReadTokens: 64,
      outputTokens: 30,
      reasoningTokens: 20,
      estimated: false,
    })
  })

  it('never drops an answer that talks of usage and errors', async () => {
    const text =
      'The "usage" {"usage":{"prompt_tokens":1}} and "error": {"x"} and [DONE] data: [DONE] said "finish_reason":"stop" all'
    const { client } = await start({ 'gpt-test': { text, split: 'random' } })
    const final = await client.chat.completions.stream({ model: 'gpt-test', messages }).finalChatCompletion()
    expect(final.choices[0]?.message.content).toBe(text)
  })

  it('keeps 64 streams at once apart, cut at random', async () => {
    const scripts = Object.fromEntries(
      Array.from({ length: 64 }, (_, index) => [
        `m${index}`,
        {
          text: `Stream ${index} says 你好 🙂 ${'and goes on '.repeat(index % 9)}to its end ${index}.`,
          split: 'random' as const,
        },
      ]),
    )
    const { client, ends } = await start(scripts)
    await Promise.all(
      Object.entries(scripts).map(async ([model, script]) => {
        const final = await client.chat.completions.stream({ model, messages }).finalChatCompletion()
        expect(final.choices[0]?.message.content).toBe(script.text)
      }),
    )
    await expect.poll(() => ends.length).toBe(64)
    for (const context of ends) {
      const { text } = scripts[context.target?.model ?? ''] as { text: string }
      expect(context.usage).toMatchObject({ outputTokens: wordsOf(text).length, estimated: false })
    }
  })

  it('has 401 and 429 as their error classes', async () => {
    const { service, upstream } = await gate({
      'gpt-test': {
        answer: { status: 429, headers: { 'retry-after-ms': '1500' }, body: { error: { message: 'slow down' } } },
      },
    })
    const refuse = middleware('refuse', (_context, req) => {
      if (req.headers.authorization === 'Bearer wrong') throw new TollgateError('invalid_credentials', 'No such key.')
    })
    const setDialect = dialect('openai')
    const { url } = await listen(
      listener(setDialect, refuse, chatCompletions({ service }), errorHandler({ log: quiet })),
    )
    const wrong = new OpenAI({ apiKey: 'wrong', baseURL: url, maxRetries: 0 })
    await expect(wrong.chat.completions.create({ model: 'x', messages })).rejects.toBeInstanceOf(
      OpenAI.AuthenticationError,
    )
    const client = new OpenAI({ apiKey: 'right', baseURL: url, maxRetries: 0 })
    for (const stream of [false, true]) {
      const error = await client.chat.completions
        .create({ model: 'gpt-test', messages, stream })
        .catch((caught) => caught)
      expect(error).toBeInstanceOf(OpenAI.RateLimitError)
      expect(error.headers.get('retry-after')).toBe('2')
      expect(error.headers.get('retry-after-ms')).toBe('1500')
    }
    expect(upstream.calls).toHaveLength(2)
  })

  it.each([true, false])(
    'lets a call whose caller leaves come to its end if told so, and bills what the upstream says (stream: %j)',
    async (stream) => {
      const text = 'word '.repeat(30)
      const { upstream, service, nextEnd, observe } = await gate({ slow: { text, delayMs: 10 } })
      const { url } = await listen(
        listener(observe, chatCompletions({ service, onDisconnect: 'drain' }), errorHandler({ log: quiet })),
      )
      const ended = nextEnd()
      const call = upstream.next()
      const leaving = new AbortController()
      const response = post(url, { model: 'slow', messages, stream }, { signal: leaving.signal })
      await call
      if (stream) {
        const reader = (await response).body?.getReader()
        await reader?.read()
      }
      leaving.abort()
      await response.catch(() => {})
      const { usage } = await ended
      const wanted = usageOf({ messages }, { text })
      expect(usage).toMatchObject({ estimated: false })
      expect([promptTokens(usage as Usage), completionTokens(usage as Usage)]).toEqual([
        wanted.prompt_tokens,
        wanted.completion_tokens,
      ])
    },
  )

  it('lets a caller who leaves mid-stream stop the upstream, and bills what came', async () => {
    const { client, upstream, nextEnd } = await start({ 'gpt-test': { stallAfter: 4 } })
    const ended = nextEnd()
    const called = upstream.next()
    const stream = await client.chat.completions.create({ model: 'gpt-test', messages, stream: true })
    let seen = 0
    for await (const _ of stream) {
      seen += 1
      if (seen === 4) break
    }
    expect(await (await called).broken).toBe(true)
    const context = await ended
    // The role, and three words: counted by us.
    const written = wordsOf().slice(0, 3).join('')
    expect(context.usage).toMatchObject({ outputTokens: byteTokenizer.count(written), estimated: true })
    expect(context.usage?.inputTokens).toBeGreaterThan(0)
    expect(context.target).toEqual({ provider: 'up', model: 'gpt-test' })
  })
})
