import { getEventListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import { type Answer, chunk, done, eventStream, failure, json, problem, serve } from '../test/fixture-server.js'
import { type ClientOptions, createClient, responseOf } from './index.js'

const request = { model: 'm', messages: [{ role: 'user' as const, content: 'hi' }] }
const clientOf = (url: string, options: Partial<ClientOptions> = {}) =>
  createClient({ baseUrl: url, apiKey: 'k', backoffBaseMs: 1, ...options })

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

const role = `data: ${JSON.stringify({ id: 'c1', choices: [{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }] })}\n\n`
const inBand = (code: string, type: string) =>
  `data: ${JSON.stringify({ error: { message: 'No.', type, code, param: null } })}\n\n`
const hello = [role, chunk('Hel'), ': ping\n\n', chunk('lo 😀'), chunk(undefined, 'stop')]
const usage = chunk(undefined, null, { choices: [], usage: { prompt_tokens: 1, completion_tokens: 2 } })
const whole = eventStream([...hello, usage, done])

describe('reading', () => {
  it('yields the chunks, asks for the usage, and keeps what came with the answer', async () => {
    const { url, requests } = await serve(whole)
    const stream = clientOf(url).chat.stream({ ...request, temperature: 0 })
    expect([stream.status, stream.response]).toEqual(['waiting', undefined])
    expect(requests).toHaveLength(0)
    const chunks = await collect(stream)
    expect(chunks).toHaveLength(5)
    expect(stream).toMatchObject({ status: 'completed', response: { requestId: 'req-s', status: 200, attempts: 1 } })
    expect(JSON.parse(requests[0]?.body ?? '')).toEqual({
      ...request,
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
    })
    expect(requests[0]?.headers.accept).toBe('text/event-stream')
    expect(await stream.final()).toMatchObject({ choices: [{ message: { content: 'Hello 😀' } }] })
  })

  it('leaves the usage out if it is told to', async () => {
    const { url, requests } = await serve(whole)
    await clientOf(url)
      .chat.stream({ ...request, stream_options: { include_usage: false } })
      .final()
    expect(JSON.parse(requests[0]?.body ?? '')).toMatchObject({ stream_options: { include_usage: false } })
  })

  it('gives the text, or the whole answer', async () => {
    const { url } = await serve(whole)
    expect(await collect(clientOf(url).chat.stream(request).text())).toEqual(['Hel', 'lo 😀'])
    const answer = await clientOf(url).chat.stream(request).final()
    expect(answer).toEqual({
      id: 'c1',
      object: 'chat.completion',
      created: undefined,
      model: undefined,
      choices: [{ index: 0, message: { role: 'assistant', content: 'Hello 😀' }, finish_reason: 'stop' }],
      usage: { prompt_tokens: 1, completion_tokens: 2 },
    })
    expect(responseOf(answer)?.requestId).toBe('req-s')
  })

  it('puts tool calls and several choices together', async () => {
    const piece = (index: number, delta: object, finish: string | null = null) =>
      `data: ${JSON.stringify({ id: 'c', created: 1, model: 'm', choices: [{ index, delta, finish_reason: finish }] })}\n\n`
    const call = (index: number, text: string, first = {}) => ({
      tool_calls: [{ index, ...first, function: { arguments: text } }],
    })
    const { url } = await serve(
      eventStream([
        piece(1, { content: 'B' }),
        piece(0, { tool_calls: [{ index: 1, id: 'y', type: 'function', function: { name: 'g', arguments: '' } }] }),
        piece(0, { tool_calls: [{ index: 0, id: 'x', type: 'function', function: { name: 'f', arguments: '{"a"' } }] }),
        piece(0, call(0, ':1}')),
        piece(0, call(1, '{}')),
        piece(0, {}, 'tool_calls'),
        piece(1, { refusal: 'no' }, 'stop'),
        done,
      ]),
    )
    const { choices } = await clientOf(url).chat.stream(request).final()
    expect(choices).toEqual([
      {
        index: 0,
        message: {
          role: 'assistant',
          content: null,
          tool_calls: [
            { id: 'x', type: 'function', function: { name: 'f', arguments: '{"a":1}' } },
            { id: 'y', type: 'function', function: { name: 'g', arguments: '{}' } },
          ],
        },
        finish_reason: 'tool_calls',
      },
      { index: 1, message: { role: 'assistant', content: 'B', refusal: 'no' }, finish_reason: 'stop' },
    ])
  })

  it('passes over events that are not chunks', async () => {
    const odd = ['event: ping\n\n', 'data:\n\n', 'event: trace\ndata: {"a":1}\n\n', 'data: [1]\n\n', 'data: null\n\n']
    const { url } = await serve(eventStream([...odd, ...hello, ...odd, done]))
    expect(await collect(clientOf(url).chat.stream(request).text())).toEqual(['Hel', 'lo 😀'])
  })

  it('is read once', async () => {
    const { url, requests } = await serve(whole)
    const stream = clientOf(url).chat.stream(request)
    await collect(stream)
    expect(() => stream[Symbol.asyncIterator]()).toThrow(expect.objectContaining({ code: 'stream_consumed' }))
    expect(await failure(collect(stream.text()))).toMatchObject({ kind: 'usage', code: 'stream_consumed' })
    expect(requests).toHaveLength(1)
  })

  it('uses the connection again after the end', async () => {
    const server = await serve(whole)
    const client = clientOf(server.url)
    for (let round = 0; round < 5; round++) {
      await client.chat.stream(request).final()
      // The answer's last bytes are read behind the reader's back.
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    expect(server.socketCount).toBeLessThan(5)
  })
})

describe('leaving', () => {
  function endless(): { answer: Answer; closed: Promise<void>; sent: () => number } {
    const closed = Promise.withResolvers<void>()
    let sent = 0
    return {
      closed: closed.promise,
      sent: () => sent,
      async answer(res, _, req) {
        req.socket.once('close', () => closed.resolve())
        res.writeHead(200, { 'content-type': 'text/event-stream' })
        while (!res.destroyed) {
          sent += 1
          const more = res.write(chunk('x'.repeat(1000)))
          if (!more) await Promise.race([new Promise((resolve) => res.once('drain', resolve)), closed.promise])
          else await new Promise((resolve) => setImmediate(resolve))
        }
      },
    }
  }

  it('closes the socket when the loop is left', async () => {
    const { answer, closed } = endless()
    const { url } = await serve(answer)
    const stream = clientOf(url).chat.stream(request)
    for await (const _ of stream) break
    await closed
    expect(stream.status).toBe('cancelled')
    expect(await failure(stream.final())).toMatchObject({ code: 'stream_consumed' })
  })

  it('does not read ahead of a slow reader', async () => {
    const { answer, closed, sent } = endless()
    const { url } = await serve(answer)
    const iterator = clientOf(url).chat.stream(request)[Symbol.asyncIterator]()
    await iterator.next()
    let before = -1
    await expect
      .poll(
        () => {
          const isStill = sent() === before
          before = sent()
          return isStill
        },
        { interval: 100, timeout: 10_000 },
      )
      .toBe(true)
    await iterator.return?.()
    await closed
  })

  it('throws when the signal is aborted, with the reason and what had come', async () => {
    const { answer, closed } = endless()
    const { url } = await serve(answer)
    const controller = new AbortController()
    const stream = clientOf(url).chat.stream(request, { signal: controller.signal })
    let seen = 0
    const error = await failure(
      (async () => {
        for await (const _ of stream) if (++seen === 3) controller.abort('enough')
      })(),
    )
    expect(error).toMatchObject({ kind: 'abort', cause: 'enough', partial: { chunkCount: 3, text: 'x'.repeat(3000) } })
    expect(JSON.stringify(error)).not.toContain('xxx')
    expect(stream.status).toBe('failed')
    expect(seen).toBe(3)
    await closed
  })

  it('leaves no listener on a signal that many streams share', async () => {
    const { url } = await serve(whole)
    const { signal } = new AbortController()
    const client = clientOf(url)
    for (let round = 0; round < 25; round++) {
      await client.chat.stream(request, { signal }).final()
      for await (const _ of client.chat.stream(request, { signal })) break
    }
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })

  it('does not wait for the end of the bytes after [DONE], and closes a socket that stays open', async () => {
    const closed = Promise.withResolvers<void>()
    const { url } = await serve((res, recorded, req) => {
      req.socket.once('close', () => closed.resolve())
      return eventStream([...hello, `${done}data: {"junk\n\n`], 'hang')(res, recorded, req)
    })
    expect(await collect(clientOf(url).chat.stream(request).text())).toEqual(['Hel', 'lo 😀'])
    await closed.promise
  })
})

describe('failing', () => {
  const early: Array<[string, Answer]> = [
    ['an error before any content', eventStream([role, inBand('overloaded', 'overloaded_error')])],
    ['an end before any content', eventStream([role])],
    ['a lost connection before any content', eventStream([role], 'reset')],
    ['a status', problem(503, 'overloaded')],
  ]
  it.each(early)('tries again after %s', async (_, answer) => {
    const { url, requests } = await serve(answer, whole)
    const stream = clientOf(url).chat.stream(request)
    expect(await collect(stream.text())).toEqual(['Hel', 'lo 😀'])
    expect(stream.response?.attempts).toBe(2)
    expect(requests[1]?.headers['idempotency-key']).toBe(requests[0]?.headers['idempotency-key'])
  })

  it('tries no further than it may', async () => {
    const { url, requests } = await serve(eventStream([inBand('overloaded', 'overloaded_error')]))
    const error = await failure(clientOf(url).chat.stream(request).final())
    expect(error).toMatchObject({ kind: 'stream', reason: 'error', code: 'overloaded', type: 'overloaded_error' })
    expect((error as { attempts: unknown[] }).attempts).toHaveLength(3)
    const permanent = await serve(eventStream([inBand('invalid_request', 'invalid_request_error')]))
    await failure(clientOf(permanent.url).chat.stream(request).final())
    expect([requests.length, permanent.requests.length]).toEqual([3, 1])
  })

  it.each<[string, Answer, object]>([
    [
      'an error',
      eventStream([...hello, inBand('upstream_failed', 'upstream_error')]),
      { kind: 'stream', reason: 'error', code: 'upstream_failed', requestId: 'req-s', retryable: true },
    ],
    [
      'an error by its name',
      eventStream([...hello, 'event: error\ndata: oops\n\n']),
      { kind: 'stream', reason: 'error', code: 'stream_error' },
    ],
    ['the end of the bytes', eventStream(hello), { kind: 'stream', reason: 'truncated', code: 'stream_truncated' }],
    [
      'a final event without its blank line',
      eventStream([...hello, 'data: [DONE]\n']),
      { kind: 'stream', reason: 'truncated' },
    ],
    ['a lost connection', eventStream(hello, 'reset'), { kind: 'connection', phase: 'stream', requestId: 'req-s' }],
    [
      'nonsense',
      eventStream([...hello, 'data: {"choices\n\n']),
      { kind: 'stream', reason: 'invalid', code: 'stream_invalid' },
    ],
    ['a giant event', eventStream([...hello, chunk('x'.repeat(5000))]), { kind: 'stream', reason: 'too_large' }],
    ['silence', eventStream(hello, 'hang'), { kind: 'timeout', which: 'idle', limitMs: 300 }],
  ])('throws %s after content, with what had come, and does not try again', async (_, answer, expected) => {
    const { url, requests } = await serve(answer)
    const stream = clientOf(url, { maxEventLength: 4000, streamIdleTimeoutMs: 300 }).chat.stream(request)
    const error = await failure(collect(stream))
    expect(error).toMatchObject({ ...expected, partial: { text: 'Hello 😀' }, attempts: [{ attempt: 1 }] })
    expect(stream.status).toBe('failed')
    expect(await failure(stream.final())).toBe(error)
    expect(requests).toHaveLength(1)
    expect(JSON.stringify(error)).not.toContain('Hello')
  })

  it('is kept alive by heartbeats, and not cut by the limits of calls', async () => {
    const slow: Answer = async (res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      for (let beat = 0; beat < 12; beat++) {
        res.write(beat % 2 === 0 ? ': ping\n\n' : chunk('.'))
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      res.end(done)
    }
    const { url } = await serve(slow)
    const limits = { timeoutMs: 250, attemptTimeoutMs: 200, streamIdleTimeoutMs: 400 }
    expect(await collect(clientOf(url, limits).chat.stream(request).text())).toHaveLength(6)
  })

  it('does not take the silence of a reader for the silence of the server', async () => {
    const { url } = await serve(whole)
    const pieces: string[] = []
    for await (const piece of clientOf(url, { streamIdleTimeoutMs: 30 }).chat.stream(request).text()) {
      pieces.push(piece)
      await new Promise((resolve) => setTimeout(resolve, 60))
    }
    expect(pieces).toEqual(['Hel', 'lo 😀'])
  })

  it.each<[string, Answer]>([
    ['JSON', json({ choices: [] })],
    ['HTML', (res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<p>')],
    ['nothing', (res) => res.writeHead(204).end()],
  ])('refuses %s in place of a stream', async (_, answer) => {
    const { url } = await serve(answer)
    expect(await failure(clientOf(url).chat.stream(request).final())).toMatchObject({ code: 'response_invalid' })
  })

  it('tells an answer without its end from a whole one', async () => {
    const unfinished = await serve(eventStream([chunk('Hel'), done]))
    expect(await failure(clientOf(unfinished.url).chat.stream(request).final())).toMatchObject({ reason: 'truncated' })
    const empty = await serve(eventStream([done]))
    expect(await failure(clientOf(empty.url).chat.stream(request).final())).toMatchObject({ reason: 'truncated' })
  })

  it('ends with what onResponse throws, and closes the socket', async () => {
    const closed = Promise.withResolvers<void>()
    const { url } = await serve((res, recorded, req) => {
      req.socket.once('close', () => closed.resolve())
      return eventStream(hello, 'hang')(res, recorded, req)
    })
    const mine = new Error('mine')
    const client = clientOf(url, {
      onResponse() {
        throw mine
      },
    })
    expect(await failure(client.chat.stream(request).final())).toBe(mine)
    await closed.promise
  })

  it('refuses wrong options at once', () => {
    const client = clientOf('http://127.0.0.1:9')
    expect(() => client.chat.stream(request, { maxAttempts: 0 })).toThrow('maxAttempts')
    expect(() => client.chat.stream(5 as never)).toThrow(expect.objectContaining({ code: 'request_invalid' }))
  })
})
