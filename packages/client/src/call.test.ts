import { getEventListeners, once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import ky from 'ky'
import { describe, expect, it } from 'vitest'
import { type Answer, failure, json, problem, serve, silence } from '../test/fixture-server.js'
import { type ClientOptions, createClient, isTollgateClientError, type RetryNotice, responseOf } from './index.js'

const answered = {
  response: 'hi',
  model: 'm',
  prompt_tokens: 1,
  completion_tokens: 1,
  estimated_cost_usd: 0,
  duration_ms: 1,
  request_id: 'r',
  cached: false,
}
const ok = json(answered, 200, { 'x-request-id': 'req-ok' })
const prompt = { prompt: 'tell nobody' }
const quick = { backoffBaseMs: 1, apiKey: 'secret-key' } as const

const clientOf = (url: string, options: Partial<ClientOptions> = {}) =>
  createClient({ baseUrl: url, ...quick, ...options })

describe('one request', () => {
  it('sends only the headers that a browser may, and the whole path below baseUrl', async () => {
    const { url, requests } = await serve(ok)
    const client = createClient({ baseUrl: `${url}/gate/`, apiKey: 'k', headers: { 'x-own': '1' } })
    expect(await client.inference(prompt, { headers: { 'x-call': '2' } })).toEqual(answered)
    const [{ method, path, headers, body } = expect.fail('no request')] = requests
    expect({ method, path, body: JSON.parse(body) }).toEqual({ method: 'POST', path: '/gate/inference', body: prompt })
    expect(headers).toMatchObject({
      authorization: 'Bearer k',
      accept: 'application/json',
      'content-type': 'application/json',
      'x-own': '1',
      'x-call': '2',
    })
    expect(headers['idempotency-key']).toMatch(/^[0-9a-f]{32}$/)
  })

  it('keeps what came with the answer beside it', async () => {
    const limits = { 'ratelimit-policy': '"rpm";q=10;w=60', ratelimit: '"rpm";r=4;t=7' }
    const { url } = await serve(problem(503, 'overloaded'), json(answered, 200, { 'x-request-id': 'req-1', ...limits }))
    const seen: unknown[] = []
    const client = clientOf(url, { onResponse: (info) => seen.push(info) })
    const answer = await client.inference(prompt)
    expect(JSON.parse(JSON.stringify(answer))).toEqual(answered)
    const info = responseOf(answer)
    expect(info).toMatchObject({ status: 200, requestId: 'req-1', attempts: 2 })
    expect(info?.rateLimit?.policies).toEqual([
      { name: 'rpm', limit: 10, windowMs: 60_000, remaining: 4, resetMs: 7000 },
    ])
    expect(seen).toEqual([info])
  })

  it('asks a function for its key before each attempt', async () => {
    const { url, requests } = await serve(problem(503, 'overloaded'), ok)
    let calls = 0
    await clientOf(url, { apiKey: async () => `key-${++calls}` }).inference(prompt)
    expect(requests.map(({ headers }) => headers.authorization)).toEqual(['Bearer key-1', 'Bearer key-2'])
  })

  it('goes through a ky and a fetch of the caller', async () => {
    const { url, requests } = await serve(problem(503, 'overloaded'), ok)
    let fetches = 0
    const own = ky.create({
      retry: 5,
      timeout: 1,
      hooks: { beforeRequest: [({ request }) => request.headers.set('x-hook', '1')] },
    })
    const client = clientOf(url, {
      ky: own,
      fetch: (input, init) => {
        fetches += 1
        return fetch(input, init)
      },
      maxAttempts: 1,
    })
    expect(await failure(client.inference(prompt))).toMatchObject({ kind: 'api', status: 503 })
    expect(await client.inference(prompt)).toEqual(answered)
    expect([fetches, requests.length, requests[0]?.headers['x-hook']]).toEqual([2, 2, '1'])
  })
})

describe('retries', () => {
  it.each([
    [400, 1],
    [401, 1],
    [403, 1],
    [404, 1],
    [408, 3],
    [409, 1],
    [413, 1],
    [422, 1],
    [425, 3],
    [429, 3],
    [500, 3],
    [501, 1],
    [502, 3],
    [503, 3],
    [504, 3],
    [505, 1],
    [529, 3],
  ])('%d makes %d requests', async (status, count) => {
    const { url, requests } = await serve(json({}, status))
    const error = await failure(clientOf(url).inference(prompt))
    expect(error).toMatchObject({ kind: 'api', status, code: `http_${status}` })
    expect(requests).toHaveLength(count)
    if (!isTollgateClientError(error)) return
    expect(error.attempts.map(({ attempt }) => attempt)).toEqual(Array.from({ length: count }, (_, at) => at + 1))
    expect(error.attempts.at(-1)).not.toHaveProperty('waitMs')
  })

  it('sends the same key and the same bytes each time, and another key for another call', async () => {
    const { url, requests } = await serve(problem(500, 'internal'), problem(502, 'upstream_failed'), ok)
    const client = clientOf(url)
    await client.inference(prompt)
    await client.inference(prompt)
    await client.inference(prompt, { idempotencyKey: 'mine' })
    const keys = requests.map(({ headers }) => headers['idempotency-key'])
    expect(keys[1]).toBe(keys[0])
    expect(keys[2]).toBe(keys[0])
    expect(new Set(keys)).toEqual(new Set([keys[0], keys[3], 'mine']))
    expect(new Set(requests.map(({ body }) => body)).size).toBe(1)
  })

  it('obeys x-should-retry and codes that no wait mends', async () => {
    const conflict = await serve(problem(409, 'conflict', {}, { 'x-should-retry': 'true' }), ok)
    expect(await clientOf(conflict.url).inference(prompt)).toEqual(answered)
    const vetoed = await serve(problem(503, 'overloaded', {}, { 'x-should-retry': 'false' }))
    await failure(clientOf(vetoed.url).inference(prompt))
    const permanent = await serve(problem(502, 'upstream_credentials'))
    await failure(clientOf(permanent.url).inference(prompt))
    expect([vetoed.requests.length, permanent.requests.length]).toEqual([1, 1])
  })

  it('waits as long as it is told, and a little more', async () => {
    const { url } = await serve(problem(429, 'rate_limited', {}, { 'retry-after-ms': '40' }), ok)
    const notices: RetryNotice[] = []
    await clientOf(url, { onRetry: (notice) => notices.push(notice) }).inference(prompt)
    expect(notices).toMatchObject([{ method: 'POST', path: '/inference', attempt: 1, maxAttempts: 3 }])
    expect(notices[0]?.error).toMatchObject({ code: 'rate_limited', retryAfterMs: 40 })
    expect(notices[0]?.waitMs).toBeGreaterThanOrEqual(40)
    expect(notices[0]?.waitMs).toBeLessThanOrEqual(44)
  })

  it.each([
    ['the ceiling', '61', {}],
    ['the time left', '10', { timeoutMs: 5000 }],
  ])('fails at once if the wait is over %s', async (_, retryAfter, options) => {
    const { url, requests } = await serve(problem(429, 'rate_limited', {}, { 'retry-after': retryAfter }))
    const error = await failure(clientOf(url, options).inference(prompt))
    expect(error).toMatchObject({ code: 'rate_limited', retryAfterMs: Number(retryAfter) * 1000, retryable: true })
    expect(requests).toHaveLength(1)
  })

  it('treats a Retry-After of 0, of the past or of nonsense as a wait of its own choice', async () => {
    for (const retryAfter of ['0', 'Sun, 06 Nov 1994 08:49:37 GMT', 'soon', '-3']) {
      const { url } = await serve(problem(503, 'overloaded', {}, { 'retry-after': retryAfter }), ok)
      const waits: number[] = []
      await clientOf(url, { backoffBaseMs: 20, onRetry: ({ waitMs }) => waits.push(waitMs) }).inference(prompt)
      expect(waits, retryAfter).toHaveLength(1)
      expect(waits[0]).toBeGreaterThanOrEqual(10)
      expect(waits[0]).toBeLessThanOrEqual(20)
    }
  })

  const reset: Answer = (_, __, req) => req.socket.destroy()

  it('repeats a POST whose connection was lost, since it has a key; without one, not', async () => {
    const keyed = await serve(reset, reset, ok)
    expect(await clientOf(keyed.url).inference(prompt)).toEqual(answered)
    const unkeyed = await serve(reset)
    const error = await failure(clientOf(unkeyed.url).inference(prompt, { idempotencyKey: false }))
    expect(error).toMatchObject({ kind: 'connection', phase: 'request', code: 'connection_failed' })
    expect(unkeyed.requests).toHaveLength(1)
    expect(unkeyed.requests[0]?.headers).not.toHaveProperty('idempotency-key')
  })

  it('repeats even an unkeyed POST if nothing was sent, and says so', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    server.close()
    await once(server, 'close')
    const client = clientOf(`http://127.0.0.1:${port}`)
    const error = await failure(client.inference(prompt, { idempotencyKey: false }))
    expect(error).toMatchObject({ kind: 'connection', phase: 'connect' })
    expect((error as { attempts: unknown[] }).attempts).toHaveLength(3)
  })

  it('makes one request if that is all it may', async () => {
    for (const answer of [reset, problem(503, 'overloaded')]) {
      const { url, requests } = await serve(answer)
      await failure(clientOf(url, { maxAttempts: 1 }).inference(prompt))
      expect(requests).toHaveLength(1)
    }
  })

  it('passes on what a hook throws, unwrapped and not repeated', async () => {
    const { url, requests } = await serve(problem(503, 'overloaded'))
    const mine = new Error('mine')
    const fail = () => {
      throw mine
    }
    expect(await failure(clientOf(url, { onRetry: fail }).inference(prompt))).toBe(mine)
    expect(requests).toHaveLength(1)
    const hooked = ky.create({ hooks: { beforeRequest: [fail] } })
    expect(await failure(clientOf(url, { ky: hooked }).inference(prompt))).toBe(mine)
    const type = new TypeError('x is not a function')
    const broken = clientOf(url, { fetch: () => Promise.reject(type) })
    expect(await failure(broken.inference(prompt))).toBe(type)
    expect(requests).toHaveLength(1)
  })

  it('frees the sockets of refused answers, read or not', async () => {
    const huge: Answer = (res) => {
      res.writeHead(503, { 'content-type': 'text/html' })
      res.end('<html>'.repeat(2_000_000))
    }
    const { url } = await serve(huge, ok)
    expect(await clientOf(url).inference(prompt)).toEqual(answered)
  })
})

describe('time limits', () => {
  const stalled: Answer = (res) => {
    res.writeHead(200, { 'content-type': 'application/json', 'x-request-id': 'req-stalled' })
    res.write('{"response":')
  }

  it.each(['headers', 'body'])('the total, when the %s never come', async (part) => {
    const { answer, closed } = silence()
    const { url } = await serve((res, request, req) => {
      answer(res, request, req)
      if (part === 'body') stalled(res, request, req)
    })
    const error = await failure(clientOf(url, { timeoutMs: 60 }).inference(prompt))
    expect(error).toMatchObject({ kind: 'timeout', which: 'total', limitMs: 60, retryable: false })
    await closed
  })

  it.each(['headers', 'body'])('each attempt, when the %s never come: the next is tried', async (part) => {
    const { url, requests } = await serve(part === 'body' ? stalled : () => {}, ok)
    expect(await clientOf(url, { attemptTimeoutMs: 100 }).inference(prompt)).toEqual(answered)
    expect(requests).toHaveLength(2)
    const never = await serve(() => {})
    const error = await failure(clientOf(never.url, { attemptTimeoutMs: 30, maxAttempts: 2 }).inference(prompt))
    expect(error).toMatchObject({ kind: 'timeout', which: 'attempt', code: 'client_timeout' })
    expect(never.requests).toHaveLength(2)
  })

  it("the caller's own AbortSignal.timeout, told as such", async () => {
    const { url } = await serve(() => {})
    const error = await failure(clientOf(url).inference(prompt, { signal: AbortSignal.timeout(30) }))
    expect(error).toMatchObject({ kind: 'timeout', which: 'signal' })
  })

  it('even with a fetch that heeds no signal', async () => {
    const client = clientOf('http://127.0.0.1:9', { timeoutMs: 30, fetch: () => new Promise(() => {}) })
    expect(await failure(client.inference(prompt))).toMatchObject({ kind: 'timeout', which: 'total' })
  })
})

describe('aborts', () => {
  it('sends nothing if it is aborted already', async () => {
    const { url, requests } = await serve(ok)
    const reason = new Error('no more')
    const error = await failure(clientOf(url).inference(prompt, { signal: AbortSignal.abort(reason) }))
    expect(error).toMatchObject({ kind: 'abort', code: 'client_aborted', cause: reason, attempts: [] })
    expect(requests).toHaveLength(0)
  })

  it('closes the socket of a request under way', async () => {
    const { answer, arrived, closed } = silence()
    const { url } = await serve(answer)
    const controller = new AbortController()
    const work = failure(clientOf(url).inference(prompt, { signal: controller.signal }))
    await arrived
    controller.abort('enough')
    expect(await work).toMatchObject({ kind: 'abort', cause: 'enough' })
    await closed
  })

  it('ends a wait, and sends nothing more', async () => {
    const { url, requests } = await serve(problem(503, 'overloaded'))
    const controller = new AbortController()
    const client = clientOf(url, { backoffBaseMs: 60_000, onRetry: () => queueMicrotask(() => controller.abort()) })
    const error = await failure(client.inference(prompt, { signal: controller.signal }))
    expect(error).toMatchObject({ kind: 'abort', attempts: [{ attempt: 1, code: 'overloaded', status: 503 }] })
    expect(requests).toHaveLength(1)
  })

  it('leaves no listener on a signal that many calls share', async () => {
    const { url } = await serve(ok, problem(503, 'overloaded'), ok)
    const { signal } = new AbortController()
    const client = clientOf(url)
    for (let round = 0; round < 50; round++) await client.inference(prompt, { signal })
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })
})
