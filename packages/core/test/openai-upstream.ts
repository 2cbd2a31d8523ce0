import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate, setTimeout } from 'node:timers/promises'

/** What the upstream answers to a model's name. Everything has a sane default: `{}` is a healthy answer. */
export interface UpstreamScript {
  /** The answer; sent word by word in streams. */
  readonly text?: string
  readonly refusal?: string
  readonly toolCalls?: ReadonlyArray<{ readonly id: string; readonly name: string; readonly arguments: string }>
  /** `false`: the upstream never says what was used. */
  readonly usage?: Readonly<Record<string, unknown>> | false
  /** How the bytes of a stream are cut into writes. */
  readonly split?: 'none' | 'bytes' | 'random'
  readonly lineEnd?: '\n' | '\r\n' | '\r'
  /** Comments between the events, a byte order mark in front. */
  readonly noisy?: boolean
  /** Milliseconds before the head. */
  readonly delayMs?: number
  /** Falls silent after so many events; 0: after the head; -1: before it. */
  readonly stallAfter?: number
  /** Resets the connection after so many events; 0: after the head; -1: before it. */
  readonly resetAfter?: number
  /** Sends an event with this `error` after so many others, then ends. */
  readonly errorAfter?: { readonly events: number; readonly error: unknown }
  /** Ends cleanly after so many events, with neither finish reason nor `[DONE]`. */
  readonly cutAfter?: number
  readonly withoutDone?: boolean
  /** Does not know `encoding_format: base64`. */
  readonly floatsOnly?: boolean
  /** This and nothing else. */
  readonly answer?: {
    readonly status: number
    readonly headers?: Readonly<Record<string, string>>
    readonly body: unknown
  }
}

/** A request as the upstream got it. */
export interface UpstreamCall {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  /** Parsed. */
  readonly body: Record<string, unknown>
  /** Events written so far. */
  readonly events: number
  /** Resolves when the answer's connection is done with it; `true` if it was broken off before the answer was complete. */
  readonly broken: Promise<boolean>
}

/** A server that speaks OpenAI's wire, and misbehaves on demand. */
export interface OpenAiUpstream {
  /** For clients: ends in `/v1`. */
  readonly baseUrl: string
  /** All requests so far. */
  readonly calls: readonly UpstreamCall[]
  /** Sockets open now. */
  connections(): number
  /** What to answer for this model from now on. Without a script the answer is healthy. */
  script(model: string, script: UpstreamScript): void
  /** The next request to come. */
  next(): Promise<UpstreamCall>
  close(): Promise<void>
}

/** The one API key it takes. */
export const upstreamKey = 'sk-upstream-secret-0123456789'

const defaultText = 'Hello there, this is the upstream: 你好 🙂 "quoted" \\ done.'
const created = 1_760_000_000

/** Starts one on a free port of 127.0.0.1. */
export async function openAiUpstream(scripts: Readonly<Record<string, UpstreamScript>> = {}): Promise<OpenAiUpstream> {
  const known = new Map(Object.entries(scripts))
  const calls: UpstreamCall[] = []
  const waiting: Array<(call: UpstreamCall) => void> = []
  let open = 0

  const server = createServer((req, res) => {
    void answer(req, res).catch(() => res.destroy())
  })
  server.on('connection', (socket) => {
    open += 1
    socket.setNoDelay(true)
    socket.on('close', () => {
      open -= 1
    })
  })

  async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk as Buffer)
    const text = Buffer.concat(chunks).toString('utf8')
    const body = (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>
    const path = req.url?.split('?', 1)[0] ?? ''
    const progress = { events: 0 }
    const call: UpstreamCall = {
      method: req.method ?? '',
      path,
      headers: req.headers,
      body,
      get events() {
        return progress.events
      },
      broken: new Promise((resolve) => res.once('close', () => resolve(!res.writableFinished))),
    }
    calls.push(call)
    waiting.shift()?.(call)
    if (req.headers.authorization !== `Bearer ${upstreamKey}`) {
      const given = req.headers.authorization ?? 'none'
      json(res, 401, openAiError(`Incorrect API key provided: ${given}`, 'invalid_request_error', 'invalid_api_key'))
      return
    }
    const model = String(body['model'] ?? '')
    const script = known.get(model) ?? {}
    if (script.delayMs !== undefined) await setTimeout(script.delayMs)
    if (script.resetAfter === -1) res.socket?.resetAndDestroy()
    else if (script.stallAfter === -1) await new Promise((resolve) => res.once('close', resolve))
    else if (script.answer !== undefined) verbatim(res, script.answer)
    else if (path === '/v1/models') json(res, 200, { object: 'list', data: [...known.keys()].map(modelEntry) })
    else if (path === '/v1/embeddings') json(res, 200, embeddings(body, script))
    else if (path !== '/v1/chat/completions') json(res, 404, openAiError('Unknown path', 'invalid_request_error', null))
    else if (body['stream'] === true) await stream(res, body, script, progress)
    else if (script.resetAfter === 0) cutShort(res, completion(body, script))
    else json(res, 200, completion(body, script))
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    calls,
    connections: () => open,
    script: (model, script) => void known.set(model, script),
    next: () => new Promise((resolve) => waiting.push(resolve)),
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** The words of a healthy answer, as a stream sends them. */
export function wordsOf(text: string = defaultText): string[] {
  return text.match(/\s*\S+/g) ?? []
}

/** What the upstream says of a healthy answer: a token for each word. */
export function usageOf(body: Readonly<Record<string, unknown>>, script: UpstreamScript = {}): Record<string, unknown> {
  if (typeof script.usage === 'object') return { ...script.usage }
  const prompt = wordsOf(JSON.stringify(body['messages'] ?? body['input'] ?? '')).length
  const completion = body['messages'] === undefined ? 0 : wordsOf(script.text).length
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0 },
  }
}

function completion(body: Record<string, unknown>, script: UpstreamScript): unknown {
  const calls = script.toolCalls?.map(({ id, name, arguments: json }) => ({
    id,
    type: 'function',
    function: { name, arguments: json },
  }))
  const choices = Array.from({ length: choicesOf(body) }, (_, index) => ({
    index,
    message: {
      role: 'assistant',
      content: calls === undefined && script.refusal === undefined ? (script.text ?? defaultText) : null,
      refusal: script.refusal ?? null,
      annotations: [],
      ...(calls === undefined ? {} : { tool_calls: calls }),
    },
    logprobs: null,
    finish_reason: calls === undefined ? 'stop' : 'tool_calls',
  }))
  return {
    id: 'chatcmpl-fixture',
    object: 'chat.completion',
    created,
    model: `${String(body['model'])}-2025-01-01`,
    choices,
    ...(script.usage === false ? {} : { usage: usageOf(body, script) }),
    service_tier: 'default',
    system_fingerprint: 'fp_fixture',
  }
}

async function stream(
  res: ServerResponse,
  body: Record<string, unknown>,
  script: UpstreamScript,
  progress: { events: number },
): Promise<void> {
  res.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'x-ratelimit-remaining-requests': '7' })
  res.flushHeaders()
  const write = writer(res, script.split ?? 'none')
  const end = script.lineEnd ?? '\n'
  if (script.noisy === true) await write('\uFEFF')
  const options = body['stream_options'] as { include_usage?: boolean } | undefined
  const events = chunks(body, script, options?.include_usage === true)
  const frames = events.map((event) => JSON.stringify(event))
  if (script.withoutDone !== true) frames.push('[DONE]')
  for (const frame of frames) {
    if (progress.events === script.stallAfter) {
      await new Promise((resolve) => res.once('close', resolve))
      return
    }
    if (progress.events === script.resetAfter) {
      res.socket?.resetAndDestroy()
      return
    }
    if (progress.events === script.cutAfter) break
    if (progress.events === script.errorAfter?.events) {
      await write(`data: ${JSON.stringify({ error: script.errorAfter.error })}${end}${end}`)
      break
    }
    if (script.noisy === true) await write(`: comment${end}${end}`)
    await write(`data: ${frame}${end}${end}`)
    progress.events += 1
    if (res.destroyed) return
  }
  res.end()
}

function chunks(body: Record<string, unknown>, script: UpstreamScript, includeUsage: boolean): unknown[] {
  const usage = includeUsage && script.usage !== false ? { usage: null } : {}
  const base = {
    id: 'chatcmpl-fixture',
    object: 'chat.completion.chunk',
    created,
    model: `${String(body['model'])}-2025-01-01`,
    service_tier: 'default',
    system_fingerprint: 'fp_fixture',
  }
  const event = (index: number, delta: object, reason: string | null = null) => ({
    ...base,
    choices: [{ index, delta, logprobs: null, finish_reason: reason }],
    ...usage,
  })
  const all: unknown[] = []
  for (let index = 0; index < choicesOf(body); index += 1) {
    all.push(event(index, { role: 'assistant', content: '', refusal: null }))
    if (script.toolCalls !== undefined) {
      for (const [position, call] of script.toolCalls.entries()) {
        const named = { id: call.id, type: 'function', function: { name: call.name, arguments: '' } }
        all.push(event(index, { tool_calls: [{ index: position, ...named }] }))
        for (const piece of call.arguments.match(/.{1,5}/gs) ?? []) {
          all.push(event(index, { tool_calls: [{ index: position, function: { arguments: piece } }] }))
        }
      }
    } else if (script.refusal !== undefined) {
      for (const piece of wordsOf(script.refusal)) all.push(event(index, { refusal: piece }))
    } else for (const piece of wordsOf(script.text)) all.push(event(index, { content: piece }))
    all.push(event(index, {}, script.toolCalls === undefined ? 'stop' : 'tool_calls'))
  }
  if (includeUsage && script.usage !== false) all.push({ ...base, choices: [], usage: usageOf(body, script) })
  return all
}

function embeddings(body: Record<string, unknown>, script: UpstreamScript): unknown {
  const input = body['input']
  const single = typeof input === 'string' || (Array.isArray(input) && typeof input[0] === 'number')
  const inputs: unknown[] = single ? [input] : (input as unknown[])
  const dimensions = typeof body['dimensions'] === 'number' ? body['dimensions'] : 4
  const data = inputs.map((each, index) => {
    const numbers = embeddingOf(each, dimensions)
    const base64 = body['encoding_format'] === 'base64' && script.floatsOnly !== true
    return {
      object: 'embedding',
      index,
      embedding: base64 ? Buffer.from(numbers.buffer).toString('base64') : [...numbers],
    }
  })
  const { prompt_tokens, total_tokens } = usageOf(body, script)
  return {
    object: 'list',
    data,
    model: body['model'],
    ...(script.usage === false ? {} : { usage: { prompt_tokens, total_tokens } }),
  }
}

/** The numbers that stand for an input. */
export function embeddingOf(input: unknown, dimensions: number): Float32Array {
  const seed = JSON.stringify(input).length
  return Float32Array.from({ length: dimensions }, (_, index) => Math.fround(Math.sin(seed + index)))
}

/** The head and half of the body, then a reset. */
function cutShort(res: ServerResponse, body: unknown): void {
  const text = JSON.stringify(body)
  res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
  res.write(text.slice(0, text.length / 2), () => res.socket?.resetAndDestroy())
}

function modelEntry(id: string): unknown {
  return { id, object: 'model', created, owned_by: 'fixture' }
}

function choicesOf(body: Record<string, unknown>): number {
  return typeof body['n'] === 'number' ? body['n'] : 1
}

function writer(res: ServerResponse, split: 'none' | 'bytes' | 'random'): (text: string) => Promise<void> {
  return async (text) => {
    const bytes = Buffer.from(text)
    for (let from = 0; from < bytes.length; ) {
      const most = bytes.length - from
      const size = split === 'none' ? most : split === 'bytes' ? 1 : Math.ceil(Math.random() ** 3 * most)
      const more = res.write(bytes.subarray(from, from + size))
      from += size
      if (res.destroyed) return
      if (!more)
        await Promise.race(['drain', 'close'].map((event) => new Promise((resolve) => res.once(event, resolve))))
      // The next piece is another packet.
      else await setImmediate()
    }
  }
}

function verbatim(res: ServerResponse, { status, headers, body }: NonNullable<UpstreamScript['answer']>): void {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  res.writeHead(status, { 'content-type': 'application/json', ...headers })
  res.end(text)
}

function openAiError(message: string, type: string, code: string | null): unknown {
  return { error: { message, type, param: null, code } }
}

function json(res: ServerResponse, status: number, body: unknown): void {
  const text = Buffer.from(JSON.stringify(body))
  res.writeHead(status, { 'content-type': 'application/json', 'content-length': text.length })
  res.end(text)
}
