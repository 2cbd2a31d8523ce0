import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect as connectSocket } from 'node:net'
import compression from 'compression'
import express from 'express'
import { expect, it } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { quietLog, throws } from '../../test/throwing.js'
import { TollgateError } from '../errors.js'
import { contextOf } from '../http/context.js'
import { dialect } from '../http/dialect.js'
import { endpoint, listener, middleware } from '../http/handler.js'
import { onEnd, type RequestEnd } from '../http/observe.js'
import { sendJson } from '../http/respond.js'
import { openEventStream } from '../http/sse.js'
import type { Problem } from '../wire/problem.js'
import { errorHandler, writeError } from './error-handler.js'

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
