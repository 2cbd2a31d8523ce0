import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate, setTimeout } from 'node:timers/promises'

/** What the upstream answers to a model's name. Everything has a sane default: `{}` is a healthy answer. */
export interface UpstreamScript {
  /** The answer; sent word by word in streams. */
  readonly text?: string
  readonly refusal?: string
  /** What it thinks first; with a signature where the wire has such, or redacted. */
  readonly reasoning?: ReadonlyArray<{ readonly text: string; readonly signature?: string; readonly redacted?: string }>
  readonly toolCalls?: ReadonlyArray<{ readonly id: string; readonly name: string; readonly arguments: string }>
  /** `false`: the upstream never says what was used. */
  readonly usage?: Readonly<Record<string, unknown>> | false
  /** Why the answer ends, in the wire's own word. */
  readonly stopReason?: string
  /** Characters of a piece of a text in streams. Default: words. */
  readonly pieceLength?: number
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
  /** Milliseconds between the events of a stream. */
  readonly pauseMs?: number
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

/** A server that speaks a vendor's wire, and misbehaves on demand. */
export interface FixtureUpstream {
  /** For clients: with the version. */
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

/** What is sent: JSON, or the events of a stream, each with its lines but the blank one, or as bytes. */
export type FixtureAnswer =
  | { readonly status?: number; readonly headers?: Readonly<Record<string, string>>; readonly json: unknown }
  | {
      readonly contentType?: string
      readonly events: ReadonlyArray<string | Uint8Array>
      /** The terminal one. */
      readonly last: string | Uint8Array
      readonly error: (error: unknown) => string | Uint8Array
    }

/** A request as it came, for those who look at its bytes. */
export interface RawRequest {
  readonly method: string
  /** With its query. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A vendor's wire. */
export interface FixtureWire {
  /** In the path before what `answer` is asked for. */
  readonly version: string
  /** The answer to a request without the right credentials; `undefined` for one that has them. */
  refuse(
    headers: IncomingHttpHeaders,
    request: RawRequest,
  ): FixtureAnswer | undefined | Promise<FixtureAnswer | undefined>
  /** The model that a request is for. */
  modelOf?(path: string, body: Readonly<Record<string, unknown>>): string
  answer(
    path: string,
    body: Readonly<Record<string, unknown>>,
    script: UpstreamScript,
    models: readonly string[],
  ): FixtureAnswer
}

/** Starts one on a free port of 127.0.0.1. */
export async function fixtureUpstream(
  wire: FixtureWire,
  scripts: Readonly<Record<string, UpstreamScript>> = {},
): Promise<FixtureUpstream> {
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
    // What holds when it comes is what it is answered by.
    const below = path.slice(wire.version.length)
    const script = known.get(wire.modelOf?.(below, body) ?? String(body['model'] ?? '')) ?? {}
    calls.push(call)
    waiting.shift()?.(call)
    const { method = '', url = '', headers } = req
    const refused = await wire.refuse(headers, { method, path: url, headers, body: text })
    if (refused !== undefined) {
      send(res, refused)
      return
    }
    if (script.delayMs !== undefined) await setTimeout(script.delayMs)
    if (script.resetAfter === -1) res.socket?.resetAndDestroy()
    else if (script.stallAfter === -1) await new Promise((resolve) => res.once('close', resolve))
    else if (script.answer !== undefined) verbatim(res, script.answer)
    else {
      const made = wire.answer(below, body, script, [...known.keys()])
      if ('events' in made) await stream(res, made, script, progress)
      else if (script.resetAfter === 0) cutShort(res, made.json)
      else send(res, made)
    }
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}${wire.version}`,
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

async function stream(
  res: ServerResponse,
  { contentType, events, last, error }: Extract<FixtureAnswer, { events: unknown }>,
  script: UpstreamScript,
  progress: { events: number },
): Promise<void> {
  res.writeHead(200, {
    'content-type': contentType ?? 'text/event-stream; charset=utf-8',
    'x-ratelimit-remaining-requests': '7',
  })
  res.flushHeaders()
  const write = writer(res, script.split ?? 'none')
  const end = script.lineEnd ?? '\n'
  const framed = (event: string | Uint8Array) =>
    typeof event === 'string' ? `${event.replaceAll('\n', end)}${end}${end}` : event
  // Comments and marks are of Server-Sent Events alone.
  const noisy = script.noisy === true && contentType === undefined
  if (noisy) await write('\uFEFF')
  for (const event of script.withoutDone === true ? events : [...events, last]) {
    if (script.pauseMs !== undefined) await setTimeout(script.pauseMs)
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
      await write(framed(error(script.errorAfter.error)))
      break
    }
    if (noisy) await write(framed(': comment'))
    await write(framed(event))
    progress.events += 1
    if (res.destroyed) return
  }
  res.end()
}

/** The words of a healthy answer, as a stream sends them. */
export function wordsOf(text: string = defaultText): string[] {
  return text.match(/\s*\S+/g) ?? []
}

/** A text as a stream sends it. */
export function piecesOf(text: string = defaultText, { pieceLength }: UpstreamScript): string[] {
  if (pieceLength === undefined) return wordsOf(text)
  return text.match(new RegExp(`.{1,${pieceLength}}`, 'gsu')) ?? []
}

/** What a healthy answer says. */
export const defaultText = 'Hello there, this is the upstream: 你好 🙂 "quoted" \\ done.'

function send(res: ServerResponse, answer: FixtureAnswer): void {
  if ('json' in answer) json(res, answer.status ?? 200, answer.json, answer.headers)
}

/** The head and half of the body, then a reset. */
function cutShort(res: ServerResponse, body: unknown): void {
  const text = JSON.stringify(body)
  res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
  res.write(text.slice(0, text.length / 2), () => res.socket?.resetAndDestroy())
}

function writer(
  res: ServerResponse,
  split: 'none' | 'bytes' | 'random',
): (event: string | Uint8Array) => Promise<void> {
  return async (event) => {
    const bytes = Buffer.from(event as string)
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
  const text = typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body)
  res.writeHead(status, { 'content-type': 'application/json', ...headers })
  res.end(text)
}

function json(res: ServerResponse, status: number, body: unknown, headers?: Readonly<Record<string, string>>): void {
  const text = Buffer.from(JSON.stringify(body))
  res.writeHead(status, { 'content-type': 'application/json', 'content-length': text.length, ...headers })
  res.end(text)
}
