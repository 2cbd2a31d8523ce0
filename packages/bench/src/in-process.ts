import { IncomingMessage, type RequestListener, ServerResponse } from 'node:http'
import { Duplex } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { chatPath, requestBody } from './traffic.ts'

// Requests and responses as node:http makes them, on a socket that goes nowhere: no network, so what is measured is a floor.

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** An app, and the same without what is measured. */
export interface Pair {
  readonly app: RequestListener
  readonly bare: RequestListener
  /** The `Authorization` of the nth request. */
  readonly authorization: (index: number) => string | undefined
}

/** What the app takes more than the bare one, per request, microseconds: of CPU, or of time with one request at a time. */
export type Measure = 'cpu' | 'time'

export interface Added {
  readonly median: number
  /** Half of the rounds are between these two. */
  readonly low: number
  readonly high: number
}

/** Measures all of them in turns, so that a machine that changes its pace changes all. The first rounds warm up. */
export async function addedBy(
  pairs: readonly Pair[],
  rounds: number,
  requests: number,
  measure: Measure = 'cpu',
): Promise<readonly Added[]> {
  const differences = pairs.map(() => [] as number[])
  for (let round = -3; round < rounds; round += 1) {
    for (const [index, { app, bare, authorization }] of pairs.entries()) {
      const without = await timed(bare, authorization, requests, measure)
      const own = await timed(app, authorization, requests, measure)
      if (round < 0) continue
      differences[index]?.push(own - without)
    }
  }
  return differences.map((all) => {
    const sorted = [...all].sort((left, right) => left - right)
    const at = (part: number) => sorted[Math.round((sorted.length - 1) * part)] ?? Number.NaN
    return { median: at(0.5), low: at(0.25), high: at(0.75) }
  })
}

/** The status of the answer to one request. */
export async function statusOf(app: RequestListener, authorization: string | undefined): Promise<number> {
  return (await send(app, nowhere(), authorization)).status
}

/** A socket that takes everything and gives nothing. */
function nowhere(): Duplex {
  const socket = new Duplex({
    read() {},
    write: (_chunk, _encoding, done) => done(),
    writev: (_chunks, done) => done(),
  })
  return Object.assign(socket, { remoteAddress: '127.0.0.1', encrypted: false })
}

/** Sends a request; resolves when nothing of it is left to do at once, and tells when the answer was whole: what a middleware does behind it, its caller does not wait for. */
function send(
  app: RequestListener,
  socket: Duplex,
  authorization: string | undefined,
): Promise<{ readonly status: number; readonly answeredAt: number }> {
  const req = new IncomingMessage(socket as never)
  req.method = 'POST'
  req.url = chatPath
  req.httpVersionMajor = 1
  req.httpVersionMinor = 1
  req.httpVersion = '1.1'
  req.headers = {
    host: 'localhost',
    'content-type': 'application/json',
    accept: 'application/json',
    'content-length': String(requestBody.json.length),
    ...(authorization === undefined ? {} : { authorization }),
  }
  for (const [name, value] of Object.entries(req.headers)) req.rawHeaders.push(name, value as string)
  req.push(requestBody.json)
  req.push(null)
  req.complete = true
  const res = new ServerResponse(req)
  res.assignSocket(socket as never)
  return new Promise((resolve) => {
    // Before the listeners of the app.
    res.on('finish', () => {
      const answeredAt = performance.now()
      res.detachSocket(socket as never)
      res.emit('close')
      resolve({ status: res.statusCode, answeredAt })
    })
    app(req, res)
  })
}

async function timed(
  app: RequestListener,
  authorization: Pair['authorization'],
  requests: number,
  measure: Measure,
): Promise<number> {
  const socket = nowhere()
  // What the one before has left is not on this one's bill. A full collection also makes V8 forget optimized code: what follows has to be long enough to pay for that, some thousands of requests.
  if (measure === 'cpu') collectGarbage()
  const before = process.cpuUsage()
  let waited = 0
  for (let index = 0; index < requests; index += 1) {
    const begun = performance.now()
    const { status, answeredAt } = await send(app, socket, authorization(index))
    waited += answeredAt - begun
    if (status !== 200) throw new Error(`answered ${status}`)
    // What goes on behind the answer is not what a caller waits for.
    if (measure === 'time') await pause(1)
  }
  if (measure === 'time') return (waited * 1000) / requests
  const { user, system } = process.cpuUsage(before)
  return (user + system) / requests
}
