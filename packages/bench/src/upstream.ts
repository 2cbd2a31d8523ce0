import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { answer } from './child.ts'
import { jsonAnswer, modelName, streamEnd, streamEvents, upstreamKey } from './traffic.ts'

/** What the mock upstream can be asked. */
export type UpstreamQuestions = typeof questions

const questions = {
  /** Starts it; tells the origin. */
  listen: () =>
    new Promise<string>((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
    }),
  /** How many requests it has answered rightly. */
  answered: () => answeredCount,
}

const jsonBytes = Buffer.from(jsonAnswer)
const eventBytes = streamEvents.map((event) => Buffer.from(event))
const endBytes = Buffer.from(streamEnd)
let answeredCount = 0

const server = createServer((req, res) => {
  const chunks: Buffer[] = []
  req.on('data', (chunk: Buffer) => chunks.push(chunk))
  req.on('end', () => reply(req, res, Buffer.concat(chunks).toString()))
})
// Runs pause between each other: no connection may end in between.
server.keepAliveTimeout = 600_000

function reply(req: IncomingMessage, res: ServerResponse, text: string): void {
  // A subject that hands on a caller's credentials or another body must not pass for a fast one.
  const body = JSON.parse(text) as { model?: unknown; messages?: unknown; stream?: unknown }
  if (
    req.headers.authorization !== `Bearer ${upstreamKey}` ||
    body.model !== modelName ||
    !Array.isArray(body.messages)
  ) {
    res.writeHead(400, { 'content-type': 'application/json' })
    res.end('{"error":{"message":"not what the benchmark sends","type":"invalid_request_error"}}')
    return
  }
  answeredCount += 1
  if (body.stream !== true) {
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': jsonBytes.length })
    res.end(jsonBytes)
    return
  }
  res.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' })
  let next = 0
  const turn = () => {
    const event = eventBytes[next++]
    if (event === undefined) res.end(endBytes)
    else {
      res.write(event)
      setImmediate(turn)
    }
  }
  turn()
}

answer(questions)
