import { connect } from 'node:net'
import express from 'express'
import { describe, expect, it } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { isTollgateError } from '../errors.js'
import { jsonBody, parseJson, readBody } from './body.js'
import { endpoint, listener } from './handler.js'
import { sendJson } from './respond.js'

const echo = endpoint('echo', async (_context, req, res) => sendJson(res, 200, await jsonBody(req, { maxBytes: 1000 })))
const post = (url: string, body: string, headers: Record<string, string> = {}) =>
  fetch(url, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } })

eachHost((host) => {
  it('reads JSON and refuses what is not', async () => {
    const { url } = await host.start(echo)
    expect(await (await post(url, '{"a":[1,"é"]}')).json()).toEqual({ a: [1, 'é'] })
    expect((await post(url, '{"a":')).status).toBe(400)
    expect((await post(url, '')).status).toBe(400)
    expect((await post(url, 'x'.repeat(1001))).status).toBe(413)
    expect((await post(url, '{}', { 'content-type': 'text/plain' })).status).toBe(415)
    expect((await post(url, '{}', { 'content-type': 'application/vnd.x+json; charset=utf-8' })).status).toBe(200)
    expect((await post(url, '{}', { 'content-encoding': 'gzip' })).status).toBe(415)
  })
})

it("takes the body that Express's parser read, and leaves it one that it read itself", async () => {
  const before = express().use(express.json(), echo)
  const after = express()
  after.use((req, _res, next) => void jsonBody(req, { maxBytes: 1000 }).then(() => next(), next))
  after.use(express.json(), (req, res) => void res.json(req.body))
  for (const app of [before, after]) {
    const { url } = await listen(app)
    expect(await (await post(url, '{"a":1}')).json()).toEqual({ a: 1 })
  }
})

it('stops reading a chunked body at the limit', async () => {
  const { url } = await listen(listener(echo))
  const body = new ReadableStream({
    pull: (controller) => controller.enqueue(new TextEncoder().encode('1'.repeat(600))),
  })
  const response = await fetch(url, {
    method: 'POST',
    body,
    duplex: 'half',
    headers: { 'content-type': 'application/json' },
  } as RequestInit)
  expect(response.status).toBe(413)
})

it('gives up on a body that does not arrive, and on a caller that leaves', async () => {
  const codes: unknown[] = []
  let done: () => void = () => {}
  const both = new Promise<void>((resolve) => {
    done = resolve
  })
  const { url } = await listen(
    listener(
      endpoint('slow', async (_context, req) => {
        if (req.url === '/leaves') setTimeout(() => leaver.destroy(), 20)
        await readBody(req, { timeoutMs: req.url === '/slow' ? 30 : 5000 }).catch((error: unknown) => {
          codes.push(isTollgateError(error) ? error.code : error)
          if (codes.length === 2) done()
          throw error
        })
      }),
    ),
  )
  const open = (path: string) =>
    connect(Number(new URL(url).port), '127.0.0.1')
      .on('error', () => {})
      .setNoDelay()
      .setEncoding('utf8')
      .on('connect', function (this: import('node:net').Socket) {
        this.write(`POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123`)
      })
  const leaver = open('/leaves')
  open('/slow')
  await both
  expect(codes.sort()).toEqual(['client_closed', 'request_timeout'])
})

describe('parseJson', () => {
  it('says where, without repeating the body', () => {
    for (const [text, where] of [
      ['{"key": sk-secret}', "unexpected 's'"],
      ['{"a": 1', 'line 1, column 8'],
      ['', 'empty'],
      ['"abc', 'line 1'],
      ['[', 'too early'],
      ['{"a":\n "b" x}', 'line 2'],
    ] as const) {
      expect(() => parseJson(Buffer.from(text))).toThrowError(where)
      expect(() => parseJson(Buffer.from(text))).not.toThrowError('secret')
    }
  })
})
