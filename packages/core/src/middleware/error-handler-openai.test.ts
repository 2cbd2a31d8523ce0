import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { listen } from '../../test/hosts.js'
import { throws } from '../../test/throwing.js'
import { TollgateError } from '../errors.js'
import { dialect } from '../http/dialect.js'
import { endpoint, listener } from '../http/handler.js'
import { openEventStream } from '../http/sse.js'
import type { OpenAiError } from '../wire/problem.js'
import { errorHandler } from './error-handler.js'

describe('in the words of OpenAI', () => {
  const answer = async (error: TollgateError) => {
    const { url } = await listen(listener(dialect('openai'), throws(error), errorHandler()))
    const response = await fetch(url)
    return { response, body: (await response.json()) as OpenAiError }
  }

  it.each([
    ['invalid_credentials', 'invalid_api_key', 'authentication_error'],
    ['rate_limited', 'rate_limit_exceeded', 'rate_limit_error'],
    ['budget_exceeded', 'insufficient_quota', 'insufficient_quota'],
    ['model_not_found', 'model_not_found', 'invalid_request_error'],
  ] as const)('%s is %s', async (code, theirs, type) => {
    const { response, body } = await answer(new TollgateError(code, 'Words.'))
    expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8')
    expect(body).toEqual({ error: { message: 'Words.', type, param: null, code: theirs } })
  })

  it('names the field', async () => {
    const errors = [{ path: 'messages[0].role', message: 'is required' }]
    const { body } = await answer(new TollgateError('invalid_request', 'x', { errors }))
    expect(body.error.param).toBe('messages[0].role')
  })

  it('stops the clients from retrying in vain, and tells them when to', async () => {
    const header = async (error: TollgateError) => (await answer(error)).response.headers
    expect((await header(new TollgateError('conflict', 'x'))).get('x-should-retry')).toBe('false')
    expect((await header(new TollgateError('upstream_credentials', 'x'))).get('x-should-retry')).toBe('false')
    expect((await header(new TollgateError('upstream_failed', 'x'))).get('x-should-retry')).toBeNull()
    expect((await header(new TollgateError('forbidden', 'x'))).get('x-should-retry')).toBeNull()
    const soon = await header(new TollgateError('rate_limited', 'x', { retryAfterMs: 250.5 }))
    expect([soon.get('retry-after'), soon.get('retry-after-ms'), soon.get('x-should-retry')]).toEqual([
      '1',
      '251',
      null,
    ])
    const late = await header(new TollgateError('rate_limited', 'x', { retryAfterMs: 3_600_000 }))
    expect([late.get('retry-after'), late.get('x-should-retry')]).toEqual(['3600', 'false'])
  })

  it("is understood by OpenAI's own client, before and within a stream", async () => {
    let calls = 0
    const chat = endpoint('chat', async (_context, _req, res) => {
      calls += 1
      if (calls === 1) throw new TollgateError('invalid_credentials', 'This key is not known.')
      const stream = openEventStream(res)
      await stream.send('data: {"id":"1","object":"chat.completion.chunk","choices":[]}\n\n')
      throw new TollgateError('timeout', 'Too long.')
    })
    const { url } = await listen(listener(dialect('openai'), chat, errorHandler()))
    const openai = new OpenAI({ apiKey: 'x', baseURL: url })
    const ask = () => openai.chat.completions.create({ model: 'm', messages: [], stream: true })
    await expect(ask()).rejects.toMatchObject({ status: 401, code: 'invalid_api_key', requestID: expect.any(String) })
    const stream = await ask()
    const read = async () => {
      for await (const chunk of stream) expect(chunk.id).toBe('1')
    }
    await expect(read()).rejects.toMatchObject({ code: 'timeout', type: 'timeout_error' })
    expect(calls).toBe(2)
  })
})
