import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { onTestFinished } from 'vitest'

export interface Recorded {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

export type Answer = (res: ServerResponse, request: Recorded, req: IncomingMessage) => unknown

export interface FixtureServer {
  readonly url: string
  /** Every request, in the order in which their bodies were complete. */
  readonly requests: Recorded[]
  /** Sockets opened so far. */
  readonly socketCount: number
}

/** A real server that answers the first request by the first answer and so on; the last answer serves all further ones. */
export async function serve(...answers: readonly [Answer, ...Answer[]]): Promise<FixtureServer> {
  const requests: Recorded[] = []
  const sockets = new Set<Socket>()
  let socketCount = 0
  const server = createServer(async (req, res) => {
    let body = ''
    try {
      for await (const part of req) body += part
    } catch {
      return
    }
    const recorded = { method: req.method ?? '', path: req.url ?? '', headers: req.headers, body }
    requests.push(recorded)
    const answer = answers[Math.min(requests.length, answers.length) - 1]
    await answer?.(res, recorded, req)
  })
  server.on('connection', (socket) => {
    socketCount += 1
    sockets.add(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    get socketCount() {
      return socketCount
    },
  }
}

export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Answer {
  return (res) => {
    res.writeHead(status, { 'content-type': 'application/json', ...headers })
    res.end(JSON.stringify(body))
  }
}

export function problem(
  status: number,
  code: string,
  extra: object = {},
  headers: Record<string, string> = {},
): Answer {
  const body = {
    type: 'about:blank',
    title: code,
    status,
    detail: `It was ${code}.`,
    code,
    request_id: 'req-p',
    ...extra,
  }
  return json(body, status, { 'content-type': 'application/problem+json', 'x-request-id': 'req-p', ...headers })
}

/** Writes the parts, one by one, and ends unless told to hang. */
export function eventStream(parts: readonly (string | Uint8Array)[], end: 'end' | 'hang' | 'reset' = 'end'): Answer {
  return async (res, _, req) => {
    res.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'x-request-id': 'req-s' })
    for (const part of parts) {
      res.write(part)
      await new Promise((resolve) => setImmediate(resolve))
    }
    if (end === 'end') res.end()
    if (end === 'reset') req.socket.destroy()
  }
}

export function chunk(content: string | undefined, finish: string | null = null, extra: object = {}): string {
  const delta = content === undefined ? {} : { content }
  const choices = [{ index: 0, delta, finish_reason: finish }]
  return `data: ${JSON.stringify({ id: 'c1', object: 'chat.completion.chunk', created: 7, model: 'm', choices, ...extra })}\n\n`
}

export const done = 'data: [DONE]\n\n'

/** Accepts the request and never answers; resolves `closed` once its socket is gone. */
export function silence(): {
  readonly answer: Answer
  readonly closed: Promise<void>
  readonly arrived: Promise<void>
} {
  const closed = Promise.withResolvers<void>()
  const arrived = Promise.withResolvers<void>()
  return {
    answer: (_, __, req) => {
      req.socket.once('close', () => closed.resolve())
      arrived.resolve()
    },
    closed: closed.promise,
    arrived: arrived.promise,
  }
}

/** What a promise rejects with. */
export async function failure(work: PromiseLike<unknown>): Promise<unknown> {
  try {
    await work
  } catch (error) {
    return error
  }
  throw new Error('It was expected to fail.')
}
