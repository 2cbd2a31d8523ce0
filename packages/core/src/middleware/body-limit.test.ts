import { PassThrough } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import express from 'express'
import express4 from 'express4'
import { describe, expect, it } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { jsonBody } from '../http/body.js'
import { endpoint, type Handler, listener, type Next } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import { bodyLimit } from './body-limit.js'
import { errorHandler } from './error-handler.js'

const maxBytes = 1_000

const chunked = (url: string, bytes: number, chunkBytes = 400) => {
  let left = bytes
  const body = new ReadableStream({
    pull(controller) {
      const size = Math.min(left, chunkBytes)
      left -= size
      if (size > 0) controller.enqueue(new TextEncoder().encode(' '.repeat(size - 1).concat('1')))
      if (left === 0) controller.close()
    },
  })
  return fetch(url, {
    method: 'POST',
    body,
    duplex: 'half',
    headers: { 'content-type': 'application/json' },
  } as RequestInit)
}
const whole = (url: string, bytes: number) =>
  fetch(url, { method: 'POST', body: '1'.padStart(bytes), headers: { 'content-type': 'application/json' } })

const answers: Handler = (_req, res) => void res.end('read')
const readsJson = endpoint('readsJson', async (_context, req, res) => sendJson(res, 200, await jsonBody(req)))

eachHost((host) => {
  it('lets a body pass up to the limit, and refuses one beyond it', async () => {
    const { url } = await host.start(bodyLimit({ maxBytes }), readsJson, errorHandler())
    expect((await whole(url, maxBytes)).status).toBe(200)
    expect((await chunked(url, maxBytes, maxBytes)).status).toBe(200)
    for (const response of [await whole(url, maxBytes + 1), await chunked(url, maxBytes + 1)]) {
      expect(response.status).toBe(413)
      expect(await response.json()).toMatchObject({
        code: 'payload_too_large',
        detail: 'The body is over the limit of 1000 bytes.',
      })
    }
    expect((await fetch(url, { method: 'POST' })).status).toBe(415)
  })

  it('refuses by Content-Length before anybody reads', async () => {
    let reached = false
    const after: Handler = (_req, res) => {
      reached = true
      res.end()
    }
    const { url } = await host.start(bodyLimit({ maxBytes }), after, errorHandler())
    expect((await whole(url, maxBytes + 1)).status).toBe(413)
    expect(reached).toBe(false)
  })
})

describe('a chunked body, whoever reads it', () => {
  const readers: ReadonlyArray<readonly [string, Handler]> = [
    ["Express 5's json()", express.json({ limit: '10mb' }) as Handler],
    ["Express 4's json()", express4.json({ limit: '10mb' }) as Handler],
    ['a bare pipe', (req) => void req.pipe(new PassThrough()).resume()],
    ['pipeline()', (req, _res, next) => void pipeline(req, new PassThrough().resume()).then(() => next(), next)],
    [
      'for await',
      async (req, _res, next) => {
        try {
          for await (const chunk of req) void chunk
          next()
        } catch (error) {
          next(error)
        }
      },
    ],
    ['data events', (req, _res, next: Next) => void req.on('data', () => {}).on('end', () => next())],
    ['nobody who reads', () => {}],
    [
      'somebody slow',
      (req) => {
        req.once('readable', () => req.read(1))
      },
    ],
  ]

  it.each(readers)('is refused: %s', async (_name, reader) => {
    const { url } = await listen(listener(bodyLimit({ maxBytes }), reader, answers, errorHandler()))
    const response = await chunked(url, 5_000_000, 50_000)
    expect(response.status).toBe(413)
    expect(await response.json()).toMatchObject({ code: 'payload_too_large' })
  })

  it('is answered by an error handler of the host, where the reader passes errors on', async () => {
    const { url } = await listen(
      listener(bodyLimit({ maxBytes }), readsJson, (error: unknown, _req, res, _next) => {
        res.statusCode = (error as { status: number }).status
        res.end('own words')
      }),
    )
    const response = await chunked(url, 2_000)
    expect([response.status, await response.text()]).toEqual([413, 'own words'])
  })

  it('tells the reader that it is over', async () => {
    let told: (error: unknown) => void = () => {}
    const failure = new Promise<unknown>((resolve) => {
      told = resolve
    })
    const reads: Handler = (req) => void pipeline(req, new PassThrough().resume()).catch(told)
    const { url } = await listen(listener(bodyLimit({ maxBytes }), reads))
    const response = await chunked(url, 100_000)
    expect(response.status).toBe(413)
    await response.text()
    expect(await failure).toMatchObject({ code: 'payload_too_large' })
  })
})

it('holds the smallest of several limits', async () => {
  const { url } = await listen(
    listener(
      bodyLimit({ maxBytes: 10_000 }),
      bodyLimit({ maxBytes }),
      bodyLimit({ maxBytes: 5_000 }),
      readsJson,
      errorHandler(),
    ),
  )
  expect((await chunked(url, 2_000)).status).toBe(413)
  expect((await whole(url, 2_000)).status).toBe(413)
  expect((await chunked(url, 900, 900)).status).toBe(200)
})

it('refuses a limit that is none', () => {
  expect(() => bodyLimit({ maxBytes: -1 })).toThrow(/maxBytes/)
  expect(() => bodyLimit({ limit: '1mb' } as never)).toThrow(/limit/)
})
