import { describe, expect, it } from 'vitest'
import { type Answer, eventStream, failure, json, problem, serve, silence } from '../test/fixture-server.js'
import { type ClientOptions, createClient, responseOf } from './index.js'

const clientOf = (url: string, options: Partial<ClientOptions> = {}) =>
  createClient({ baseUrl: url, apiKey: 'k', backoffBaseMs: 1, ...options })

const pictures = {
  created: 1,
  data: [{ b64_json: 'QQ==' }],
  usage: { input_tokens: 1, output_tokens: 2, total_tokens: 3 },
}
const told = { 'x-request-id': 'req-1', 'x-tollgate-cost-usd': '0.0425', ratelimit: '"rpm";r=4;t=7' }
const file = () => new File(['RIFF'], 'a.wav', { type: 'audio/wav' })
const endOf = (chunks: readonly string[], fail = false) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk))
      if (fail) controller.error(new Error('the disk is gone'))
      else controller.close()
    },
  })
const event = (body: { type: string; [field: string]: unknown }) =>
  `event: ${body.type}\ndata: ${JSON.stringify(body)}\n\n`

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

describe('images', () => {
  it('are made of words, with what came with the answer beside them', async () => {
    const { url, requests } = await serve(problem(503, 'overloaded'), json(pictures, 200, told))
    const made = await clientOf(url).images.generate({ model: 'draw', prompt: 'a fox', n: 1 })
    expect(made).toEqual(pictures)
    expect(responseOf(made)).toMatchObject({ requestId: 'req-1', attempts: 2, costUsd: 0.0425 })
    expect(responseOf(made)?.rateLimit?.policies[0]?.remaining).toBe(4)
    expect(JSON.parse(requests[1]?.body ?? '')).toEqual({ model: 'draw', prompt: 'a fox', n: 1 })
    expect(requests[0]?.headers['idempotency-key']).toBe(requests[1]?.headers['idempotency-key'])
  })

  it('are made of pictures, in a form that is the same at each attempt', async () => {
    const { url, requests } = await serve(problem(503, 'overloaded'), json(pictures))
    const image = [new Blob(['one'], { type: 'image/png' }), new Blob(['two'], { type: 'image/png' })]
    expect(await clientOf(url).images.edit({ prompt: 'a hat', image, model: 'draw' })).toEqual(pictures)
    const [first, second] = requests
    expect(first?.path).toBe('/v1/images/edits')
    expect(first?.headers['content-type']).toMatch(/^multipart\/form-data; boundary=tollgate-[0-9a-f]{32}$/)
    expect(first?.headers['content-length']).toBe(String(first?.body.length))
    expect(first?.body.match(/ name="[^"]*"/g)).toEqual([
      ' name="model"',
      ' name="prompt"',
      ' name="image[]"',
      ' name="image[]"',
    ])
    expect(second?.body).toBe(first?.body)
  })

  it('are varied', async () => {
    const { url, requests } = await serve(json(pictures))
    await clientOf(url).images.vary({ model: 'dall-e-2', image: Buffer.from('png'), n: 2 })
    expect(requests[0]).toMatchObject({ method: 'POST', path: '/v1/images/variations' })
  })

  it('are streamed, several in one stream', async () => {
    const events = [
      { type: 'image_generation.partial_image', b64_json: 'A', partial_image_index: 0 },
      { type: 'image_generation.completed', b64_json: 'B' },
      { type: 'image_generation.completed', b64_json: 'C' },
    ]
    const { url, requests } = await serve(eventStream(events.map(event)))
    const stream = clientOf(url).images.generate.stream({ prompt: 'a fox', partial_images: 1 })
    const seen: unknown[] = []
    for await (const each of stream) seen.push(each)
    expect(seen).toEqual(events)
    expect([stream.status, stream.response?.requestId]).toEqual(['completed', 'req-s'])
    expect(JSON.parse(requests[0]?.body ?? '')).toEqual({ prompt: 'a fox', partial_images: 1, stream: true })
  })

  it('that are cut off are an error', async () => {
    const { url } = await serve(eventStream([event({ type: 'image_edit.partial_image', b64_json: 'A' })]))
    const stream = clientOf(url).images.edit.stream({ prompt: 'x', image: new Blob(['png']) })
    const error = await failure(collect(stream))
    expect(error).toMatchObject({ kind: 'stream', code: 'stream_truncated', partial: { chunkCount: 1 } })
    expect(stream.status).toBe('failed')
  })

  it('of another shape are an error', async () => {
    const { url } = await serve(json({ pictures: [] }))
    expect(await failure(clientOf(url).images.generate({ prompt: 'x' }))).toMatchObject({ code: 'response_invalid' })
    expect(await failure(clientOf(url).images.generate(null as never))).toMatchObject({ code: 'request_invalid' })
    expect(await failure(clientOf(url).images.edit(null as never))).toMatchObject({ code: 'request_invalid' })
  })
})

describe('sound that is heard', () => {
  it.each([
    ['json', json({ text: 'hello', usage: { type: 'duration', seconds: 3 } }, 200, told), 'hello'],
    [
      'srt',
      ((res) => res.writeHead(200, { 'content-type': 'text/plain', ...told }).end('1\n00:00 hello\n')) as Answer,
      '1\n00:00 hello\n',
    ],
  ])('is a transcript, also where the answer is %s', async (response_format, answer, text) => {
    const { url, requests } = await serve(answer)
    const heard = await clientOf(url).audio.transcribe({ file: file(), model: 'hear', response_format })
    expect(heard).toMatchObject({ text })
    expect(responseOf(heard)).toMatchObject({ requestId: 'req-1', costUsd: 0.0425 })
    expect(requests[0]?.body).toContain('filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n')
  })

  it('is sent from a stream, once', async () => {
    const { url, requests } = await serve(problem(503, 'overloaded', {}, { 'retry-after': '0' }), json({ text: 'hi' }))
    const client = clientOf(url)
    const request = { model: 'hear', file: { content: endOf(['RI', 'FF']), name: 'a.wav' } }
    const error = await failure(client.audio.transcribe(request))
    expect(error).toMatchObject({ kind: 'api', code: 'overloaded', attempts: [{ attempt: 1 }] })
    expect(requests).toHaveLength(1)
    expect(requests[0]?.headers['transfer-encoding']).toBe('chunked')
    expect(requests[0]?.body).toContain('\r\n\r\nRIFF\r\n')
    const again = { ...request, file: { content: endOf(['RI', 'FF']), name: 'a.wav' } }
    expect(await client.audio.translate(again)).toEqual({ text: 'hi' })
    expect(requests[1]?.path).toBe('/v1/audio/translations')
  })

  it('is not sent again after a refused token, if it came from a stream', async () => {
    const token = json({ access_token: 't', token_type: 'Bearer', expires_in: 3600 })
    const { url, requests } = await serve(token, problem(401, 'invalid_credentials'), token, json({ text: 'hi' }))
    const client = createClient({ baseUrl: url, credentials: { clientId: 'a', clientSecret: 'b' } })
    expect(await failure(client.audio.transcribe({ file: endOf(['a']) }))).toMatchObject({ status: 401 })
    expect(requests.map(({ path }) => path)).toEqual(['/v1/token', '/v1/audio/transcriptions'])
  })

  it('is an error of the connection, if its stream breaks', async () => {
    const { url } = await serve(json({ text: 'hi' }))
    const error = await failure(clientOf(url).audio.transcribe({ file: endOf(['a'], true) }))
    expect(error).toMatchObject({ kind: 'connection' })
  })

  it('is written as it is heard', async () => {
    const events = [
      { type: 'transcript.text.delta', delta: 'Hel' },
      { type: 'transcript.text.delta', delta: 'lo' },
      { type: 'transcript.text.done', text: 'Hello', usage: { type: 'duration', seconds: 1 } },
    ]
    const { url, requests } = await serve(eventStream(events.map(event)))
    const stream = clientOf(url).audio.transcribe.stream({ file: file(), model: 'hear' })
    expect(await collect(stream.text())).toEqual(['Hel', 'lo'])
    const whole = await stream.final()
    expect(whole).toEqual({ text: 'Hello', usage: { type: 'duration', seconds: 1 } })
    expect(responseOf(whole)?.requestId).toBe('req-s')
    expect(requests[0]?.body).toContain(' name="stream"\r\n\r\ntrue\r\n')
  })

  it('that is cut off has what came', async () => {
    const { url } = await serve(eventStream([event({ type: 'transcript.text.delta', delta: 'Hel' })], 'reset'))
    const error = await failure(clientOf(url).audio.transcribe.stream({ file: file() }).final())
    expect(error).toMatchObject({ kind: 'connection', phase: 'stream', partial: { text: 'Hel', chunkCount: 1 } })
  })
})

describe('sound that is spoken', () => {
  const sound = (parts: readonly string[], end: 'end' | 'hang' | 'reset' = 'end'): Answer => {
    const events = eventStream(parts, end)
    return (res, request, req) => {
      const writeHead = res.writeHead.bind(res)
      res.writeHead = ((status: number) => writeHead(status, { 'content-type': 'audio/mpeg', ...told })) as never
      return events(res, request, req)
    }
  }
  const say = { model: 'say', input: 'Hi', voice: 'alloy' }

  it('is there when the first of it is', async () => {
    const { url, requests } = await serve(sound(['ab', 'cd'], 'hang'))
    const spoken = await clientOf(url).audio.speech(say)
    expect(spoken.contentType).toBe('audio/mpeg')
    expect(responseOf(spoken)).toMatchObject({ requestId: 'req-1' })
    const reader = spoken.body.getReader()
    expect(new TextDecoder().decode((await reader.read()).value)).toMatch(/^ab/)
    await reader.cancel()
    expect(JSON.parse(requests[0]?.body ?? '')).toEqual(say)
  })

  it('can be had whole', async () => {
    const { url } = await serve(sound(['ab', 'cd']))
    const spoken = await clientOf(url).audio.speech(say)
    expect(new TextDecoder().decode(await spoken.bytes())).toBe('abcd')
  })

  it('is no longer than maxResponseBytes, if it is had whole', async () => {
    const { url } = await serve(sound(['abcdefgh']))
    const spoken = await clientOf(url, { maxResponseBytes: 4 }).audio.speech(say)
    expect(await failure(spoken.bytes())).toMatchObject({ code: 'response_too_large' })
  })

  it('closes its connection when nobody listens any more', async () => {
    const { answer, closed } = silence()
    const { url } = await serve((res, request, req) => {
      answer(res, request, req)
      res.writeHead(200, { 'content-type': 'audio/mpeg' }).write('ab')
    })
    const spoken = await clientOf(url).audio.speech(say)
    await spoken.body.cancel()
    await closed
  })

  it('ends with the signal of its caller, with silence and with its connection', async () => {
    const { url } = await serve(sound(['ab'], 'hang'), sound(['ab'], 'hang'), sound(['ab'], 'reset'))
    const leave = new AbortController()
    const left = await clientOf(url).audio.speech(say, { signal: leave.signal })
    leave.abort('enough')
    expect(await failure(left.bytes())).toMatchObject({ kind: 'abort', cause: 'enough' })
    const silent = await clientOf(url, { streamIdleTimeoutMs: 20 }).audio.speech(say)
    expect(await failure(silent.bytes())).toMatchObject({ kind: 'timeout', which: 'idle', attempts: [{ attempt: 1 }] })
    const lost = await clientOf(url).audio.speech(say)
    expect(await failure(lost.bytes())).toMatchObject({ kind: 'connection', phase: 'stream' })
  })

  it('is tried again before it begins, and an error is one', async () => {
    const { url, requests } = await serve(
      problem(503, 'overloaded'),
      sound(['ab']),
      problem(400, 'invalid_request'),
      json({}),
    )
    const client = clientOf(url)
    expect(await (await client.audio.speech(say)).bytes()).toHaveLength(2)
    expect(requests).toHaveLength(2)
    expect(await failure(client.audio.speech(say))).toMatchObject({ kind: 'api', code: 'invalid_request' })
    // JSON is no sound.
    expect(await failure(client.audio.speech(say))).toMatchObject({ code: 'response_invalid' })
  })

  it('waits no longer than the limits of a call for its beginning', async () => {
    const { answer } = silence()
    const { url } = await serve(answer)
    expect(await failure(clientOf(url).audio.speech(say, { timeoutMs: 50 }))).toMatchObject({
      kind: 'timeout',
      which: 'total',
    })
  })
})
