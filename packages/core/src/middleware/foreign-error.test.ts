import { gzipSync } from 'node:zlib'
import connect from 'connect'
import express from 'express'
import express4 from 'express4'
import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { listen } from '../../test/hosts.js'
import { quietLog, throws } from '../../test/throwing.js'
import type { Log } from '../http/context.js'
import { endpoint, listener } from '../http/handler.js'
import type { Problem } from '../wire/problem.js'
import { errorHandler } from './error-handler.js'

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
