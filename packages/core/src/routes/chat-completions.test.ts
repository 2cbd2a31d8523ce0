import { once } from 'node:events'
import { connect } from 'node:net'
import OpenAI from 'openai'
import { describe, expect, it, onTestFinished } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { openAiUpstream, type UpstreamScript, upstreamKey, usageOf, wordsOf } from '../../test/openai-upstream.js'
import { isTollgateError, TollgateError } from '../errors.js'
import { contextOf, type RequestContext } from '../http/context.js'
import { dialect } from '../http/dialect.js'
import { type Handler, listener, middleware } from '../http/handler.js'
import { onEnd } from '../http/observe.js'
import { onDispatch } from '../http/record-usage.js'
import { inferenceService } from '../inference/service.js'
import { errorHandler } from '../middleware/error-handler.js'
import { byteTokenizer } from '../providers/count-tokens.js'
import { echoProvider } from '../providers/echo.js'
import { type OpenAiCompatibleOptions, openAiCompatible } from '../providers/openai-compatible.js'
import { completionTokens, promptTokens, type Usage } from '../usage.js'
import { chatCompletions } from './chat-completions.js'

const messages = [{ role: 'user' as const, content: 'Say hello to the whole world' }]
const quiet = { error: () => {}, warn: () => {} }

/** A gate over a fixture upstream, with the contexts of all requests as they were at their ends. */
async function gate(scripts: Record<string, UpstreamScript> = {}, options: Partial<OpenAiCompatibleOptions> = {}) {
  const upstream = await openAiUpstream(scripts)
  const service = inferenceService({
    providers: [
      echoProvider({ tokenizer: byteTokenizer }),
      openAiCompatible({ name: 'up', baseUrl: upstream.baseUrl, apiKey: upstreamKey, ...options }),
    ],
    aliases: { fast: 'gpt-test' },
  })
  onTestFinished(async () => {
    await service.close()
    await upstream.close()
  })
  const ends: RequestContext[] = []
  const waiting: Array<(context: RequestContext) => void> = []
  const observe = middleware('observe', (context, req, res) => {
    onEnd(req, res, () => {
      ends.push(context)
      waiting.shift()?.(context)
    })
  })
  const nextEnd = () => new Promise<RequestContext>((resolve) => waiting.push(resolve))
  return { upstream, service, ends, nextEnd, observe, handler: chatCompletions({ service }) }
}

async function start(scripts: Record<string, UpstreamScript> = {}, options: Partial<OpenAiCompatibleOptions> = {}) {
  const made = await gate(scripts, options)
  const { url } = await listen(listener(made.observe, made.handler, errorHandler({ log: quiet })))
  const client = new OpenAI({ apiKey: 'sk-caller', baseURL: url, maxRetries: 0 })
  return { ...made, url, client }
}

function post(url: string, body: unknown, init: RequestInit = {}): Promise<Response> {
  const headers = { 'content-type': 'application/json' }
  return fetch(url, { method: 'POST', headers, body: JSON.stringify(body), ...init })
}

async function collected<T>(parts: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const part of parts) all.push(part)
  return all
}

async function dataOf(response: Response): Promise<string[]> {
  return (await response.text()).split('\n\n').flatMap((event) => (event.startsWith('data: ') ? [event.slice(6)] : []))
}

eachHost((host) => {
  it('relays an answer and a stream, and refuses a bad request', async () => {
    const { observe, handler } = await gate()
    const { url } = await host.start(observe, ['/v1/chat/completions', handler], errorHandler({ log: quiet }))
    const path = `${url}/v1/chat/completions`
    const whole = await post(path, { model: 'gpt-test', messages })
    expect(whole.status).toBe(200)
    expect(whole.headers.get('content-type')).toMatch(/^application\/json/)
    expect(await whole.json()).toMatchObject({ choices: [{ message: { content: wordsOf().join('') } }] })
    const stream = await post(path, { model: 'gpt-test', messages, stream: true })
    expect(stream.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    expect((await dataOf(stream)).at(-1)).toBe('[DONE]')
    const refused = await post(path, { model: 'gpt-test', messages: [{ role: 'king', content: 'x' }] })
    expect(refused.status).toBe(400)
    expect(await refused.json()).toMatchObject({ error: { type: 'invalid_request_error', param: 'messages[0].role' } })
  })
})

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

describe('the body sent upstream', () => {
  it('relays a whole answer byte for byte', async () => {
    const body =
      '{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],   "odd" : 1}'
    const { url, nextEnd } = await start({ 'gpt-test': { answer: { status: 200, body } } })
    const ended = nextEnd()
    expect(await (await post(url, { model: 'gpt-test', messages })).text()).toBe(body)
    // No usage in there: it is counted.
    expect((await ended).usage).toMatchObject({ outputTokens: 1, estimated: true })
  })

  it('relays a stream byte for byte when its caller asked for usage', async () => {
    const { url, upstream } = await start({ 'gpt-test': { split: 'random', lineEnd: '\r\n', noisy: true } })
    const body = { model: 'gpt-test', messages, stream: true, stream_options: { include_usage: true } }
    const direct = await post(`${upstream.baseUrl}/chat/completions`, body, {
      headers: { authorization: `Bearer ${upstreamKey}` },
    })
    const relayed = await post(url, body)
    const ours = (await relayed.text()).replace('data: [DONE]\n\n', '')
    expect(ours).toBe(
      (await direct.text()).replace(': comment\r\n\r\ndata: [DONE]\r\n\r\n', ': comment\r\n\r\n').replace('\uFEFF', ''),
    )
  })
})

describe('faults of the upstream', () => {
  const cases: ReadonlyArray<[name: string, script: UpstreamScript, status: number, code: string, also?: RegExp]> = [
    ['a 500', { answer: { status: 500, body: { error: { message: 'boom secret' } } } }, 502, 'upstream_failed'],
    [
      'a 503 in HTML',
      { answer: { status: 503, headers: { 'content-type': 'text/html' }, body: '<h1>no</h1>' } },
      502,
      'upstream_failed',
    ],
    [
      'a 401',
      { answer: { status: 401, body: { error: { message: `bad ${upstreamKey}` } } } },
      502,
      'upstream_credentials',
    ],
    ['a 403', { answer: { status: 403, body: {} } }, 502, 'upstream_credentials'],
    [
      'no credit',
      { answer: { status: 429, body: { error: { code: 'insufficient_quota' } } } },
      502,
      'upstream_credentials',
    ],
    [
      'a 400',
      { answer: { status: 400, body: { error: { message: `max_tokens is too large for ${upstreamKey}` } } } },
      400,
      'invalid_request',
      /max_tokens is too large for \[redacted\]/,
    ],
    [
      'a 422 with detail',
      { answer: { status: 422, body: { detail: 'no such field' } } },
      422,
      'invalid_request',
      /no such field/,
    ],
    [
      'a 404 for the model',
      { answer: { status: 404, body: { error: { message: 'no gpt-9', code: 'model_not_found' } } } },
      404,
      'model_not_found',
      /no gpt-9/,
    ],
    [
      'a redirect',
      { answer: { status: 302, headers: { location: 'http://169.254.169.254/' }, body: '' } },
      502,
      'upstream_invalid',
    ],
    [
      'HTML',
      { answer: { status: 200, headers: { 'content-type': 'text/html' }, body: '<p>login</p>' } },
      502,
      'upstream_invalid',
    ],
    [
      'an encoding nobody asked for',
      { answer: { status: 200, headers: { 'content-encoding': 'gzip' }, body: '{}' } },
      502,
      'upstream_invalid',
    ],
    ['an error in a 200', { answer: { status: 200, body: { error: { message: 'x' } } } }, 502, 'upstream_failed'],
    [
      'an error with a status in a 200',
      { answer: { status: 200, body: { error: { code: 429 } } } },
      429,
      'rate_limit_exceeded',
    ],
    ['a reset before the head', { resetAfter: -1 }, 502, 'upstream_failed'],
    ['silence before the head', { stallAfter: -1 }, 504, 'upstream_timeout'],
  ]
  it.each(cases)(
    '%s becomes a clear error, and the next request is served',
    async (_name, script, status, code, also = /./) => {
      const { url, nextEnd } = await start({ 'gpt-test': script }, { headersTimeoutMs: 200 })
      for (const stream of [false, true]) {
        const ended = nextEnd()
        const response = await post(url, { model: 'gpt-test', messages, stream })
        const text = await response.text()
        expect(response.status).toBe(status)
        expect(JSON.parse(text)).toMatchObject({ error: { code, message: expect.stringMatching(also) } })
        expect(text).not.toContain(upstreamKey)
        expect(text).not.toMatch(/secret|127\.0\.0\.1|login/)
        expect((await ended).usage).toBeUndefined()
      }
      expect((await post(url, { model: 'well', messages })).status).toBe(200)
    },
  )

  it('garbage in a 200 is told as such', async () => {
    for (const body of ['{"choices":[', '[]', '{"choices":[]}', '"text"']) {
      const { url } = await start({ 'gpt-test': { answer: { status: 200, body } } })
      const response = await post(url, { model: 'gpt-test', messages })
      expect([response.status, await response.json()]).toMatchObject([502, { error: { code: 'upstream_invalid' } }])
    }
  })

  it('an upstream that is down is told as such', async () => {
    const { url } = await start({}, { baseUrl: 'http://127.0.0.1:1/v1' })
    const response = await post(url, { model: 'gpt-test', messages })
    expect([response.status, await response.json()]).toMatchObject([
      502,
      { error: { code: 'upstream_failed', message: 'The upstream up refused the connection.' } },
    ])
  })

  it.each<[string, UpstreamScript, string]>([
    ['a reset', { resetAfter: 3 }, 'upstream_failed'],
    ['silence', { stallAfter: 3 }, 'upstream_timeout'],
    ['an end before its end', { cutAfter: 3 }, 'upstream_invalid'],
    [
      'an error event',
      { errorAfter: { events: 3, error: { message: 'overloaded', type: 'server_error' } } },
      'upstream_failed',
    ],
  ])('%s in mid-stream is an error event and no [DONE], and what came is billed', async (_name, script, code) => {
    const { url, nextEnd } = await start({ 'gpt-test': script }, { bodyIdleTimeoutMs: 200 })
    const ended = nextEnd()
    const response = await post(url, { model: 'gpt-test', messages, stream: true })
    expect(response.status).toBe(200)
    const data = await dataOf(response)
    expect(data).toHaveLength(4)
    expect(JSON.parse(data[3] as string)).toMatchObject({ error: { code } })
    const written = wordsOf().slice(0, 2).join('')
    expect((await ended).usage).toMatchObject({ outputTokens: byteTokenizer.count(written), estimated: true })
  })

  it('an error as the first event is a real HTTP error', async () => {
    const error = { message: 'too long', type: 'invalid_request_error', code: 'context_length_exceeded' }
    const { url } = await start({ 'gpt-test': { errorAfter: { events: 0, error } } })
    const response = await post(url, { model: 'gpt-test', messages, stream: true })
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: { message: expect.stringContaining('too long') } },
    ])
  })

  it('a stream without [DONE] but with a finish reason is whole', async () => {
    const { client } = await start({ 'gpt-test': { withoutDone: true, usage: false } })
    const final = await client.chat.completions.stream({ model: 'gpt-test', messages }).finalChatCompletion()
    expect(final.choices[0]?.message.content).toBe(wordsOf().join(''))
  })

  it('a stream that ends when only one of two answers has is cut', async () => {
    const text = 'one two'
    const { url } = await start({ 'gpt-test': { text, cutAfter: 4, usage: false } })
    const data = await dataOf(await post(url, { model: 'gpt-test', messages, stream: true, n: 2 }))
    expect(JSON.parse(data.at(-1) as string)).toMatchObject({ error: { code: 'upstream_invalid' } })
  })

  it('a stream without usage is counted by the given tokenizer', async () => {
    const tokenizer = { name: 'words', count: (text: string) => wordsOf(text).length }
    const { url, nextEnd } = await start({ 'gpt-test': { usage: false } }, { tokenizer })
    const ended = nextEnd()
    await (await post(url, { model: 'gpt-test', messages, stream: true })).text()
    expect((await ended).usage).toMatchObject({ outputTokens: wordsOf().length, estimated: true })
  })

  it('every answer of several without usage is counted, streamed or not', async () => {
    const tokenizer = { name: 'words', count: (text: string) => wordsOf(text).length }
    const { url, nextEnd } = await start({ 'gpt-test': { usage: false } }, { tokenizer })
    for (const stream of [false, true]) {
      const ended = nextEnd()
      await (await post(url, { model: 'gpt-test', messages, stream, n: 3 })).text()
      // The words that meet at the end of one streamed answer and the beginning of the next may be counted as one.
      expect(completionTokens((await ended).usage as Usage)).toBeGreaterThanOrEqual(3 * wordsOf().length - 2)
    }
  })

  it('a body that is nested too deeply to be passed on is refused, and not sent', async () => {
    const { url, upstream } = await start()
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
    for (const stream of [false, true]) {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: `{"model":"gpt-test","messages":${JSON.stringify(messages)},"stream":${stream},"metadata":${deep}}`,
      })
      expect([response.status, await response.json()]).toMatchObject([400, { error: { code: 'invalid_request' } }])
    }
    expect(upstream.calls).toHaveLength(0)
  })

  it('an event without end is an error, and the connection is closed', async () => {
    const { url, upstream } = await start({ 'gpt-test': { text: 'x'.repeat(5000) } }, { maxEventBytes: 2048 })
    const called = upstream.next()
    const response = await post(url, { model: 'gpt-test', messages, stream: true })
    // Nothing of an answer had come, so that it can be told by a status.
    expect([response.status, await response.json()]).toMatchObject([502, { error: { code: 'upstream_invalid' } }])
    await (await called).broken
  })

  it('a success without an answer in it is an error, and billed as the upstream bills it', async () => {
    const usage = { prompt_tokens: 900, completion_tokens: 100, total_tokens: 1000 }
    const body = { choices: [{ index: 0, finish_reason: 'content_filter' }], usage }
    const { url, nextEnd } = await start({ 'gpt-test': { answer: { status: 200, body } } })
    const ended = nextEnd()
    expect((await post(url, { model: 'gpt-test', messages })).status).toBe(502)
    expect((await ended).usage).toEqual({ inputTokens: 900, outputTokens: 100, estimated: false })
  })

  it('an answer over the limit is refused', async () => {
    const { url } = await start({ 'gpt-test': { text: 'x'.repeat(5000) } }, { maxResponseBytes: 2048 })
    const response = await post(url, { model: 'gpt-test', messages })
    expect([response.status, await response.json()]).toMatchObject([502, { error: { code: 'upstream_invalid' } }])
  })
})

describe('callers who leave', () => {
  it('stops a whole answer that is under way, and bills its prompt', async () => {
    const { url, upstream, nextEnd } = await start({ 'gpt-test': { stallAfter: -1 } })
    const ended = nextEnd()
    const called = upstream.next()
    const leaving = new AbortController()
    const answer = post(url, { model: 'gpt-test', messages }, { signal: leaving.signal }).catch(() => {})
    const call = await called
    leaving.abort()
    expect(await call.broken).toBe(true)
    await answer
    const context = await ended
    expect(context.usage).toMatchObject({ outputTokens: 0, estimated: true })
    expect(context.usage?.inputTokens).toBeGreaterThan(4)
  })

  it('stops a stream whose reader does not read, once it has gone', async () => {
    const text = 'word '.repeat(60_000)
    const { url, upstream, nextEnd } = await start({ 'gpt-test': { text } })
    const ended = nextEnd()
    const called = upstream.next()
    const body = JSON.stringify({ model: 'gpt-test', messages, stream: true })
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.write(
      `POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    )
    await once(socket, 'readable')
    const call = await called
    // Unread: the sockets' buffers fill up, and the upstream comes to a standstill long before its end.
    await expect
      .poll(
        async () => {
          const before = call.events
          await new Promise((resolve) => setTimeout(resolve, 150))
          return call.events === before
        },
        { timeout: 20_000 },
      )
      .toBe(true)
    expect(call.events).toBeLessThan(55_000)
    socket.destroy()
    expect(await call.broken).toBe(true)
    const { usage } = await ended
    expect(usage?.estimated).toBe(true)
    expect(completionTokens(usage as never)).toBeGreaterThan(100)
  })
})

describe('without an upstream that speaks the API', () => {
  it('streams typed parts in the shape the SDK wants', async () => {
    const { client, nextEnd } = await start()
    const ended = nextEnd()
    const stream = await client.chat.completions.create({
      model: 'echo',
      messages,
      stream: true,
      stream_options: { include_usage: true },
    })
    const chunks = await collected(stream)
    expect(chunks[0]?.choices[0]?.delta).toEqual({ role: 'assistant', content: '' })
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe(messages[0]?.content)
    expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe('stop')
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 7 } })
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true)
    expect((await ended).usage).toEqual({ inputTokens: 7, outputTokens: 7, estimated: false })
  })

  it('has no usage key in a stream whose caller did not ask', async () => {
    const { url } = await start()
    const data = await dataOf(await post(url, { model: 'echo', messages, stream: true }))
    for (const each of data.slice(0, -1)) expect(JSON.parse(each)).not.toHaveProperty('usage')
    expect(data.at(-1)).toBe('[DONE]')
  })

  it('answers whole, and cuts at max_tokens', async () => {
    const { client } = await start()
    const { choices, usage, model } = await client.chat.completions.create({ model: 'echo', messages, max_tokens: 2 })
    expect(choices[0]).toMatchObject({ finish_reason: 'length', message: { role: 'assistant', content: 'Say hell' } })
    expect([usage?.completion_tokens, model]).toEqual([2, 'echo'])
  })

  it('refuses more than one answer, naming the field', async () => {
    const { url } = await start()
    for (const stream of [false, true]) {
      const response = await post(url, { model: 'echo', messages, n: 2, stream })
      expect([response.status, await response.json()]).toMatchObject([400, { error: { param: 'n' } }])
    }
  })
})

describe('the gate', () => {
  it('asks about the target that is dispatched, before it is', async () => {
    const { service, upstream } = await gate()
    const asked: unknown[] = []
    const refuse: Handler = middleware('refuse', (context) => {
      onDispatch(context, async (_context, target) => {
        asked.push(target)
        throw new TollgateError('price_unknown', 'No price.')
      })
    })
    const { url } = await listen(listener(refuse, chatCompletions({ service }), errorHandler({ log: quiet })))
    for (const stream of [false, true]) {
      expect((await post(url, { model: 'fast', messages, stream })).status).toBe(400)
    }
    expect(asked).toEqual(Array(2).fill({ provider: 'up', model: 'gpt-test' }))
    expect(upstream.calls).toHaveLength(0)
  })

  it('stops at the deadline of the request, and says which it was', async () => {
    const { service, upstream } = await gate({ 'gpt-test': { stallAfter: -1 } })
    const errors: unknown[] = []
    const deadline = middleware('deadline', (context) => {
      context.deadline = Date.now() + 50
    })
    const { url } = await listen((req, res) => {
      contextOf(req, res)
      const catching: Handler = (request, response, next) =>
        chatCompletions({ service })(request, response, (error) => {
          errors.push(error)
          next(error)
        })
      listener(deadline, catching, errorHandler({ log: quiet }))(req, res)
    })
    const called = upstream.next()
    expect((await post(url, { model: 'gpt-test', messages })).status).toBe(504)
    expect(isTollgateError(errors[0], 'timeout')).toBe(true)
    expect(await (await called).broken).toBe(true)
  })

  it('answers 404 naming what exists, 405 with Allow, and 400 for bad JSON', async () => {
    const { service } = await gate()
    const only = inferenceService({ providers: [echoProvider({ tokenizer: byteTokenizer })] })
    const { url } = await listen(listener(chatCompletions({ service: only }), errorHandler({ log: quiet })))
    const unknown = await post(url, { model: 'nope', messages })
    expect([unknown.status, await unknown.json()]).toMatchObject([
      404,
      { error: { code: 'model_not_found', message: expect.stringMatching(/"nope".*echo/) } },
    ])
    const get = await fetch(url)
    expect([get.status, get.headers.get('allow')]).toEqual([405, 'POST'])
    const bad = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{' })
    expect(bad.status).toBe(400)
    await service.ready()
  })

  it('refuses options that are wrong', () => {
    expect(() => chatCompletions({} as never)).toThrow(/service/)
    expect(() => chatCompletions({ service: {}, hearbeatMs: 5 } as never)).toThrow(/hearbeatMs/)
  })
})
