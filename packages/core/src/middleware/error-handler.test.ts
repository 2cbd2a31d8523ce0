import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect as connectSocket } from 'node:net'
import { gzipSync } from 'node:zlib'
import compression from 'compression'
import connect from 'connect'
import express from 'express'
import express4 from 'express4'
import OpenAI from 'openai'
import { describe, expect, it, vi } from 'vitest'
import { z } from 'zod'
import { eachHost, listen } from '../../test/hosts.js'
import { TollgateError } from '../errors.js'
import { contextOf, type Log } from '../http/context.js'
import { dialect } from '../http/dialect.js'
import { endpoint, type Handler, listener, middleware } from '../http/handler.js'
import { onEnd, type RequestEnd } from '../http/observe.js'
import { sendJson } from '../http/respond.js'
import { openEventStream } from '../http/sse.js'
import type { OpenAiError, Problem } from '../wire/problem.js'
import { errorHandler, writeError } from './error-handler.js'

const throws = (error: unknown): Handler =>
  endpoint('throws', () => {
    throw error
  })

function quietLog() {
  const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() } satisfies Log
  return log
}

/** A raw HTTP/1.1 exchange: everything the server sends until it closes. */
function exchange(url: string, send: (write: (text: string | Buffer) => void) => void): Promise<string> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ host: hostname, port: Number(port) })
    const received: Buffer[] = []
    socket.on('data', (chunk) => received.push(chunk))
    socket.on('error', reject)
    socket.on('close', () => resolve(Buffer.concat(received).toString('latin1')))
    socket.on('connect', () => send((text) => void socket.write(text)))
  })
}

eachHost((host) => {
  it('answers a problem, after a synchronous and an asynchronous throw', async () => {
    const error = new TollgateError('rate_limited', 'Slow down.', {
      retryAfterMs: 1_200,
      headers: { 'x-extra': 'yes' },
      details: {
        type: 'urn:x:quota',
        'violated-policies': ['a'],
        status: 200,
        code: 'forged',
        ab: 1,
        '1x': 1,
        big: 1n,
      },
    })
    for (const handler of [throws(error), endpoint('rejects', async () => Promise.reject(error))]) {
      const { url } = await host.start(handler, errorHandler())
      const response = await fetch(url, { headers: { 'x-request-id': 'abc' } })
      expect(response.status).toBe(429)
      expect(Object.fromEntries(response.headers)).toMatchObject({
        'content-type': 'application/problem+json',
        'retry-after': '2',
        'x-extra': 'yes',
        'x-request-id': 'abc',
        'cache-control': 'no-store',
      })
      const text = await response.text()
      expect(response.headers.get('content-length')).toBe(String(text.length))
      const { timestamp, ...rest } = JSON.parse(text) as Problem
      expect(rest).toEqual({
        type: 'urn:x:quota',
        title: 'Quota Exceeded',
        status: 429,
        detail: 'Slow down.',
        code: 'rate_limited',
        request_id: 'abc',
        'violated-policies': ['a'],
      })
      expect(new Date(timestamp).toISOString()).toBe(timestamp)
    }
  })

  it('says nothing of an error it does not know, and logs it once', async () => {
    const log = quietLog()
    const cause = Object.assign(new Error('connect to db://root:hunter2@db.internal with Bearer abcdef123456'), {
      config: { headers: { authorization: 'Bearer abcdef123456' } },
    })
    const { url } = await host.start(throws(cause), errorHandler({ log }), errorHandler({ log }))
    const response = await fetch(url)
    expect(response.status).toBe(500)
    const body = (await response.json()) as Problem
    expect(body).toMatchObject({ code: 'internal', type: 'about:blank', title: 'Internal Server Error' })
    expect(JSON.stringify(body)).not.toMatch(/root|hunter2|internal\W*with/)
    expect(log.error).toHaveBeenCalledOnce()
    const logged = JSON.stringify(log.error.mock.calls)
    expect(logged).toContain('connect to db://[redacted]@db.internal with Bearer [redacted]')
    expect(logged).toContain(body.request_id)
    expect(logged).not.toContain('abcdef123456')
  })

  it('answers HEAD without a body, and with the length of what GET would get', async () => {
    const { url } = await host.start(throws(new TollgateError('forbidden', 'no')), errorHandler())
    const response = await fetch(url, { method: 'HEAD' })
    expect(response.status).toBe(403)
    expect(Number(response.headers.get('content-length'))).toBeGreaterThan(100)
    expect(await response.text()).toBe('')
  })

  it('ends a stream that has begun with the error, in the dialect', async () => {
    const streams = endpoint('streams', async (_context, _req, res) => {
      const stream = openEventStream(res)
      await stream.send('data: {"a":1}\n\n')
      throw new TollgateError('upstream_failed', 'The upstream broke off.')
    })
    const problems = await host.start(streams, errorHandler())
    const text = await (await fetch(problems.url)).text()
    expect(text).toMatch(
      /^data: \{"a":1\}\n\nevent: error\ndata: \{"type":"about:blank".*"code":"upstream_failed".*\}\n\n$/,
    )
    const openai = await host.start(dialect('openai'), streams, errorHandler())
    expect(await (await fetch(openai.url)).text()).toBe(
      'data: {"a":1}\n\ndata: {"error":{"message":"The upstream broke off.","type":"upstream_error","param":null,"code":"upstream_failed"}}\n\n',
    )
  })

  it('cuts any other answer that has begun', async () => {
    const half = endpoint('half', async (_context, _req, res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
      res.write('{"half":')
      throw new TollgateError('upstream_failed', 'x')
    })
    const { url } = await host.start(half, errorHandler())
    await expect(fetch(url).then((response) => response.text())).rejects.toThrow()
  })

  it('takes away what described the answer that never came, and leaves the rest', async () => {
    const prepares = middleware('prepares', (_context, _req, res) => {
      res.setHeader('content-encoding', 'gzip')
      res.setHeader('content-length', '3')
      res.setHeader('etag', '"x"')
      res.setHeader('cache-control', 'public, max-age=60')
      res.setHeader('ratelimit', '"a";r=1')
      res.setHeader('access-control-allow-origin', '*')
      res.setHeader('x-content-type-options', 'nosniff')
      res.statusMessage = 'Fine'
      throw new TollgateError('conflict', 'x')
    })
    const { url } = await host.start(prepares, errorHandler())
    const response = await fetch(url)
    expect(response.statusText).toBe('Conflict')
    expect(await response.json()).toMatchObject({ code: 'conflict' })
    expect(response.headers.get('etag')).toBeNull()
    expect(response.headers.get('content-encoding')).toBeNull()
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'cache-control': 'no-store',
      ratelimit: '"a";r=1',
      'access-control-allow-origin': '*',
      'x-content-type-options': 'nosniff',
    })
  })

  it('lets a caller that uploads 10 MB see the refusal', async () => {
    const body = Buffer.alloc(10_485_760, 'x')
    const refuses = await host.start(throws(new TollgateError('payload_too_large', 'Too large.')), errorHandler())
    const response = await fetch(refuses.url, { method: 'POST', body })
    expect(response.status).toBe(413)
    expect(response.headers.get('connection')).toBe('close')
    expect(await response.json()).toMatchObject({ code: 'payload_too_large' })
    // One that reads nothing before it has written everything.
    const answer = await exchange(refuses.url, (write) => {
      write(`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n`)
      write(body)
    })
    expect(answer).toMatch(/^HTTP\/1.1 413 [\s\S]*"code":"payload_too_large"/)
  })

  it('closes the connection after a refusal only where a large body is on its way', async () => {
    const { url } = await host.start(throws(new TollgateError('unauthenticated', 'x')), errorHandler())
    const small = await fetch(url, { method: 'POST', body: 'small' })
    expect([small.status, small.headers.get('connection')]).toEqual([401, 'keep-alive'])
    const large = await fetch(url, { method: 'POST', body: Buffer.alloc(1_000_000) })
    expect([large.status, large.headers.get('connection')]).toEqual([401, 'close'])
  })
})

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

describe('errors of others', () => {
  const told = async (error: unknown, context: { log: Log } = { log: quietLog() }) => {
    const { url } = await listen(listener(throws(error), errorHandler(context)))
    const response = await fetch(url)
    return { headers: response.headers, ...((await response.json()) as Problem) }
  }

  it.each([
    ['Express 5', () => express(), express],
    ['Express 4', () => express4(), express4],
    ['Connect', () => connect(), express],
  ])("are mapped from body-parser's on %s", async (_name, make, parsers) => {
    const app = make() as ReturnType<typeof express>
    app.use(
      parsers.json({
        limit: 50,
        verify: (_req, _res, bytes) => {
          if (bytes.includes('forbidden')) throw new Error('secret reason')
        },
      }),
    )
    app.use(endpoint('fine', (_context, _req, res) => void res.end('fine')))
    app.use(errorHandler({ log: quietLog() }))
    const { url } = await listen(app)
    const post = async (body: string | Buffer, headers: Record<string, string> = {}) => {
      const response = await fetch(url, {
        method: 'POST',
        body: body as string,
        headers: { 'content-type': 'application/json', ...headers },
      })
      return (await response.json()) as Problem
    }
    expect(await post('{"password": hunter2}')).toMatchObject({ code: 'invalid_json', status: 400 })
    expect(JSON.stringify(await post('{"password": hunter2}'))).not.toContain('hunter2')
    expect(await post('"text"')).toMatchObject({ code: 'invalid_json', status: 400 })
    expect(await post('x'.repeat(51))).toMatchObject({
      code: 'payload_too_large',
      status: 413,
      detail: 'The body is over the limit of 50 bytes.',
    })
    expect(await post('{}', { 'content-encoding': 'zip' })).toMatchObject({
      code: 'unsupported_media_type',
      status: 415,
    })
    expect(await post('{}', { 'content-type': 'application/json; charset=koi8' })).toMatchObject({ status: 415 })
    expect(await post('{"forbidden":1}')).toMatchObject({ code: 'forbidden', status: 403 })
    expect(await post(gzipSync('{"a":1'), { 'content-encoding': 'gzip' })).toMatchObject({ code: 'invalid_json' })
  })

  it.each([express, express4])("are mapped from Express's router: a path that cannot be decoded", async (make) => {
    const app = make()
    app.get('/:name', (_req: unknown, res: { end(): void }) => res.end())
    app.use(errorHandler())
    const { url } = await listen(app)
    const response = await fetch(`${url}/%ff`)
    expect(await response.json()).toMatchObject({ code: 'invalid_request', status: 400, errors: [{ path: 'path' }] })
  })

  it('are mapped from zod: every field is named', async () => {
    const { error } = z.object({ a: z.object({ b: z.number() }) }).safeParse({ a: { b: 'x' } })
    expect(await told(error)).toMatchObject({
      status: 400,
      code: 'invalid_request',
      detail: 'a.b: expected a number, got a string.',
      errors: [{ path: 'a.b', message: 'expected a number, got a string' }],
    })
  })

  it('are mapped from http-errors and its like: words are shown only where they say so', async () => {
    const like = (fields: object) => Object.assign(new Error('inside'), fields)
    expect(await told(like({ status: 404, expose: true }))).toMatchObject({ code: 'not_found', detail: 'inside' })
    expect(await told(like({ status: 404, expose: false }))).toMatchObject({ code: 'not_found', detail: 'Not Found.' })
    expect(await told(like({ statusCode: 418 }))).toMatchObject({ status: 418, code: 'invalid_request' })
    expect(await told(like({ status: 503 }))).toMatchObject({ status: 503, code: 'overloaded' })
    expect(await told(like({ status: 200 }))).toMatchObject({ status: 500, code: 'internal' })
    const limited = await told(like({ status: 429, headers: { 'retry-after': '7', 'x-bad': 'a\nb', n: 1 } }))
    expect([limited.status, limited.headers.get('retry-after')]).toEqual([429, '7'])
  })

  it("never pass an upstream's refusal on as ours", async () => {
    const theirs = OpenAI.APIError.generate(401, { error: { message: 'sk-secret' } }, 'x', new Headers())
    expect(await told(theirs)).toMatchObject({ status: 502, code: 'upstream_credentials' })
    const bad = OpenAI.APIError.generate(400, { error: { message: 'no such tool' } }, 'x', new Headers())
    expect(await told(bad)).toMatchObject({ status: 502, code: 'upstream_failed', detail: 'The upstream failed.' })
  })

  it.each([undefined, null, 'text', 0, Object.create(null)])('may be no errors at all: %s', async (thrown) => {
    expect(await told(thrown)).toMatchObject({ status: 500, code: 'internal' })
  })

  it('may throw when they are read', async () => {
    const hostile = Object.defineProperty(new Error('x'), 'status', {
      get() {
        throw new Error('gotcha')
      },
    })
    expect(await told(hostile)).toMatchObject({ status: 500, code: 'internal' })
  })

  it('are aborts: the reason of the signal counts', async () => {
    const abort = new DOMException('aborted', 'AbortError')
    expect(await told(abort)).toMatchObject({ code: 'internal' })
    expect(await told(new DOMException('late', 'TimeoutError'))).toMatchObject({ status: 504, code: 'timeout' })
  })
})

it('shows internal words only when told to', async () => {
  const error = new TollgateError('config_invalid', 'auth() has to come first.', { details: { hint: 'auth' } })
  const told = async (exposeInternal: boolean) => {
    const { url } = await listen(listener(throws(error), errorHandler({ exposeInternal, log: quietLog() })))
    return (await (await fetch(url)).json()) as Problem
  }
  const hidden = await told(false)
  expect(hidden.detail).not.toContain('auth')
  expect(hidden).not.toHaveProperty('hint')
  expect(await told(true)).toMatchObject({ detail: 'auth() has to come first.', hint: 'auth' })
})

it('points to where errors are described', async () => {
  const { url } = await listen(
    listener(
      throws(new TollgateError('budget_exceeded', 'x')),
      errorHandler({ problemBaseUrl: 'https://e.example/#' }),
    ),
  )
  expect(await (await fetch(url)).json()).toMatchObject({
    type: 'https://e.example/#budget_exceeded',
    title: 'Budget exceeded',
  })
})

it('writes nothing to a caller that has left, and ends as aborted', async () => {
  const log = quietLog()
  let ended: (end: RequestEnd & { error: unknown }) => void = () => {}
  const end = new Promise<RequestEnd & { error: unknown }>((resolve) => {
    ended = resolve
  })
  let arrive: () => void = () => {}
  const arrived = new Promise<void>((resolve) => {
    arrive = resolve
  })
  const { url } = await listen(
    listener(
      endpoint('waits', async (context, req, res) => {
        arrive()
        onEnd(req, res, (how) => ended({ ...how, error: context.error }))
        await new Promise((_resolve, reject) =>
          context.signal.addEventListener('abort', () => reject(context.signal.reason)),
        )
      }),
      errorHandler({ log }),
    ),
  )
  const { hostname, port } = new URL(url)
  const socket = connectSocket({ host: hostname, port: Number(port) })
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  await arrived
  socket.destroy()
  expect(await end).toMatchObject({ status: 499, aborted: true })
  expect(log.error).not.toHaveBeenCalled()
})

it('sends a stream error through compression at once', async () => {
  const app = express()
  app.use(compression({ threshold: 0 }))
  app.use(
    endpoint('streams', async (_context, _req, res) => {
      await openEventStream(res).send('data: 1\n\n')
      throw new TollgateError('timeout', 'x')
    }),
    errorHandler(),
  )
  const { url } = await listen(app)
  expect(await (await fetch(url)).text()).toMatch(/^data: 1\n\nevent: error\n/)
})

it('does nothing after a complete answer, and never throws', async () => {
  const { url } = await listen(
    listener((req: IncomingMessage, res: ServerResponse) => {
      sendJson(res, 200, { fine: true })
      writeError(new TollgateError('timeout', 'x'), req, res)
      expect(contextOf(req, res).error).toBeUndefined()
    }),
  )
  expect(await (await fetch(url)).json()).toEqual({ fine: true })
})

it('refuses options it does not know', () => {
  expect(() => errorHandler({ problemBaseURL: 'x' } as object)).toThrow(/problemBaseURL/)
})
