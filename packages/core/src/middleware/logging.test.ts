import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import { promisify } from 'node:util'
import express from 'express'
import { describe, expect, it, vi } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { TollgateError } from '../errors.js'
import { jsonBody } from '../http/body.js'
import { endpoint, type Handler, listener } from '../http/handler.js'
import { recordUsage } from '../http/record-usage.js'
import { sendJson } from '../http/respond.js'
import { openEventStream } from '../http/sse.js'
import { drawApiKey } from '../stores/api-key.js'
import { errorHandler } from './error-handler.js'
import { type LoggingOptions, logging } from './logging.js'

type Line = Record<string, unknown>

/** A logging middleware and the lines it writes. */
function recorded(options: LoggingOptions = {}) {
  const lines: Line[] = []
  const raw: string[] = []
  const handler = logging({
    destination: {
      write(line) {
        raw.push(line)
        lines.push(JSON.parse(line) as Line)
      },
    },
    ...options,
  })
  const until = (count: number) => vi.waitFor(() => expect(lines).toHaveLength(count), 10_000)
  return { handler, lines, raw, until }
}

const usage = { inputTokens: 10, cacheReadTokens: 2, outputTokens: 5, reasoningTokens: 1, estimated: false }
const answers: Handler = endpoint('answers', async (context, req, res) => {
  const body = await jsonBody(req)
  context.principal = { tenant: 'acme', subject: 'ann', method: 'api-key', keyId: 'k1', scopes: [] }
  recordUsage(req, { provider: 'openai', model: 'gpt-x', version: '2', usage, upstreamMs: 12.3456 })
  context.costNanoUsd = 1_500
  context.cache = 'miss'
  context.route = '/inference'
  sendJson(res, 200, { response: 'the completion', prompt: (body as { prompt: unknown }).prompt })
})
const ask = (url: string, headers: Record<string, string> = {}) =>
  fetch(`${url}/inference?api_key=in-the-query`, {
    method: 'POST',
    body: JSON.stringify({ prompt: 'the prompt', user_id: 'end-user-1' }),
    headers: {
      'content-type': 'application/json',
      authorization: 'Bearer in-a-header',
      'x-api-key': 'in-a-header',
      cookie: 'session=in-a-header',
      'user-agent': 'test/1',
      'x-request-id': 'request-1',
      ...headers,
    },
  })

eachHost((host) => {
  it('writes one line when a request has ended, with all that is known', async () => {
    const { handler, lines, raw, until } = recorded()
    const { url } = await host.start(handler, answers, errorHandler())
    await (await ask(url)).json()
    await until(1)
    expect(raw[0]).toMatch(/^\{.*\}\n$/)
    const { time, duration_ms, ...line } = lines[0] as Line
    expect(line).toEqual({
      level: 30,
      msg: 'request',
      request_id: 'request-1',
      method: 'POST',
      path: '/inference',
      route: '/inference',
      status: 200,
      aborted: false,
      tenant: 'acme',
      user: 'ann',
      key_id: 'k1',
      end_user: 'end-user-1',
      provider: 'openai',
      model: 'gpt-x',
      model_version: '2',
      prompt_tokens: 12,
      completion_tokens: 6,
      total_tokens: 18,
      cost_usd: 0.0000015,
      cache: 'miss',
      upstream_ms: 12.346,
      headers: { 'user-agent': 'test/1', 'content-type': 'application/json', 'content-length': '46' },
    })
    expect(time).toBeTypeOf('number')
    expect(duration_ms).toBeGreaterThanOrEqual(0)
    expect(raw.join('')).not.toMatch(/in-a-header|in-the-query|the prompt|the completion/)
  })

  it('takes its level from the status, and names the reason', async () => {
    const { handler, lines, until } = recorded()
    const fails = endpoint('fails', (_context, req) => {
      throw req.url === '/ours' ? new Error('boom') : new TollgateError('forbidden', 'x')
    })
    const { url } = await host.start(handler, fails, errorHandler())
    await (await fetch(`${url}/theirs`)).text()
    await until(1)
    await (await fetch(`${url}/ours`)).text()
    await until(3)
    expect(lines).toMatchObject([
      { level: 40, status: 403, error: 'forbidden', msg: 'request' },
      { level: 50, msg: 'request failed', error_message: 'boom', request_id: lines[2]?.['request_id'] },
      { level: 50, status: 500, error: 'internal', msg: 'request' },
    ])
  })

  it('tells of callers that left', async () => {
    const { handler, lines, until } = recorded()
    let arrived: () => void = () => {}
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve
    })
    const waits = endpoint('waits', async (_context, req, res) => {
      if (req.url === '/begun') await openEventStream(res).send('data: 1\n\n')
      else arrived()
    })
    const { url } = await host.start(handler, waits)
    const { hostname, port } = new URL(url)
    const open = (path: string) => {
      const socket = connectSocket({ host: hostname, port: Number(port) })
      socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
      return socket
    }
    const silent = open('/silent')
    await arrival
    silent.destroy()
    await until(1)
    const begun = open('/begun')
    await once(begun, 'data')
    begun.destroy()
    await until(2)
    expect(lines).toMatchObject([
      { status: 499, aborted: true, level: 30 },
      { status: 200, aborted: true, level: 30 },
    ])
  })
})

describe('headers', () => {
  it('are logged when listed, and cut', async () => {
    const { handler, lines, until } = recorded({ headers: ['X-Tenant-Hint'] })
    const { url } = await listen(listener(handler, answers))
    await (await ask(url, { 'x-tenant-hint': 'h'.repeat(1_000) })).text()
    await until(1)
    expect(lines[0]?.['headers']).toEqual({ 'x-tenant-hint': 'h'.repeat(256) })
  })

  it.each(['authorization', 'Cookie', 'X-API-Key', 'proxy-authorization'])(
    'are refused where they carry credentials: %s',
    (name) => {
      expect(() => logging({ headers: [name] })).toThrow(/never logged/)
    },
  )
})

describe('content', () => {
  it('loses no line to a body that is nested too deeply to be written', async () => {
    const { handler, lines, until } = recorded({ content: true })
    const { url } = await listen(listener(handler, answers))
    const body = `{"prompt":1,"deep":${'['.repeat(100_000)}${']'.repeat(100_000)}}`
    await (await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })).text()
    await until(1)
    expect(lines[0]).toMatchObject({ request_body: '[not representable]', cost_usd: 0.0000015 })
  })

  it('is logged where it is switched on, to its limit', async () => {
    const { handler, lines, until } = recorded({ content: { maxBytes: 30 } })
    const { url } = await listen(listener(handler, answers))
    await (await ask(url)).text()
    await until(1)
    expect(lines[0]).toMatchObject({
      request_body: '{"prompt":"the prompt","user_i',
      response_body: '{"response":"the completion","',
    })
  })

  it('is that of model calls only: other bodies may hold passwords', async () => {
    const { handler, lines, raw, until } = recorded({ content: true })
    const token = endpoint('token', async (_context, req, res) => {
      await jsonBody(req)
      sendJson(res, 200, { access_token: 'very-secret' })
    })
    const { url } = await listen(listener(handler, token))
    await (await ask(url)).text()
    await until(1)
    expect(lines[0]).not.toHaveProperty('response_body')
    expect(raw.join('')).not.toContain('very-secret')
  })
})

it("gives handlers a logger that knows the request, pino's or one without child()", async () => {
  const speaks = endpoint('speaks', (context, _req, res) => {
    context.log?.info({ step: 1 }, 'working')
    context.log?.debug({}, 'not written')
    sendJson(res, 200, {})
  })
  const { handler, lines, until } = recorded()
  const { url } = await listen(listener(handler, speaks))
  await fetch(url, { headers: { 'x-request-id': 'r1' } })
  await until(2)
  expect(lines).toMatchObject([
    { msg: 'working', step: 1, request_id: 'r1' },
    { msg: 'request', request_id: 'r1' },
  ])

  const plain = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() }
  const second = await listen(listener(logging({ logger: plain }), speaks))
  await fetch(second.url, { headers: { 'x-request-id': 'r2' } })
  await vi.waitFor(() => expect(plain.info).toHaveBeenCalledTimes(2), 10_000)
  expect(plain.info.mock.calls[0]).toEqual([{ request_id: 'r2', step: 1 }, 'working'])
})

it('leaves out what its level says, and logs once though mounted twice', async () => {
  const { handler, lines, until } = recorded({
    levelOf: (_status, context) => (context.route === '/health' ? 'silent' : 'info'),
  })
  const { url } = await listen(
    listener(
      handler,
      handler,
      endpoint('any', (context, req, res) => {
        if (req.url === '/health') context.route = '/health'
        sendJson(res, 200, {})
      }),
    ),
  )
  await (await fetch(`${url}/health`)).text()
  await (await fetch(`${url}/other`)).text()
  await until(1)
  expect(lines).toMatchObject([{ path: '/other' }])
})

it('does not write a key down that stands in the path', async () => {
  const { handler, lines, until } = recorded()
  const { url } = await listen(
    listener(
      handler,
      endpoint('any', (_context, _req, res) => sendJson(res, 200, {})),
    ),
  )
  const key = drawApiKey('live')
  await (await fetch(`${url}/v1/keys/${key}/revoke`)).text()
  await until(1)
  expect(lines[0]).toMatchObject({ path: '/v1/keys/[redacted]/revoke' })
})

it('names the route of Express, and the path as the caller sent it', async () => {
  const { handler, lines, until } = recorded()
  const router = express.Router().get('/:id', (_req, res) => void res.json({}))
  const { url } = await listen(express().use(handler).use('/v1', router))
  await (await fetch(`${url}/v1/7?x=1`)).text()
  await until(1)
  expect(lines[0]).toMatchObject({ path: '/v1/7', route: '/v1/:id' })
})

it('loses no line when the process ends by itself', async () => {
  // Node runs the sources as they are; only their `.js` specifiers have to be read as `.ts`.
  const script = `
    import { registerHooks } from 'node:module'
    import { createServer } from 'node:http'
    registerHooks({
      resolve(specifier, context, next) {
        const source = specifier.startsWith('.') && specifier.endsWith('.js') && context.parentURL?.endsWith('.ts')
        return next(source ? specifier.slice(0, -3) + '.ts' : specifier, context)
      },
    })
    const { logging } = await import(${JSON.stringify(new URL('./logging.ts', import.meta.url).href)})
    const { listener } = await import(${JSON.stringify(new URL('../http/handler.ts', import.meta.url).href)})
    const server = createServer(listener(logging(), (_req, res) => res.end()))
    await new Promise((resolve) => server.listen(0, resolve))
    for (let index = 0; index < 50; index++) await (await fetch('http://127.0.0.1:' + server.address().port)).text()
    await new Promise((resolve) => server.close(resolve))
    process.exit(0)
  `
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script])
  const lines = stdout.trimEnd().split('\n')
  expect(lines).toHaveLength(50)
  for (const line of lines) expect(JSON.parse(line)).toMatchObject({ msg: 'request', status: 200 })
})

it('refuses options it does not know', () => {
  expect(() => logging({ level: 'loud' } as never)).toThrow(/level/)
  expect(() => logging({ redact: [] } as never)).toThrow(/redact/)
  expect(() => logging({ logger: {} } as never)).toThrow(/logger/)
})
