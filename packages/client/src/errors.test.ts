import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { type Answer, failure, json, problem, serve } from '../test/fixture-server.js'
import { type ClientOptions, createClient, isTollgateClientError } from './index.js'

const ok = json({ response: 'hi' })
const prompt = { prompt: 'tell nobody' }
const clientOf = (url: string, options: Partial<ClientOptions> = {}) =>
  createClient({ baseUrl: url, apiKey: 'secret-key', backoffBaseMs: 1, ...options })

describe('errors', () => {
  it('reads a problem with its fields', async () => {
    const errors = [{ path: 'prompt', message: 'is too short' }]
    const { url } = await serve(problem(400, 'invalid_request', { errors, hint: 'longer' }))
    const error = await failure(clientOf(url).inference(prompt))
    expect(error).toMatchObject({
      name: 'ApiError',
      code: 'invalid_request',
      status: 400,
      message: 'It was invalid_request.',
      requestId: 'req-p',
      errors,
    })
    expect(isTollgateClientError(error, 'invalid_request')).toBe(true)
    expect(isTollgateClientError(error, 'rate_limited')).toBe(false)
    expect((error as { problem: unknown }).problem).toMatchObject({ hint: 'longer' })
  })

  it("reads OpenAI's errors, and whatever else", async () => {
    const openai = { error: { message: 'No.', type: 'invalid_request_error', param: 'model', code: 'model_not_found' } }
    const cases: Array<[Answer, object]> = [
      [json(openai, 404), { code: 'model_not_found', message: 'No.', type: 'invalid_request_error', param: 'model' }],
      [json({ error: { message: 'No.', type: 'billing_error' } }, 402), { code: 'billing_error' }],
      [json([1], 404), { code: 'http_404', message: 'The server answered 404.' }],
      [json('{', 404, { 'content-type': 'application/json' }), { code: 'http_404' }],
      [(res) => res.writeHead(404, { 'content-type': 'application/json' }).end('{"code":'), { code: 'http_404' }],
      [(res) => res.writeHead(404).end(), { code: 'http_404' }],
    ]
    for (const [answer, expected] of cases) {
      const { url } = await serve(answer)
      expect(await failure(clientOf(url).inference(prompt))).toMatchObject({ kind: 'api', ...expected })
    }
  })

  it('puts no prompt, key or header into JSON, nor into what is printed', async () => {
    const reset: Answer = (_, __, req) => req.socket.destroy()
    const html: Answer = (res) => res.writeHead(200, { 'content-type': 'text/html' }).end('tell nobody secret-key')
    for (const answer of [problem(500, 'internal', { echo: prompt.prompt }), reset, html, () => {}]) {
      const { url } = await serve(answer)
      const client = clientOf(url, { timeoutMs: 200, headers: { cookie: 'session=abc' } })
      const error = await failure(client.inference(prompt))
      expect(isTollgateClientError(error)).toBe(true)
      for (const text of [JSON.stringify(error), inspect(error, { depth: 10 })]) {
        expect(text).not.toMatch(/tell nobody|secret-key|session=abc/)
      }
    }
  })

  it('knows its errors across copies of the package', () => {
    const foreign = Object.assign(new Error('x'), { code: 'rate_limited' })
    expect(isTollgateClientError(foreign)).toBe(false)
    Object.defineProperty(foreign, Symbol.for('tollgate.client-error'), { value: true })
    expect(isTollgateClientError(foreign, 'rate_limited')).toBe(true)
    for (const value of [null, undefined, 'x', 1]) expect(isTollgateClientError(value)).toBe(false)
  })

  it.each<[string, Answer]>([
    ['HTML', (res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Hotel WLAN</h1>')],
    ['an empty body', (res) => res.writeHead(204).end()],
    ['half of a JSON', (res) => res.writeHead(200, { 'content-type': 'application/json' }).end('{"response":')],
    ['an array', json([])],
    ['other JSON', json({ hello: 1 })],
  ])('refuses a success that is %s', async (_, answer) => {
    const { url, requests } = await serve(answer)
    const error = await failure(clientOf(url).inference(prompt))
    expect(error).toMatchObject({ kind: 'response', code: 'response_invalid' })
    expect(requests).toHaveLength(1)
    if (_ === 'HTML') expect((error as { snippet: string }).snippet).toBe('<h1>Hotel WLAN</h1>')
  })

  it('refuses an answer over its limit, and lets go of the rest', async () => {
    const { url } = await serve(json({ response: 'x'.repeat(100_000) }))
    const error = await failure(clientOf(url, { maxResponseBytes: 1000 }).inference(prompt))
    expect(error).toMatchObject({ kind: 'response', code: 'response_too_large' })
  })

  it('tells a connection lost within an answer, and tries again', async () => {
    const half: Answer = (res, _, req) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' })
      res.write('{"response":', () => req.socket.destroy())
    }
    const { url } = await serve(half, ok)
    expect(await clientOf(url).inference(prompt)).toEqual({ response: 'hi' })
    const error = await failure(clientOf((await serve(half)).url, { maxAttempts: 1 }).inference(prompt))
    expect(error).toMatchObject({ kind: 'connection', phase: 'body' })
  })

  it('follows no redirect', async () => {
    const target = await serve(ok)
    for (const status of [301, 302, 307, 308]) {
      const { url } = await serve((res) => res.writeHead(status, { location: `${target.url}/inference?key=1` }).end())
      const error = await failure(clientOf(url).inference(prompt))
      expect(error).toMatchObject({ kind: 'response', code: 'redirected', status })
      expect((error as Error).message).toContain(`${target.url}/inference.`)
    }
    expect(target.requests).toHaveLength(0)
  })
})
