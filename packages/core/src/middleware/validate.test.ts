import express from 'express'
import express4 from 'express4'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { z } from 'zod'
import { eachHost, listen } from '../../test/hosts.js'
import { dialect } from '../http/dialect.js'
import { endpoint, listener } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import { errorHandler } from './error-handler.js'
import { validate } from './validate.js'

const post = (url: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(url, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...headers },
  })

eachHost((host) => {
  const input = validate({
    body: z.strictObject({ text: z.string().min(1), tags: z.array(z.string()).default([]) }),
    query: z.object({ limit: z.coerce.number().int().max(10).default(5), tag: z.array(z.string()).optional() }),
  })
  const echo = endpoint('echo', (_context, req, res) => {
    const { body, query } = input.of(req)
    expectTypeOf(body).toEqualTypeOf<{ text: string; tags: string[] }>()
    expectTypeOf(query.limit).toEqualTypeOf<number>()
    sendJson(res, 200, { body, query })
  })

  it('hands on what the schemas read', async () => {
    const { url } = await host.start(input, echo, errorHandler())
    const response = await post(`${url}/?limit=7&tag=a&tag=b`, { text: 'x' })
    expect(await response.json()).toEqual({ body: { text: 'x', tags: [] }, query: { limit: 7, tag: ['a', 'b'] } })
    expect(await (await post(url, { text: 'x' })).json()).toMatchObject({ query: { limit: 5 } })
  })

  it('names every field that is wrong, of all parts at once', async () => {
    const { url } = await host.start(input, echo, errorHandler())
    const response = await post(`${url}/?limit=99`, { text: 3, tags: ['a', null], other: 1 })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      code: 'invalid_request',
      errors: [
        { path: 'query.limit', message: 'must be at most 10' },
        { path: 'text', message: 'expected a string, got a number' },
        { path: 'tags[1]', message: 'expected a string, got null' },
        { path: 'other', message: 'is not a known field: remove it or mend its spelling' },
      ],
    })
  })

  it('refuses what is no JSON, and another type', async () => {
    const { url } = await host.start(input, echo, errorHandler())
    expect(await (await post(url, '{"text":')).json()).toMatchObject({ status: 400, code: 'invalid_json' })
    expect((await post(url, 'text', { 'content-type': 'text/plain' })).status).toBe(415)
    expect(await (await post(url, '[]')).json()).toMatchObject({
      errors: [{ path: 'body', message: 'expected an object, got an array' }],
    })
  })
})

describe.each([
  ['Express 5', express],
  ['Express 4', express4],
])('on %s', (_name, make) => {
  it('reads the parameters of the route and the query under a mount, and assigns neither', async () => {
    const input = validate({ params: z.object({ id: z.coerce.number() }), query: z.strictObject({ q: z.string() }) })
    const app = make()
    const router = make.Router()
    router.get('/items/:id', input, (req: express.Request, res: express.Response) =>
      res.json({ ...input.of(req), untouched: [req.params['id'], req.query['q']] }),
    )
    app.use('/v1', router)
    app.use(errorHandler())
    const { url } = await listen(app)
    expect(await (await fetch(`${url}/v1/items/7?q=x`)).json()).toEqual({
      params: { id: 7 },
      query: { q: 'x' },
      untouched: ['7', 'x'],
    })
    expect(await (await fetch(`${url}/v1/items/seven?p=x`)).json()).toMatchObject({
      errors: [{ path: 'params.id' }, { path: 'query.q' }, { path: 'query.p' }],
    })
  })

  it("takes the body that the host's parser has read", async () => {
    const input = validate({ body: z.object({ a: z.number() }) })
    const app = make()
    app.use(make.json(), input, (req: express.Request, res: express.Response) => res.json(input.of(req).body))
    const { url } = await listen(app)
    expect(await (await post(url, { a: 1 })).json()).toEqual({ a: 1 })
  })
})

it('names the field in the words of OpenAI too', async () => {
  const input = validate({ body: z.object({ messages: z.array(z.object({ role: z.string() })) }) })
  const { url } = await listen(listener(dialect('openai'), input, errorHandler()))
  expect(await (await post(url, { messages: [{}] })).json()).toEqual({
    error: {
      message: 'messages[0].role: is required: expected a string.',
      type: 'invalid_request_error',
      param: 'messages[0].role',
      code: 'invalid_request',
    },
  })
})

it('lets no name of the query or the body become a prototype', async () => {
  const input = validate({ body: z.looseObject({}), query: z.record(z.string(), z.unknown()) })
  const { url } = await listen(
    listener(
      input,
      endpoint('seen', (_context, req, res) => {
        const { body, query } = input.of(req)
        sendJson(res, 200, { admin: [(body as { admin?: unknown }).admin ?? null, query['admin'] ?? null] })
      }),
    ),
  )
  const response = await post(`${url}/?__proto__=x&constructor=y`, '{"__proto__":{"admin":true}}')
  expect(await response.json()).toEqual({ admin: [null, null] })
})

it('says so when it has not run, and when it was given no schema', () => {
  const input = validate({ body: z.string() })
  expect(() => input.of({} as never)).toThrow(/validate\(\) has not run/)
  expect(() => validate({ body: 'string' } as never)).toThrow(/body/)
  expect(() => validate({ headers: z.string() } as never)).toThrow(/headers/)
})
