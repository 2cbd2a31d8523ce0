import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { toFile, toStreamingFile } from 'openai'
import { describe, expect, it, onTestFinished } from 'vitest'
import { eachHost } from '../../test/hosts.js'
import { form, formType, gate, imageUsage, mebibyte, start, tokenUsage } from '../../test/media-gate.js'
import { answerBytes, answerEvents, answerJson, formOf } from '../../test/media-upstream.js'

eachHost((host) => {
  it('relays JSON, a form and an error', async () => {
    const { upstream, rows, mounts } = await gate({
      upstream: { answer: answerJson({ text: 'hi', usage: tokenUsage }) },
    })
    const { url } = await host.start(...(mounts as never as Parameters<typeof host.start>))
    const heard = await fetch(`${url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: formType,
      body: form([
        ['model', 'hear'],
        ['file', Buffer.from('wav')],
      ]),
    })
    expect([heard.status, await heard.json()]).toEqual([200, { text: 'hi', usage: tokenUsage }])
    const missing = await fetch(`${url}/v1/images/edits`, {
      method: 'POST',
      headers: formType,
      body: form([['prompt', 'x']]),
    })
    expect([missing.status, await missing.json()]).toMatchObject([400, { error: { param: 'model' } }])
    const wrong = await fetch(`${url}/v1/images/edits`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body: 'x',
    })
    expect(wrong.status).toBe(415)
    expect(upstream.calls.map(({ path }) => path)).toEqual(['/v1/audio/transcriptions'])
    await expect.poll(() => rows.length).toBe(3)
  })
})

describe('with the official SDK', () => {
  it('makes pictures, priced by their tokens', async () => {
    const body = { created: 1, data: [{ b64_json: 'QUJD' }], usage: imageUsage }
    const { client, upstream, nextRow, rows, standing } = await start({ upstream: { answer: answerJson(body) } })
    const row = nextRow()
    const { data, response } = await client.images
      .generate({ model: 'draw', prompt: 'a fox', n: 1, odd: true } as never)
      .withResponse()
    expect(data).toMatchObject(body)
    const [call] = upstream.calls
    expect(JSON.parse(String(await call?.body))).toEqual({ model: 'gpt-image-1', prompt: 'a fox', n: 1, odd: true })
    expect(call?.headers.authorization).toBe('Bearer sk-upstream-0123456789')
    // 10 tokens of text at 5, 40 of pictures at 10, 1,056 of the picture at 40 US dollars a million.
    const costNanoUsd = 10 * 5_000 + 40 * 10_000 + 1_056 * 40_000
    expect(response.headers.get('x-tollgate-cost-usd')).toBe(String(costNanoUsd / 1e9))
    expect(await row).toMatchObject({
      outcome: 'ok',
      route: '/v1/images/generations',
      modelAsked: 'draw',
      provider: 'openai',
      model: 'gpt-image-1',
      usage: { inputTokens: 10, inputImageTokens: 40, outputTokens: 0, outputImageTokens: 1_056, estimated: false },
      costNanoUsd,
    })
    expect(rows).toHaveLength(1)
    expect(await standing()).toMatchObject({ used: costNanoUsd, held: 0 })
  })

  it('streams pictures, and pays for each', async () => {
    let go = () => {}
    const gone = new Promise<void>((resolve) => {
      go = resolve
    })
    const events = [
      { type: 'image_generation.partial_image', partial_image_index: 0, b64_json: 'A'.repeat(100_000) },
      { type: 'image_generation.completed', b64_json: 'B'.repeat(5_000_000), usage: imageUsage },
    ]
    const { client, nextRow } = await start({ upstream: { answer: answerEvents(events, gone) } })
    const row = nextRow()
    const stream = await client.images.generate({
      model: 'gpt-image-1',
      prompt: 'a fox',
      stream: true,
      partial_images: 1,
    })
    const seen: unknown[] = []
    for await (const event of stream) {
      seen.push(event)
      // The last is sent only when the first has come through.
      go()
    }
    expect(seen).toEqual(events)
    expect(await row).toMatchObject({
      outcome: 'ok',
      usage: { outputImageTokens: 1_056, inputImageTokens: 40, estimated: false },
    })
  })

  it.each([
    ['of which the model comes first', (image: File) => ({ model: 'draw', image, prompt: 'a hat' })],
    ['of which it comes last', (image: File) => ({ image, prompt: 'a hat', model: 'draw' })],
  ])('edits a picture, by a form %s', async (_order, fields) => {
    const { client, upstream, nextRow } = await start({
      upstream: { answer: answerJson({ created: 1, data: [], usage: imageUsage }) },
    })
    const row = nextRow()
    const bytes = Buffer.from('\r\n--picture\r\n')
    await client.images.edit(fields(await toFile(bytes, 'p.png', { type: 'image/png' })))
    const [call] = upstream.calls
    const got = await formOf(call as never)
    expect([got.get('model'), got.get('prompt')]).toEqual(['gpt-image-1', 'a hat'])
    const file = got.get('image') as File
    expect([file.name, file.type, Buffer.from(await file.arrayBuffer())]).toEqual(['p.png', 'image/png', bytes])
    expect(Number(call?.headers['content-length'])).toBe((await call?.body)?.length)
    expect(await row).toMatchObject({
      modelAsked: 'draw',
      model: 'gpt-image-1',
      route: '/v1/images/edits',
      outcome: 'ok',
    })
  })

  it.each(['file before the model', 'model before the file'])('hears a large file from the disk: %s', async (order) => {
    const folder = await mkdtemp(join(tmpdir(), 'tollgate-test-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const path = join(folder, 'speech.wav')
    const bytes = randomBytes(3 * mebibyte)
    await writeFile(path, bytes)
    const { client, upstream, nextRow } = await start({
      spoolFolder: folder,
      upstream: { answer: answerJson({ text: 'hi', usage: tokenUsage }) },
    })
    const row = nextRow()
    const file = createReadStream(path)
    // The SDK sends the fields as they stand here.
    const heard = await client.audio.transcriptions.create(
      order.startsWith('file') ? { file, model: 'hear' } : { model: 'hear', file },
    )
    expect(heard).toEqual({ text: 'hi', usage: tokenUsage })
    const got = await formOf(upstream.calls[0] as never)
    expect([...got.keys()]).toEqual(order.startsWith('file') ? ['file', 'model'] : ['model', 'file'])
    expect(got.get('model')).toBe('gpt-4o-transcribe')
    expect(Buffer.from(await (got.get('file') as File).arrayBuffer()).equals(bytes)).toBe(true)
    expect(await row).toMatchObject({
      usage: { inputTokens: 0, inputAudioTokens: 14, outputTokens: 45, estimated: false },
      costNanoUsd: 14 * 6_000 + 45 * 10_000,
    })
    // What waited has no name.
    expect(await readdir(folder)).toEqual(['speech.wav'])
  })

  it('says how a form is mended whose file comes first, and takes the mend', async () => {
    const { client, upstream, nextRow } = await start({
      upstream: { answer: answerJson({ text: 'hi', usage: { type: 'duration', seconds: 9.2 } }) },
    })
    const create = (headers: Record<string, string>) =>
      client.audio.transcriptions.create(
        {
          file: toStreamingFile(Readable.from([Buffer.alloc(mebibyte), Buffer.alloc(mebibyte)]), 'a.wav'),
          model: 'gpt-4',
        },
        { headers },
      )
    const refused = nextRow()
    await expect(create({})).rejects.toMatchObject({
      status: 400,
      param: 'model',
      message: expect.stringContaining('x-tollgate-model'),
    })
    expect(await refused).toMatchObject({ outcome: 'error', error: 'invalid_request' })
    expect(upstream.calls).toHaveLength(0)
    const row = nextRow()
    await create({ 'x-tollgate-model': 'whisper-1' })
    const got = await formOf(upstream.calls[0] as never)
    // The header is what was allowed: another name in the form does not get through.
    expect([got.getAll('model'), (got.get('file') as File).size]).toEqual([['whisper-1'], 2 * mebibyte])
    expect(await row).toMatchObject({
      modelAsked: 'whisper-1',
      usage: { inputTokens: 0, outputTokens: 0, rows: 10 },
      costNanoUsd: 1_000_000,
    })
  })

  it('streams what it hears', async () => {
    const events = [
      { type: 'transcript.text.delta', delta: 'He said "usage"' },
      { type: 'transcript.text.done', text: 'He said "usage"', usage: tokenUsage },
    ]
    const { client, nextRow } = await start({ upstream: { answer: answerEvents(events) } })
    const row = nextRow()
    const stream = await client.audio.transcriptions.create({
      file: await toFile(Buffer.from('wav'), 'a.wav'),
      model: 'hear',
      stream: true,
    })
    const seen: unknown[] = []
    for await (const event of stream) seen.push(event)
    expect(seen).toEqual(events)
    expect(await row).toMatchObject({ usage: { inputAudioTokens: 14, outputTokens: 45, estimated: false } })
  })

  it('speaks, and estimates what nobody told', async () => {
    const sound = Buffer.alloc(300_000, 3)
    const { client, nextRow } = await start({ upstream: { answer: answerBytes(sound, 'audio/mpeg') } })
    for (const [model, costNanoUsd] of [
      ['say', 2 * 600 + 12 * 12_000],
      ['tts-1', 8 * 15_000],
    ] as const) {
      const row = nextRow()
      const spoken = await client.audio.speech.create({ model, voice: 'alloy', input: 'Hi there' })
      expect(spoken.headers.get('content-type')).toBe('audio/mpeg')
      expect(Buffer.from(await spoken.arrayBuffer()).equals(sound)).toBe(true)
      const usage = { inputTokens: 2, outputTokens: 0, outputAudioTokens: 12, rows: 8, estimated: true }
      expect(await row).toMatchObject({ route: '/v1/audio/speech', usage, costNanoUsd })
    }
  })

  it('speaks in events', async () => {
    const events = [
      { type: 'speech.audio.delta', audio: 'QUJD' },
      { type: 'speech.audio.done', usage: { input_tokens: 14, output_tokens: 101, total_tokens: 115 } },
    ]
    const { client, nextRow } = await start({ upstream: { answer: answerEvents(events) } })
    const row = nextRow()
    const spoken = await client.audio.speech.create({ model: 'say', voice: 'alloy', input: 'Hi', stream_format: 'sse' })
    expect(await spoken.text()).toBe(
      events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(''),
    )
    expect(await row).toMatchObject({ usage: { inputTokens: 14, outputAudioTokens: 101, estimated: false } })
  })

  it.each([
    ['srt', 'application/x-subrip', '1\n00:00:00,000 --> 00:00:01,000\nHi\n'],
    ['vtt', 'text/vtt', 'WEBVTT\n\n'],
    ['text', 'text/plain; charset=utf-8', 'Hi\n'],
  ] as const)('relays %s, and estimates its length', async (format, contentType, text) => {
    const { client, nextRow } = await start({ upstream: { answer: answerBytes(text, contentType) } })
    const row = nextRow()
    const file = await toFile(Buffer.alloc(32_000), 'a.wav')
    const heard = await client.audio.translations.create({ model: 'whisper-1', file, response_format: format as never })
    expect(heard).toBe(text)
    expect(await row).toMatchObject({
      route: '/v1/audio/translations',
      usage: { rows: 3, estimated: true },
      costNanoUsd: 300_000,
    })
  })

  it('pays by the picture where there are no tokens', async () => {
    const { client, nextRow } = await start({
      upstream: { answer: answerJson({ created: 1, data: [{ url: 'a' }, { url: 'b' }] }) },
    })
    const row = nextRow()
    await client.images.createVariation({ model: 'dall-e-2', image: await toFile(Buffer.from('png'), 'p.png'), n: 2 })
    expect(await row).toMatchObject({ usage: { rows: 2, estimated: true }, costNanoUsd: 40_000_000 })
  })
})

describe('policies', () => {
  const edit = (url: string, model: string) =>
    fetch(`${url}/v1/images/edits`, {
      method: 'POST',
      headers: formType,
      body: form([
        ['model', model],
        ['image', Buffer.alloc(200_000)],
      ]),
    })

  it.each([
    ['unknown', 'gemini-9', {}, 404, 'model_not_found'],
    ["another provider's", 'echo', {}, 400, 'invalid_request'],
    ['not allowed', 'draw', { principal: { models: [['gpt-4o*']] } }, 403, 'model_not_allowed'],
    ['without a price', 'nobody-knows', {}, 400, 'price_unknown'],
    ['too dear', 'draw', { budget: '0.01' }, 402, 'budget_exceeded'],
  ] as const)(
    'refuse a model that is %s, and the upstream hears nothing',
    async (_why, model, options, status, code) => {
      const { url, upstream, nextRow, rows } = await start(options)
      const row = nextRow()
      const told = await edit(url, model)
      expect(told.status).toBe(status)
      expect(await row).toMatchObject({ outcome: 'error', error: code, modelAsked: model })
      const sent = upstream.calls.filter(({ path }) => path !== '/v1/models')
      expect([rows.length, sent.length]).toEqual([1, 0])
    },
  )

  it.each([
    ['pictures', 'images/generations', { model: 'dall-e-2', prompt: 'a', n: 3 }, '0.05'],
    ['characters', 'audio/speech', { model: 'tts-1', voice: 'ash', input: 'a'.repeat(1_000) }, '0.014'],
    ['what no upstream makes', 'images/generations', { model: 'dall-e-2', prompt: 'a', n: 2 ** 53 - 1 }, '100'],
  ])('reserve %s that are priced by the piece, before they are made', async (_what, path, body, budget) => {
    const { url, upstream } = await start({ budget })
    const told = await fetch(`${url}/v1/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    expect([told.status, upstream.calls]).toEqual([402, []])
  })

  it.each(['', 'x'.repeat(300)])('take no name for a model that is none', async (model) => {
    const { url } = await start()
    const told = await edit(url, model)
    expect([told.status, await told.json()]).toMatchObject([400, { error: { param: 'model' } }])
  })

  it('say which model is meant where it does other things', async () => {
    const { url } = await start()
    const { error } = (await (await edit(url, 'echo')).json()) as { error: { message: string; param: string } }
    expect(error).toMatchObject({
      param: 'model',
      message: expect.stringContaining('does not do media; it does: generate'),
    })
  })
})
