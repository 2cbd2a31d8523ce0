import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { listen } from './listen.js'

/** A request as the upstream gets it, while it gets it. */
export interface MediaCall {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  /** Bytes so far. */
  received(): number
  /** All bytes, if they are kept. */
  readonly body: Promise<Buffer>
  /** When so many bytes are here. */
  reaches(bytes: number): Promise<void>
  /** When the answer's connection is done with it; `true` if it was broken off. */
  readonly broken: Promise<boolean>
}

export interface MediaUpstreamOptions {
  /** Default: an empty object in JSON, when the whole request is here. */
  readonly answer?: (call: MediaCall, res: ServerResponse) => void | Promise<void>
  /** `slowly`: a piece each millisecond, counted and thrown away. Default `all`, which is kept. */
  readonly reads?: 'all' | 'slowly'
}

/** A server for OpenAI's endpoints for pictures and sound that watches requests arrive, until the test is over. */
export async function mediaUpstream({ answer = answerJson({}), reads = 'all' }: MediaUpstreamOptions = {}) {
  const calls: MediaCall[] = []
  const waiting: Array<(call: MediaCall) => void> = []
  const { url } = await listen((req, res) => {
    const call = callOf(req, res, reads === 'all')
    calls.push(call)
    waiting.shift()?.(call)
    Promise.resolve(answer(call, res)).catch(() => res.destroy())
  })
  return {
    baseUrl: `${url}/v1`,
    calls,
    next: () => new Promise<MediaCall>((resolve) => waiting.push(resolve)),
  }
}

/** Answers with this when the whole request is here. */
export function answerBytes(body: string | Buffer, contentType: string, status = 200) {
  return async (call: MediaCall, res: ServerResponse): Promise<void> => {
    await call.body
    res.writeHead(status, { 'content-type': contentType })
    res.end(body)
  }
}

export function answerJson(body: unknown, status = 200) {
  return answerBytes(JSON.stringify(body), 'application/json', status)
}

/** Events as OpenAI frames them; `pause` is waited for before the last. */
export function answerEvents(
  events: ReadonlyArray<{ readonly type: string }>,
  pause: Promise<unknown> = Promise.resolve(),
) {
  return async (call: MediaCall, res: ServerResponse): Promise<void> => {
    await call.body
    res.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
    for (const [index, event] of events.entries()) {
      if (index === events.length - 1) await pause
      res.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
    }
    res.end()
  }
}

function callOf(req: IncomingMessage, res: ServerResponse, keeps: boolean): MediaCall {
  const chunks: Buffer[] = []
  let received = 0
  const marks = new Set<() => void>()
  req.on('data', (chunk: Buffer) => {
    received += chunk.length
    if (keeps) chunks.push(chunk)
    else {
      req.pause()
      setTimeout(() => req.resume(), 1)
    }
    for (const mark of marks) mark()
  })
  return {
    path: req.url ?? '',
    headers: req.headers,
    received: () => received,
    body: new Promise((resolve) => req.once('end', () => resolve(Buffer.concat(chunks)))),
    reaches: (bytes) =>
      new Promise((resolve) => {
        const mark = () => {
          if (received < bytes) return
          marks.delete(mark)
          resolve()
        }
        marks.add(mark)
        mark()
      }),
    broken: new Promise((resolve) => res.once('close', () => resolve(!res.writableFinished))),
  }
}

/** The parts of a form by name; files as they are, fields as text. */
export async function formOf({ headers, body }: MediaCall): Promise<FormData> {
  const init = {
    method: 'POST',
    headers: { 'content-type': headers['content-type'] ?? '' },
    body: new Uint8Array(await body),
  }
  return new Request('http://localhost/', init).formData()
}
