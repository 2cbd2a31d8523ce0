import { describe, expect, it } from 'vitest'
import { dataOf, messages, post, start } from '../../test/chat-gate.js'
import { type UpstreamScript, upstreamKey, wordsOf } from '../../test/openai-upstream.js'
import { byteTokenizer } from '../providers/count-tokens.js'
import { completionTokens, type Usage } from '../usage.js'

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
