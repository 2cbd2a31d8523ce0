import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import OpenAI, { toFile, toStreamingFile } from 'openai'
import { describe, expect, it, onTestFinished } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import {
  answerBytes,
  answerEvents,
  answerJson,
  formOf,
  type MediaUpstreamOptions,
  mediaUpstream,
} from '../../test/media-upstream.js'
import type { RequestContext } from '../http/context.js'
import { type Handler, listener, middleware } from '../http/handler.js'
import { inferenceService } from '../inference/service.js'
import { authorize } from '../middleware/authorize.js'
import { bodyLimit } from '../middleware/body-limit.js'
import { cost } from '../middleware/cost.js'
import { errorHandler } from '../middleware/error-handler.js'
import { ledger } from '../middleware/ledger.js'
import { limits } from '../middleware/limits.js'
import { timeout } from '../middleware/timeout.js'
import { priceTable } from '../price-table.js'
import type { Principal } from '../principal.js'
import { byteTokenizer } from '../providers/count-tokens.js'
import { echoProvider } from '../providers/echo.js'
import { namedModels } from '../providers/named-models.js'
import { openAiCompatible } from '../providers/openai-compatible.js'
import type { LedgerRow } from '../stores/ledger.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import { withRetry } from '../wrappers/retry.js'
import { speech, transcriptions, translations } from './audio.js'
import { imageEdits, imageGenerations, imageVariations } from './images.js'
import type { MediaRouteOptions } from './media-route.js'

const quiet = { error: () => {}, warn: () => {} }
const mebibyte = 1_048_576
const prices = priceTable({ overrides: { 'dall-e-2': { usdPerRow: '0.02' }, 'tts-1': { usdPerRow: '0.000015' } } })

interface GateOptions extends Omit<MediaRouteOptions, 'service'> {
  readonly upstream?: MediaUpstreamOptions
  readonly principal?: Partial<Principal>
  readonly before?: readonly Handler[]
  readonly budget?: string
}

/** All six routes behind the middlewares, over a fixture upstream, and the rows of the ledger. */
async function gate({ upstream: scripted, principal, before = [], budget = '10', ...options }: GateOptions = {}) {
  const upstream = await mediaUpstream(scripted)
  const provider = openAiCompatible({ name: 'openai', baseUrl: upstream.baseUrl, apiKey: 'sk-upstream-0123456789' })
  const patient = provider.model('media', 'gpt-image-1')
  if (patient === undefined) throw new Error('no model')
  const service = inferenceService({
    providers: [
      { provider: echoProvider({ tokenizer: byteTokenizer }), models: ['echo'] },
      namedModels({ models: { retried: withRetry(patient, { baseMs: 0 }) } }),
      { provider, models: ['gpt-*', 'dall-e-*', 'tts-*', 'whisper-*', 'nobody-*'] },
    ],
    aliases: { draw: 'gpt-image-1', hear: 'gpt-4o-transcribe', say: 'gpt-4o-mini-tts' },
  })
  onTestFinished(() => service.close())
  const rows: LedgerRow[] = []
  const waiting: Array<(row: LedgerRow) => void> = []
  const append = (row: LedgerRow) => {
    rows.push(row)
    waiting.shift()?.(row)
  }
  const contexts: RequestContext[] = []
  const known = middleware('known', (context) => {
    contexts.push(context)
    context.principal = { tenant: 't', subject: 'u', scopes: ['*'], ...principal } as Principal
  })
  const store = memoryLimitStore()
  const rule = { name: 'budget', measure: 'money', per: 'user', limit: budget, calendar: 'month' } as const
  const limiter = limits({ store, prices, rules: [rule] })
  const given = { service, ...options }
  const mounts = [
    ...before,
    known,
    authorize(),
    limiter,
    ledger({ writer: { append } as never }),
    cost({ prices }),
    ['/v1/images/generations', imageGenerations(given)],
    ['/v1/images/edits', imageEdits(given)],
    ['/v1/images/variations', imageVariations(given)],
    ['/v1/audio/speech', speech(given)],
    ['/v1/audio/transcriptions', transcriptions(given)],
    ['/v1/audio/translations', translations(given)],
    errorHandler({ log: quiet }),
  ] as const
  /** What is spent and held of the budget, nano-USD. */
  const standing = async () => {
    const [state] = await limiter.standing({ headers: {}, socket: {} } as never, contexts[0] as RequestContext)
    return state
  }
  return { upstream, rows, nextRow: () => new Promise<LedgerRow>((resolve) => waiting.push(resolve)), mounts, standing }
}

async function start(options: GateOptions = {}) {
  const made = await gate(options)
  const listeners = made.mounts.map((mount) => {
    if (typeof mount === 'function') return mount
    const [path, handler] = mount
    const guarded: Handler = (req, res, next) => (req.url === path ? handler(req, res, next) : next())
    return guarded
  })
  const { url } = await listen(listener(...listeners))
  return { ...made, url, client: new OpenAI({ apiKey: 'sk-caller', baseURL: `${url}/v1`, maxRetries: 0 }) }
}

const imageUsage = {
  input_tokens: 50,
  output_tokens: 1_056,
  total_tokens: 1_106,
  input_tokens_details: { text_tokens: 10, image_tokens: 40 },
}
const tokenUsage = {
  type: 'tokens',
  input_tokens: 14,
  output_tokens: 45,
  total_tokens: 59,
  input_token_details: { text_tokens: 0, audio_tokens: 14 },
}

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

/** A form by hand, its parts in the order that is given. */
function form(parts: ReadonlyArray<readonly [name: string, value: string | Uint8Array]>, boundary = 'xyz') {
  const pieces = parts.flatMap(([name, value]) => [
    `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${typeof value === 'string' ? '' : '; filename="f"'}\r\n\r\n`,
    value,
    '\r\n',
  ])
  return Buffer.concat([...pieces, `--${boundary}--\r\n`].map((piece) => Buffer.from(piece as never)))
}

const formType = { 'content-type': 'multipart/form-data; boundary=xyz' }

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

describe('a form on its way', () => {
  it('reaches the upstream before its caller has sent the rest', async () => {
    const { url, upstream } = await start({ upstream: { answer: answerJson({ text: 'hi', usage: tokenUsage }) } })
    const whole = form([
      ['model', 'hear'],
      ['file', Buffer.alloc(mebibyte, 1)],
    ])
    const coming = upstream.next()
    let sendRest = (_rest: Buffer) => {}
    const rest = new Promise<Buffer>((resolve) => {
      sendRest = resolve
    })
    async function* body() {
      yield whole.subarray(0, 500_000)
      yield await rest
    }
    const answer = fetch(`${url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: formType,
      body: Readable.toWeb(Readable.from(body())) as never,
      duplex: 'half',
    } as RequestInit)
    const call = await coming
    // But for the last piece, which waits for the next.
    await call.reaches(300_000)
    sendRest(whole.subarray(500_000))
    expect((await answer).status).toBe(200)
    expect(
      (await call.body).equals(
        form([
          ['model', 'gpt-4o-transcribe'],
          ['file', Buffer.alloc(mebibyte, 1)],
        ]),
      ),
    ).toBe(true)
  })

  it('passes byte for byte where the name of the model stays', async () => {
    const { url, upstream } = await start()
    const body = Buffer.concat([
      form([
        ['file', Buffer.from('a\r\n--xy')],
        ['model', 'gpt-image-1'],
        ['prompt', 'ü'],
      ]),
      Buffer.from('epilogue'),
    ])
    await fetch(`${url}/v1/images/edits`, { method: 'POST', headers: formType, body })
    expect((await upstream.calls[0]?.body)?.equals(body)).toBe(true)
  })

  it('of 50 MB takes no memory, though the upstream is slow to read', async () => {
    const { url, upstream } = await start({
      upstream: { answer: answerJson({ text: 'hi', usage: tokenUsage }), reads: 'slowly' },
    })
    const bytes = 50 * mebibyte
    const chunk = Buffer.alloc(65_536, 1)
    let most = 0
    async function* body() {
      yield form([['model', 'hear']]).subarray(0, -'--xyz--\r\n'.length)
      yield Buffer.from('--xyz\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n')
      for (let sent = 0; sent < bytes; sent += chunk.length) {
        if (sent % mebibyte === 0) {
          gc()
          most = Math.max(most, process.memoryUsage().arrayBuffers)
        }
        yield chunk
      }
      yield Buffer.from('\r\n--xyz--\r\n')
    }
    gc()
    const before = process.memoryUsage().arrayBuffers
    const answer = await fetch(`${url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: formType,
      body: Readable.toWeb(Readable.from(body())) as never,
      duplex: 'half',
    } as RequestInit)
    expect(answer.status).toBe(200)
    expect(upstream.calls[0]?.received()).toBeGreaterThan(bytes)
    expect(most - before).toBeLessThan(20 * mebibyte)
  })

  it('closes the upstream when its caller leaves in the middle, and costs nothing', async () => {
    const { url, upstream, nextRow, standing } = await start()
    const row = nextRow()
    const coming = upstream.next()
    const leave = new AbortController()
    async function* body() {
      yield form([
        ['model', 'hear'],
        ['file', Buffer.alloc(200_000)],
      ]).subarray(0, 150_000)
      await new Promise(() => {})
    }
    const answer = fetch(`${url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: formType,
      body: Readable.toWeb(Readable.from(body())) as never,
      duplex: 'half',
      signal: leave.signal,
    } as RequestInit)
    const call = await coming
    await call.reaches(100_000)
    leave.abort()
    await expect(answer).rejects.toThrow()
    expect(await call.broken).toBe(true)
    expect(await row).toMatchObject({ outcome: 'aborted', model: 'gpt-4o-transcribe' })
    expect((await row).usage).toBeUndefined()
    expect(await standing()).toMatchObject({ used: 0, held: 0 })
  })

  it('is refused when it breaks half way, and the upstream is let go', async () => {
    const { url, upstream, nextRow } = await start()
    for (const body of [
      form([
        ['model', 'draw'],
        ['image', Buffer.alloc(500_000)],
        ['model', 'other'],
      ]),
      form([
        ['model', 'draw'],
        ['image', Buffer.alloc(500_000)],
      ]).subarray(0, -4),
    ]) {
      const row = nextRow()
      const coming = upstream.next()
      const answer = await fetch(`${url}/v1/images/edits`, { method: 'POST', headers: formType, body })
      expect([answer.status, await answer.json()]).toMatchObject([400, { error: { type: 'invalid_request_error' } }])
      expect(await (await coming).broken).toBe(true)
      expect(await row).toMatchObject({ outcome: 'error', error: 'invalid_request' })
    }
  })

  it.each([
    ['its own limit', { maxUploadBytes: 500_000 }],
    ["the host's", { before: [bodyLimit({ maxBytes: 500_000 })] }],
  ])('is refused when it passes %s', async (_which, options) => {
    const { url, upstream, nextRow } = await start(options)
    const whole = form([
      ['model', 'draw'],
      ['image', Buffer.alloc(mebibyte)],
    ])
    const told = await fetch(`${url}/v1/images/edits`, { method: 'POST', headers: formType, body: whole })
    expect(told.status).toBe(413)
    expect(upstream.calls).toHaveLength(0)
    const coming = upstream.next()
    async function* pieces() {
      yield whole.subarray(0, 400_000)
      await coming
      yield whole.subarray(400_000)
    }
    const body = Readable.toWeb(Readable.from(pieces())) as never
    const row = nextRow()
    const chunked = await fetch(`${url}/v1/images/edits`, {
      method: 'POST',
      headers: formType,
      body,
      duplex: 'half',
    } as RequestInit)
    expect(chunked.status).toBe(413)
    expect(await (await coming).broken).toBe(true)
    expect(await row).toMatchObject({ status: 413, error: 'payload_too_large' })
  })

  it('is sent once: nobody tries again what is gone, but an answer in JSON', async () => {
    const { url, upstream } = await start({ upstream: { answer: answerJson({ error: { message: 'down' } }, 500) } })
    const post = (headers: Record<string, string>, body: string | Buffer) =>
      fetch(`${url}/v1/images/edits`, { method: 'POST', headers, body })
    expect(
      (
        await post(
          formType,
          form([
            ['model', 'retried'],
            ['image', Buffer.from('p')],
          ]),
        )
      ).status,
    ).toBe(502)
    expect(upstream.calls).toHaveLength(1)
    expect((await post({ 'content-type': 'application/json' }, JSON.stringify({ model: 'retried' }))).status).toBe(502)
    expect(upstream.calls).toHaveLength(4)
  })
})

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
