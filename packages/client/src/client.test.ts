import { describe, expect, it } from 'vitest'
import { failure, json, serve } from '../test/fixture-server.js'
import { createClient, responseOf } from './index.js'

const clientOf = (url: string) => createClient({ baseUrl: url, apiKey: 'k', backoffBaseMs: 1 })
const messages = [{ role: 'user' as const, content: 'hi' }]

describe('the methods', () => {
  it('chat asks for a whole answer, whatever the request says of streams', async () => {
    const answer = {
      id: 'c',
      choices: [{ index: 0, message: { role: 'assistant', content: 'x' }, finish_reason: 'stop' }],
    }
    const { url, requests } = await serve(json(answer))
    const request = { model: 'm', messages, stream: true, stream_options: { include_usage: true }, seed: 1 }
    expect(await clientOf(url).chat(request)).toEqual(answer)
    expect(requests[0]?.path).toBe('/v1/chat/completions')
    expect(JSON.parse(requests[0]?.body ?? '')).toEqual({ model: 'm', messages, stream: false, seed: 1 })
    expect(request.stream, 'the request stays as it was').toBe(true)
  })

  it('predict', async () => {
    const answer = { prediction: 'spam', model: 'm' }
    const { url, requests } = await serve(json(answer))
    expect(await clientOf(url).predict({ text: 'hi' })).toEqual(answer)
    expect([requests[0]?.path, requests[0]?.body]).toEqual(['/v1/predict', '{"text":"hi"}'])
  })

  it('models, with names that hold anything', async () => {
    const { url, requests } = await serve(json({ object: 'list', data: [{ id: 'a' }] }), json({ id: 'org/a?b' }))
    const client = clientOf(url)
    const list = await client.models.list()
    expect(list).toEqual([{ id: 'a' }])
    expect(responseOf(list)?.status).toBe(200)
    expect(await client.models.get('org/a?b')).toEqual({ id: 'org/a?b' })
    expect(requests.map(({ method, path }) => [method, path])).toEqual([
      ['GET', '/v1/models'],
      ['GET', '/v1/models/org%2Fa%3Fb'],
    ])
    expect(requests[0]?.headers).not.toHaveProperty('idempotency-key')
    expect(requests[0]?.headers).not.toHaveProperty('content-type')
    for (const name of ['', '.', '..']) {
      expect(await failure(client.models.get(name))).toMatchObject({ code: 'request_invalid' })
    }
    expect(requests).toHaveLength(2)
  })
})

describe('embed', () => {
  const base64 = (...values: number[]) => Buffer.from(Float32Array.from(values).buffer).toString('base64')
  const usage = { prompt_tokens: 2, total_tokens: 2 }

  it('asks for base64 and puts the vectors in the order of the inputs', async () => {
    const data = [
      { index: 1, embedding: base64(-1, 1e-30) },
      { index: 0, embedding: base64(0.5, 2) },
    ]
    const { url, requests } = await serve(json({ object: 'list', data, model: 'e', usage }))
    const result = await clientOf(url).embed({ model: 'e', input: ['a', 'b'] })
    expect(result).toEqual({
      embeddings: [Float32Array.of(0.5, 2), Float32Array.of(-1, 1e-30)],
      model: 'e',
      usage,
    })
    expect(responseOf(result)?.attempts).toBe(1)
    expect(JSON.parse(requests[0]?.body ?? '')).toEqual({ model: 'e', input: ['a', 'b'], encoding_format: 'base64' })
  })

  it('takes numbers from a server that knows no base64', async () => {
    const { url } = await serve(json({ data: [{ index: 0, embedding: [1, 0.25] }], model: 'e', usage }))
    expect((await clientOf(url).embed({ model: 'e', input: 'a' })).embeddings).toEqual([Float32Array.of(1, 0.25)])
  })

  it.each([
    ['no place', [{ embedding: [1] }]],
    [
      'one place twice',
      [
        { index: 0, embedding: [1] },
        { index: 0, embedding: [2] },
      ],
    ],
    ['a place beyond the end', [{ index: 4_000_000_000, embedding: [1] }]],
    ['a place before the start', [{ index: -1, embedding: [1] }]],
    ['half a number', [{ index: 0, embedding: 'AAA=' }]],
    ['no base64', [{ index: 0, embedding: '💥' }]],
    ['no vector', [{ index: 0 }]],
    ['null', [null]],
  ])('refuses an answer with %s', async (_, data) => {
    const { url } = await serve(json({ data, model: 'e', usage }))
    const error = await failure(clientOf(url).embed({ model: 'e', input: 'a' }))
    expect(error).toMatchObject({ kind: 'response', code: 'response_invalid' })
  })
})
