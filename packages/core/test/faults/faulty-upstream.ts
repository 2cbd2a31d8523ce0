import type { IncomingHttpHeaders } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setImmediate, setTimeout } from 'node:timers/promises'
import type { FixtureWire, UpstreamScript } from '../fixture-upstream.js'

/** What a healthy upstream would send. */
export interface HealthyAnswer {
  readonly isStream: boolean
  readonly contentType: string
  /** The events of a stream as they are framed, each with its end; of any other answer the JSON alone. */
  readonly pieces: readonly Buffer[]
  readonly isServerSent: boolean
  /** An error as an event of the stream. */
  readonly error: (error: unknown) => Buffer
}

/** The connection, to say on it what one likes. */
export interface Line {
  readonly request: FaultyRequest
  /** Resolves when the socket has taken it, and the next piece will be another packet. */
  send(bytes: string | Uint8Array): Promise<void>
  /** In pieces of so many bytes. */
  dribble(bytes: string | Uint8Array, size: number, pauseMs?: number): Promise<void>
  /** Status line and fields. The body ends with the connection, unless the fields say otherwise. */
  head(fields?: Readonly<Record<string, string | number>>, status?: string): Promise<void>
  /** Nothing more is said, until the other side has gone. */
  silence(): Promise<void>
  /** The other side has gone. */
  left(): boolean
  reset(): void
  end(): void
}

/** How one answer goes wrong. */
export type Play = (line: Line, healthy: HealthyAnswer) => Promise<void> | void

export interface FaultyRequest {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface FaultyUpstream {
  readonly baseUrl: string
  /** How answers to this model go. Without it they are healthy. */
  play(model: string, play: Play | undefined, script?: UpstreamScript): void
  readonly requests: readonly FaultyRequest[]
  connections(): number
  close(): Promise<void>
}

/** Says what it should, at once. */
export const healthily: Play = async (line, { contentType, pieces }) => {
  const body = Buffer.concat(pieces)
  await line.head({ 'content-type': contentType, 'content-length': body.length })
  await line.send(body)
}

/** A server of a vendor's wire over bare sockets: what it says need not be HTTP. */
export async function faultyUpstream(wire: FixtureWire): Promise<FaultyUpstream> {
  const plays = new Map<string, { play: Play; script: UpstreamScript }>()
  const requests: FaultyRequest[] = []
  const sockets = new Set<Socket>()

  const answer = async (socket: Socket, request: FaultyRequest) => {
    requests.push(request)
    const body = JSON.parse(request.body === '' ? '{}' : request.body) as Record<string, unknown>
    const below = (request.path.split('?', 1)[0] ?? '').slice(wire.version.length)
    const model = wire.modelOf?.(below, body) ?? String(body['model'])
    const { play, script } = plays.get(model) ?? { play: healthily, script: {} }
    const refused = await wire.refuse(request.headers, request)
    if (refused !== undefined) throw new Error(`refused: ${JSON.stringify(refused)}`)
    await play(lineOf(socket, request), healthyOf(wire, below, body, script))
  }
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    let text = ''
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk
      for (let taken = requestIn(text); taken !== undefined; taken = requestIn(text)) {
        text = text.slice(taken.length)
        answer(socket, taken.request).catch((error: unknown) => {
          process.stderr.write(`${String(error)}\n`)
          socket.destroy()
        })
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}${wire.version}`,
    play: (model, play = healthily, script = {}) => void plays.set(model, { play, script }),
    requests,
    connections: () => sockets.size,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function requestIn(text: string): { request: FaultyRequest; length: number } | undefined {
  const end = text.indexOf('\r\n\r\n')
  if (end === -1) return undefined
  const [first = '', ...lines] = text.slice(0, end).split('\r\n')
  const headers = Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    }),
  )
  const length = end + 4 + Number(headers['content-length'] ?? 0)
  if (text.length < length) return undefined
  const [method = '', path = ''] = first.split(' ')
  const body = Buffer.from(text.slice(end + 4, length), 'latin1').toString('utf8')
  return { request: { method, path, headers, body }, length }
}

function healthyOf(
  wire: FixtureWire,
  path: string,
  body: Readonly<Record<string, unknown>>,
  script: UpstreamScript,
): HealthyAnswer {
  const answer = wire.answer(path, body, script, [])
  if ('json' in answer) {
    if (answer.status !== undefined) throw new Error(`the wire refused: ${JSON.stringify(answer.json)}`)
    const pieces = [Buffer.from(JSON.stringify(answer.json))]
    const error = (given: unknown) => Buffer.from(JSON.stringify({ error: given }))
    return { isStream: false, contentType: 'application/json', pieces, isServerSent: false, error }
  }
  const { events, last, contentType = 'text/event-stream; charset=utf-8' } = answer
  const framed = (event: string | Uint8Array) => Buffer.from(typeof event === 'string' ? `${event}\n\n` : event)
  return {
    isStream: true,
    contentType,
    pieces: [...events, last].map(framed),
    isServerSent: typeof last === 'string',
    error: (given) => framed(answer.error(given)),
  }
}

function lineOf(socket: Socket, request: FaultyRequest): Line {
  const send = async (bytes: string | Uint8Array) => {
    if (socket.destroyed) return
    if (!socket.write(bytes)) {
      await Promise.race(['drain', 'close'].map((event) => new Promise((resolve) => socket.once(event, resolve))))
    } else await setImmediate()
  }
  return {
    request,
    send,
    async dribble(given, size, pauseMs) {
      const bytes = Buffer.from(given as string)
      for (let from = 0; from < bytes.length && !socket.destroyed; from += size) {
        if (pauseMs !== undefined) await setTimeout(pauseMs)
        await send(bytes.subarray(from, from + size))
      }
    },
    head: (fields = {}, status = '200 OK') =>
      send(
        `HTTP/1.1 ${status}\r\n${Object.entries(fields)
          .map(([name, value]) => `${name}: ${value}\r\n`)
          .join('')}\r\n`,
      ),
    silence: () => new Promise((resolve) => (socket.destroyed ? resolve() : socket.once('close', () => resolve()))),
    left: () => socket.destroyed,
    reset: () => void socket.resetAndDestroy(),
    end: () => void socket.end(),
  }
}
