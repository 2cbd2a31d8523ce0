import { once } from 'node:events'
import express from 'express'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { dialect } from '../http/dialect.js'
import { endpoint, type Handler, listener } from '../http/handler.js'
import { onEnd, type RequestEnd } from '../http/observe.js'
import { sendJson } from '../http/respond.js'
import { openEventStream } from '../http/sse.js'
import { errorHandler } from './error-handler.js'
import { timeout } from './timeout.js'

const uncaught = vi.fn()
process.on('uncaughtException', uncaught)
afterEach(() => {
  expect(uncaught).not.toHaveBeenCalled()
})

eachHost((host) => {
  it('lets an answer in time pass, and sets the deadline', async () => {
    let deadline: number | undefined
    const before = Date.now()
    const { url } = await host.start(
      timeout({ ms: 5_000 }),
      endpoint('quick', (context, _req, res) => {
        deadline = context.deadline
        sendJson(res, 200, {})
      }),
      errorHandler(),
    )
    expect((await fetch(url)).status).toBe(200)
    expect(deadline).toBeGreaterThanOrEqual(before + 5_000)
    expect(deadline).toBeLessThanOrEqual(Date.now() + 5_000)
  })

  it('stops a handler that heeds the signal', async () => {
    let reason: unknown
    const { url } = await host.start(
      timeout({ ms: 20 }),
      endpoint('heeds', async (context) => {
        await once(context.signal, 'abort')
        reason = context.signal.reason
        throw reason
      }),
      errorHandler(),
    )
    const response = await fetch(url)
    expect(response.status).toBe(504)
    expect(await response.json()).toMatchObject({
      code: 'timeout',
      detail: 'The request was not answered within 20 ms.',
    })
    expect(reason).toMatchObject({ code: 'timeout' })
  })

  it('answers for a handler that does not, and ignores what it writes later', async () => {
    let written: (tried: string) => void = () => {}
    const late = new Promise<string>((resolve) => {
      written = resolve
    })
    let answered: () => void = () => {}
    const answer = new Promise<void>((resolve) => {
      answered = resolve
    })
    const ignores: Handler = (_req, res) => {
      // In a bare callback, where a throw ends the process.
      void answer.then(() =>
        setImmediate(() => {
          res.statusCode = 200
          res.setHeader('x-late', 'yes')
          res.removeHeader('x-request-id')
          res.writeHead(200, { 'content-type': 'text/plain' })
          res.flushHeaders()
          const took = res.write('late', () => res.end('later', () => written(`${took} ${res.statusCode}`)))
        }),
      )
    }
    const { url } = await host.start(timeout({ ms: 20 }), ignores, errorHandler())
    const response = await fetch(url)
    expect(response.status).toBe(504)
    expect(await response.json()).toMatchObject({ code: 'timeout' })
    answered()
    expect(await late).toBe('true 504')
  })

  it('ends a stream that has begun with the error', async () => {
    const { url } = await host.start(
      dialect('openai'),
      timeout({ ms: 50 }),
      endpoint('streams', async (_context, _req, res) => {
        await openEventStream(res).send('data: 1\n\n')
      }),
      errorHandler(),
    )
    const text = await (await fetch(url)).text()
    expect(text).toMatch(/^data: 1\n\ndata: \{"error":\{.*"code":"timeout"\}\}\n\n$/)
  })

  it('cuts any other answer that has begun', async () => {
    const { url } = await host.start(
      timeout({ ms: 50 }),
      endpoint('half', (_context, _req, res) => {
        res.writeHead(200, { 'content-type': 'application/json' })
        res.write('{')
      }),
    )
    await expect(fetch(url).then((response) => response.text())).rejects.toThrow()
  })
})

describe('a late handler on Express', () => {
  it.each([
    ['res.json', (res: express.Response) => void res.status(200).json({ late: true })],
    ['res.send', (res: express.Response) => void res.set('x-a', 'b').type('html').send('late')],
    ['res.redirect', (res: express.Response) => void res.redirect('/elsewhere')],
    [
      'a throw',
      () => {
        throw new Error('late')
      },
    ],
  ])('may use %s', async (_name, write) => {
    let ended: (end: RequestEnd) => void = () => {}
    const end = new Promise<RequestEnd>((resolve) => {
      ended = resolve
    })
    const log = { warn: vi.fn(), error: vi.fn() }
    const app = express()
    app.use((req, res, next) => {
      onEnd(req, res, ended)
      next()
    })
    app.use(timeout({ ms: 20 }))
    app.get('/', async (_req, res) => {
      await once(res, 'close')
      write(res)
    })
    app.use(errorHandler({ log }))
    const { url } = await listen(app)
    const response = await fetch(url)
    expect(response.status).toBe(504)
    expect(response.headers.get('location')).toBeNull()
    expect(await end).toMatchObject({ status: 504, aborted: false })
  })
})

describe("a caller's own time", () => {
  const echoes = endpoint('echoes', (context, _req, res) =>
    sendJson(res, 200, Math.round(((context.deadline ?? 0) - Date.now()) / 1000)),
  )
  const seconds = async (headers: Record<string, string>, options = {}) => {
    const { url } = await listen(listener(timeout({ ms: 60_000, ...options }), echoes, errorHandler()))
    return (await fetch(url, { headers })).json()
  }

  it('may be shorter, never longer', async () => {
    expect(await seconds({ 'x-request-timeout-ms': '5000' })).toBe(5)
    expect(await seconds({ 'x-stainless-timeout': '7' })).toBe(7)
    expect(await seconds({ 'x-stainless-timeout': '600' })).toBe(60)
    expect(await seconds({ 'x-stainless-timeout': '7', 'x-request-timeout-ms': '5000' })).toBe(5)
    for (const odd of ['-1', '0', 'abc', '', '1e9', '99999999999']) {
      expect(await seconds({ 'x-request-timeout-ms': odd })).toBe(60)
    }
  })

  it('may be switched off', async () => {
    expect(await seconds({ 'x-request-timeout-ms': '5000' }, { callerMayShorten: false })).toBe(60)
  })

  it('is the earliest of several timeouts', async () => {
    const of = async (first: number, second: number) => {
      const { url } = await listen(listener(timeout({ ms: first }), timeout({ ms: second }), echoes))
      return (await fetch(url)).json()
    }
    expect([await of(10_000, 20_000), await of(20_000, 10_000)]).toEqual([10, 10])
  })
})

it('leaves no timer behind', async () => {
  const { url } = await listen(
    listener(
      timeout({ ms: 60_000 }),
      endpoint('ok', (_context, _req, res) => void res.end()),
    ),
  )
  const clear = vi.spyOn(globalThis, 'clearTimeout')
  const set = vi.spyOn(globalThis, 'setTimeout')
  await (await fetch(url)).text()
  const ours = set.mock.results[set.mock.calls.findIndex(([, ms]) => ms === 60_000)]?.value
  expect(ours).toBeDefined()
  await vi.waitFor(() => expect(clear).toHaveBeenCalledWith(ours), 10_000)
  vi.restoreAllMocks()
})

it('refuses what is no time', () => {
  for (const ms of [0, -1, 1.5, Number.NaN, 2 ** 31]) expect(() => timeout({ ms })).toThrow(/ms/)
})
