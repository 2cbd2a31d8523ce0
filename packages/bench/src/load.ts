import { setTimeout as wait } from 'node:timers/promises'
import { type Dispatcher, Pool } from 'undici'
import { answer } from './child.ts'
import { quantile } from './report.ts'
import {
  authorizations,
  type Credentials,
  callerCount,
  chatPath,
  expectedAnswer,
  requestBody,
  type Scenario,
} from './traffic.ts'

/** What the load generator can be asked. */
export type LoadQuestions = typeof questions

/** Whom the load talks to, and how. */
export interface Target {
  readonly origin: string
  readonly credentials: Credentials
  /** What its callers send besides. */
  readonly headers: Readonly<Record<string, string>>
}

export interface LoadOrder {
  readonly target: Target
  readonly scenario: Scenario
  readonly requests: number
}

export interface LoadReport {
  readonly elapsedMs: number
  /** Until the last byte, milliseconds. */
  readonly p50Ms: number
  readonly p99Ms: number
}

export interface PacedOrder extends LoadOrder {
  readonly requestsPerSecond: number
}

const questions = {
  /** Sends the requests, each connection its next one as soon as it has its answer; rejects at the first wrong answer. */
  run: (order: LoadOrder): Promise<LoadReport> => run(order),
  /**
   * Sends the requests at a fixed rate, whether or not the ones before have been answered. Tells how long each waited for the first byte
   * of a stream or for the last one of JSON, milliseconds; rejects if an answer was wrong.
   */
  pace: (order: PacedOrder): Promise<readonly number[]> => pace(order),
}

const pools = new Map<string, Pool>()

function poolOf(origin: string): Pool {
  const known = pools.get(origin)
  if (known !== undefined) return known
  const pool = new Pool(origin, { connections: callerCount, keepAliveTimeout: 600_000, keepAliveMaxTimeout: 600_000 })
  pools.set(origin, pool)
  return pool
}

async function run({ target, scenario, requests }: LoadOrder): Promise<LoadReport> {
  const pool = poolOf(target.origin)
  const expected = Buffer.from(expectedAnswer[scenario])
  const callers = requestsOf(target, scenario)
  const durations = new Float64Array(requests)
  let next = 0
  const worker = async (request: Dispatcher.DispatchOptions) => {
    while (next < requests) {
      const index = next++
      const begun = performance.now()
      await once(pool, request, expected)
      durations[index] = performance.now() - begun
    }
  }
  const startedAt = performance.now()
  await Promise.all(callers.map(worker))
  const elapsedMs = performance.now() - startedAt
  return { elapsedMs, p50Ms: quantile(durations, 0.5), p99Ms: quantile(durations, 0.99) }
}

async function pace({ target, scenario, requests, requestsPerSecond }: PacedOrder): Promise<readonly number[]> {
  const pool = poolOf(target.origin)
  const expected = Buffer.from(expectedAnswer[scenario])
  const callers = requestsOf(target, scenario)
  const startedAt = performance.now()
  const waits: Array<Promise<number>> = []
  for (let index = 0; index < requests; index += 1) {
    // By the clock and not from one to the next: a late timer must not lower the rate.
    const due = startedAt + (index * 1000) / requestsPerSecond
    await wait(Math.max(0, due - performance.now()))
    const begun = performance.now()
    const request = callers[index % callers.length] as Dispatcher.DispatchOptions
    const waited = once(pool, request, expected).then(
      (firstByteAt) => (scenario === 'stream' ? firstByteAt : performance.now()) - begun,
    )
    // Whoever asked hears of it below; until then it is not unheard.
    waited.catch(() => {})
    waits.push(waited)
  }
  return Promise.all(waits)
}

/** What each caller sends. */
function requestsOf({ credentials, headers }: Target, scenario: Scenario): readonly Dispatcher.DispatchOptions[] {
  const secrets = authorizations(credentials)
  return Array.from({ length: callerCount }, (_, caller) => {
    const authorization = secrets[caller]
    return {
      path: chatPath,
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: scenario === 'stream' ? 'text/event-stream' : 'application/json',
        ...(authorization === undefined ? {} : { authorization }),
        ...headers,
      },
      body: requestBody[scenario],
    }
  })
}

// `dispatch` without the stream that `request` wraps around an answer: the load shares its core with the upstream and has to be cheap
// enough to keep a fast subject busy. Resolves at the last byte and tells when the first one came.
function once(pool: Pool, options: Dispatcher.DispatchOptions, expected: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    let status = 0
    let firstByteAt = 0
    const chunks: Buffer[] = []
    pool.dispatch(options, {
      // Undici tells the newer kind of handler by this method.
      onRequestStart() {},
      onResponseStart(_controller, statusCode) {
        status = statusCode
      },
      onResponseData(_controller, chunk) {
        if (chunks.length === 0) firstByteAt = performance.now()
        chunks.push(chunk)
      },
      onResponseEnd() {
        const body = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)
        if (status === 200 && body.equals(expected)) resolve(firstByteAt)
        else reject(new Error(`a wrong answer: ${status} ${body.toString().slice(0, 500)}`))
      },
      onResponseError(_controller, error) {
        reject(error)
      },
    })
  })
}

answer(questions)
