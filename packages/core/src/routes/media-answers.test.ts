import type { ServerResponse } from 'node:http'
import { connect } from 'node:net'
import OpenAI, { toFile } from 'openai'
import { describe, expect, it, onTestFinished } from 'vitest'
import { form, formType, imageUsage, start, tokenUsage } from '../../test/media-gate.js'
import { answerEvents, answerJson, type MediaCall } from '../../test/media-upstream.js'
import { timeout } from '../middleware/timeout.js'

describe('an answer on its way', () => {
  it('closes the upstream when its caller leaves, and is paid by estimate', async () => {
    const events = [{ type: 'image_generation.partial_image', b64_json: 'A' }, { type: 'image_generation.completed' }]
    const { url, upstream, nextRow } = await start({
      upstream: { answer: answerEvents(events, new Promise(() => {})) },
    })
    const row = nextRow()
    const leave = new AbortController()
    const body = JSON.stringify({ model: 'draw', prompt: 'a fox', n: 2, stream: true })
    const answer = await fetch(`${url}/v1/images/generations`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      signal: leave.signal,
    })
    await answer.body?.getReader().read()
    leave.abort()
    expect(await upstream.calls[0]?.broken).toBe(true)
    expect(await row).toMatchObject({
      outcome: 'aborted',
      usage: { inputTokens: 2, outputImageTokens: 2_112, estimated: true },
      costNanoUsd: 2 * 5_000 + 2_112 * 40_000,
    })
  })

  it('goes on for the bill with `drain`', async () => {
    let go = () => {}
    const gone = new Promise<void>((resolve) => {
      go = resolve
    })
    const events = [
      { type: 'transcript.text.delta', delta: 'a' },
      { type: 'transcript.text.done', usage: tokenUsage },
    ]
    const { url, upstream, nextRow } = await start({
      onDisconnect: 'drain',
      upstream: { answer: answerEvents(events, gone) },
    })
    const row = nextRow()
    const leave = new AbortController()
    const body = form([
      ['model', 'hear'],
      ['file', Buffer.from('wav')],
      ['stream', 'true'],
    ])
    const answer = await fetch(`${url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: formType,
      body,
      signal: leave.signal,
    })
    await answer.body?.getReader().read()
    leave.abort()
    go()
    expect(await upstream.calls[0]?.broken).toBe(false)
    expect(await row).toMatchObject({
      outcome: 'aborted',
      usage: { inputAudioTokens: 14, outputTokens: 45, estimated: false },
    })
  })

  it.each(['application/json', 'audio/mpeg'])(
    'in %s, of an upstream that did not wait for the whole form, is the last on its connection',
    async (type) => {
      const answer = async (call: MediaCall, res: ServerResponse) => {
        await call.reaches(1)
        res.writeHead(200, { 'content-type': type })
        res.end('{"text":"hi"}')
      }
      const { url } = await start({ upstream: { answer } })
      const socket = connect(Number(new URL(url).port), '127.0.0.1')
      onTestFinished(() => void socket.destroy())
      socket.write('POST /v1/audio/transcriptions HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n')
      socket.write(`Content-Type: ${formType['content-type']}\r\n\r\n`)
      socket.write(form([['model', 'hear']]).subarray(0, -9))
      socket.write('--xyz\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n')
      socket.write(Buffer.alloc(100_000, 1))
      let told = ''
      for await (const bytes of socket) told += String(bytes)
      expect(told).toMatch(/^HTTP\/1.1 200 OK[\s\S]*connection: close[\s\S]*\{"text":"hi"\}/)
    },
  )

  it('ends at the deadline', async () => {
    const { url, upstream, nextRow } = await start({
      before: [timeout({ ms: 200 })],
      upstream: { answer: () => new Promise(() => {}) },
    })
    const row = nextRow()
    const answer = await fetch(`${url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: formType,
      body: form([
        ['model', 'hear'],
        ['file', Buffer.alloc(16_000)],
      ]),
    })
    expect(answer.status).toBe(504)
    expect(await upstream.calls[0]?.broken).toBe(true)
    expect(await row).toMatchObject({
      status: 504,
      usage: { inputAudioTokens: 20, estimated: true },
      costNanoUsd: 20 * 6_000 + 7 * 10_000,
    })
  })

  it('of many bytes is relayed as it comes, and its usage found', async () => {
    const picture = 'C'.repeat(3_000_000)
    const body = { created: 1, data: [{ b64_json: picture }, { b64_json: picture }], usage: imageUsage }
    const { client, nextRow } = await start({ upstream: { answer: answerJson(body) } })
    const row = nextRow()
    expect(await client.images.generate({ model: 'draw', prompt: 'x' })).toMatchObject(body)
    expect(await row).toMatchObject({ usage: { outputImageTokens: 1_056, estimated: false } })
  })

  it('is no whole stream without the event that ends it', async () => {
    const events = [{ type: 'transcript.text.delta', delta: 'Hel' }]
    const { client, nextRow } = await start({ upstream: { answer: answerEvents(events) } })
    const row = nextRow()
    const stream = await client.audio.transcriptions.create({
      file: await toFile(Buffer.alloc(32_000), 'a.wav'),
      model: 'hear',
      stream: true,
    })
    const read = async () => {
      for await (const _ of stream);
    }
    await expect(read()).rejects.toBeInstanceOf(OpenAI.APIError)
    expect(await row).toMatchObject({
      outcome: 'error',
      error: 'upstream_invalid',
      usage: { rows: 3, estimated: true },
    })
  })

  it('may just end where it is in the words of others', async () => {
    const events = [{ type: 'segment', text: 'Hello' }]
    const { client, nextRow } = await start({ upstream: { answer: answerEvents(events) } })
    const row = nextRow()
    const stream = await client.audio.transcriptions.create({
      file: await toFile(Buffer.from('wav'), 'a.wav'),
      model: 'hear',
      stream: true,
    })
    for await (const _ of stream);
    expect(await row).toMatchObject({ outcome: 'ok' })
  })

  it('that breaks off after it told its seconds is paid by them', async () => {
    const done = { type: 'transcript.text.done', text: 'Hi', usage: { type: 'duration', seconds: 4.2 } }
    const { url, nextRow } = await start({
      upstream: {
        async answer(call, res) {
          await call.body
          res.writeHead(200, { 'content-type': 'text/event-stream' })
          res.write(`data: ${JSON.stringify(done)}\n\n`, () => setTimeout(() => res.destroy(), 50))
        },
      },
    })
    const row = nextRow()
    const body = form([
      ['model', 'whisper-1'],
      ['stream', 'true'],
      ['file', Buffer.from('wav')],
    ])
    const answer = await fetch(`${url}/v1/audio/transcriptions`, { method: 'POST', headers: formType, body })
    await answer.text().catch(() => '')
    expect(await row).toMatchObject({ outcome: 'error', usage: { rows: 5, estimated: false } })
  })

  it('that breaks off breaks off here too', async () => {
    const { client, nextRow } = await start({
      upstream: {
        answer: async (call, res) => {
          await call.body
          res.writeHead(200, { 'content-type': 'audio/mpeg', 'content-length': 1_000 })
          res.write(Buffer.alloc(500), () => res.socket?.resetAndDestroy())
        },
      },
    })
    const row = nextRow()
    const broken = client.audio.speech
      .create({ model: 'say', voice: 'alloy', input: 'Hi there' })
      .then((spoken) => spoken.arrayBuffer())
    await expect(broken).rejects.toThrow()
    expect(await row).toMatchObject({ usage: { outputAudioTokens: 12, estimated: true }, error: 'upstream_failed' })
  })

  it.each([
    [
      '400',
      answerJson({ error: { message: 'no such size', type: 'invalid_request_error' } }, 400),
      400,
      'invalid_request',
    ],
    [
      '401',
      answerJson({ error: { message: 'Incorrect API key provided: sk-upstream-0123456789' } }, 401),
      502,
      'upstream_credentials',
    ],
    ['429', answerJson({ error: { message: 'slow down' } }, 429), 429, 'rate_limited'],
    ['500', answerJson({ error: { message: 'down' } }, 500), 502, 'upstream_failed'],
    ['an error in a 200', answerJson({ error: { message: 'broken', type: 'server_error' } }), 502, 'upstream_failed'],
    [
      'an error as its first event',
      answerEvents([{ type: 'error', error: { message: 'broken' } } as never]),
      502,
      'upstream_failed',
    ],
    ['no event at all', answerEvents([]), 502, 'upstream_invalid'],
  ] as const)('tells %s of the upstream as an error, and it costs nothing', async (_what, answer, status, code) => {
    const { url, nextRow, rows, standing } = await start({ upstream: { answer } })
    const row = nextRow()
    const told = await fetch(`${url}/v1/images/edits`, {
      method: 'POST',
      headers: formType,
      body: form([
        ['model', 'draw'],
        ['image', Buffer.alloc(100)],
      ]),
    })
    const text = await told.text()
    expect([told.status, text.includes('sk-upstream')]).toEqual([status, false])
    expect(await row).toMatchObject({ outcome: 'error', error: code, model: 'gpt-image-1' })
    expect(rows).toHaveLength(1)
    expect((await standing())?.held).toBe(0)
  })
})
