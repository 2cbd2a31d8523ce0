import { type Dispatcher, Pool } from 'undici'
import { answer } from './child.ts'
import { authorizations, type Credentials, chatPath, expectedAnswer, requestBody, type Scenario } from './traffic.ts'

/** What the load generator can be asked. */
export type LoadQuestions = typeof questions

export interface LoadOrder {
  readonly origin: string
  readonly scenario: Scenario
  readonly credentials: Credentials
  readonly requests: number
  readonly connections: number
}

export interface LoadReport {
  readonly elapsedMs: number
  /** Until the last byte, milliseconds. */
  readonly p50Ms: number
  readonly p99Ms: number
}

const questions = {
  /** Sends the requests, each connection its next one as soon as it has its answer; rejects at the first wrong answer. */
  run: (order: LoadOrder): Promise<LoadReport> => run(order),
}

const pools = new Map<string, Pool>()

function poolOf(origin: string, connections: number): Pool {
  const known = pools.get(origin)
  if (known !== undefined) return known
  const pool = new Pool(origin, { connections, keepAliveTimeout: 600_000, keepAliveMaxTimeout: 600_000 })
  pools.set(origin, pool)
  return pool
}

async function run({ origin, scenario, credentials, requests, connections }: LoadOrder): Promise<LoadReport> {
  const pool = poolOf(origin, connections)
  const expected = Buffer.from(expectedAnswer[scenario])
  const callers = authorizations(credentials)
  const durations = new Float64Array(requests)
  let next = 0
  const worker = async (caller: number) => {
    const authorization = callers[caller % callers.length]
    const options: Dispatcher.DispatchOptions = {
      path: chatPath,
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: scenario === 'stream' ? 'text/event-stream' : 'application/json',
        ...(authorization === undefined ? {} : { authorization }),
      },
      body: requestBody[scenario],
    }
    while (next < requests) {
      const index = next++
      const startedAt = performance.now()
      await once(pool, options, expected)
      durations[index] = performance.now() - startedAt
    }
  }
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: connections }, (_, caller) => worker(caller)))
  const elapsedMs = performance.now() - startedAt
  durations.sort()
  const at = (share: number) => durations[Math.min(requests - 1, Math.floor(requests * share))] ?? 0
  return { elapsedMs, p50Ms: at(0.5), p99Ms: at(0.99) }
}

// `dispatch` without the stream that `request` wraps around an answer: the load shares its core with the upstream and has to be cheap
// enough to keep a fast subject busy.
function once(pool: Pool, options: Dispatcher.DispatchOptions, expected: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    let status = 0
    const chunks: Buffer[] = []
    pool.dispatch(options, {
      // Undici tells the newer kind of handler by this method.
      onRequestStart() {},
      onResponseStart(_controller, statusCode) {
        status = statusCode
      },
      onResponseData(_controller, chunk) {
        chunks.push(chunk)
      },
      onResponseEnd() {
        const body = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)
        if (status === 200 && body.equals(expected)) resolve()
        else reject(new Error(`a wrong answer: ${status} ${body.toString().slice(0, 500)}`))
      },
      onResponseError(_controller, error) {
        reject(error)
      },
    })
  })
}

answer(questions)
