import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'
import { TollgateError } from '../errors.js'
import { abortError } from '../inference/call.js'
import type { Deadlines } from '../inference/deadlines.js'
import { notHttp, transportError } from './upstream-errors.js'

/** An upstream's answer: the head is here, the body comes as it is read. Read it to the end, `release()` or `destroy()` it. */
export interface UpstreamResponse {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** The next bytes, `undefined` after the last. The upstream is held back while nobody reads. One call at a time. */
  read(): Promise<Buffer | undefined>
  /** The whole rest. */
  bytes(): Promise<Buffer>
  /** No more is wanted: a short rest is swallowed, so that the connection can be used again; a long one closes it. */
  release(): void
  /** Closes the connection, unless the answer has ended. */
  destroy(): void
}

export interface ExchangeOptions {
  /** Name of the upstream, for errors. */
  readonly upstream: string
  readonly dispatcher: Dispatcher
  readonly request: Dispatcher.DispatchOptions
  readonly signal: AbortSignal
  readonly maxResponseBytes: number
  readonly deadlines: Deadlines
  /** Called once, when undici is done with the request: answered, failed or aborted. */
  readonly onDone: () => void
}

/** Bytes that wait to be read before the upstream is held back. */
const highWaterBytes = 16_384
/** What may come after the last byte that anyone wanted. */
const maxRestBytes = 65_536
const restTimeoutMs = 2000
/** Informational answers before the one that counts: each begins the wait for it anew. */
const maxInformational = 32

interface Reader {
  resolve(chunk: Buffer | undefined): void
  reject(error: TollgateError): void
}

/**
 * One request over undici's `dispatch`, below its `request` and `fetch`: no streams are made, and an abort destroys the socket at once.
 *
 * @throws TollgateError `upstream_failed`, `upstream_timeout`, `upstream_invalid`, and the signal's reason
 */
export function exchange(options: ExchangeOptions): Promise<UpstreamResponse> {
  const { upstream, signal, deadlines } = options
  return new Promise((resolveHead, rejectHead) => {
    let controller: Dispatcher.DispatchController | undefined
    let headed = false
    let ended = false
    let failure: TollgateError | undefined
    let releasing = false
    let received = 0
    let informational = 0
    let waiting: Buffer[] = []
    let waitingBytes = 0
    let reader: Reader | undefined
    let forgetRest = () => {}

    const settled = () => {
      signal.removeEventListener('abort', onAbort)
      forgetRest()
    }
    const fail = (error: TollgateError) => {
      if (ended || failure !== undefined) return
      failure = error
      settled()
      if (!headed) rejectHead(error)
      reader?.reject(error)
      reader = undefined
    }
    const abort = (error: TollgateError) => {
      if (ended || failure !== undefined) return
      waiting = []
      waitingBytes = 0
      fail(error)
      controller?.abort(error)
    }
    const onAbort = () => abort(abortError(signal))
    const drop = () => {
      // Asked after every answer: an error, with its stack, is made only for the few that have not ended.
      if (ended || failure !== undefined) return
      abort(new TollgateError('upstream_failed', `The answer of the upstream ${upstream} was not wanted any more.`))
    }

    const read = (): Promise<Buffer | undefined> => {
      const chunk = waiting.shift()
      if (chunk !== undefined) {
        waitingBytes -= chunk.length
        if (waitingBytes === 0 && controller?.paused === true) controller.resume()
        return Promise.resolve(chunk)
      }
      if (failure !== undefined) return Promise.reject(failure)
      if (ended) return Promise.resolve(undefined)
      return new Promise((resolve, reject) => {
        reader = { resolve, reject }
      })
    }
    const response = (status: number, headers: IncomingHttpHeaders): UpstreamResponse => ({
      status,
      headers,
      read,
      async bytes() {
        const chunks: Buffer[] = []
        for (let chunk = await read(); chunk !== undefined; chunk = await read()) chunks.push(chunk)
        return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)
      },
      release() {
        if (ended || failure !== undefined || releasing) return
        releasing = true
        // The caller has all it wanted: that it leaves now must not cost the connection.
        signal.removeEventListener('abort', onAbort)
        received = 0
        waiting = []
        waitingBytes = 0
        forgetRest = deadlines.add(Date.now() + restTimeoutMs, drop)
        if (controller?.paused === true) controller.resume()
      },
      destroy() {
        if (!releasing) drop()
      },
    })

    if (signal.aborted) {
      options.onDone()
      rejectHead(abortError(signal))
      return
    }
    signal.addEventListener('abort', onAbort)
    options.dispatcher.dispatch(options.request, {
      onRequestStart(made) {
        controller = made
        // Aborted while it waited for a connection.
        if (failure !== undefined) made.abort(failure)
      },
      onResponseStart(_controller, status, headers) {
        if (headed) return
        if (status < 200) {
          informational += 1
          if (informational > maxInformational) abort(notHttp(upstream))
          return
        }
        headed = true
        resolveHead(response(status, withOneType(headers)))
      },
      onResponseData(_controller, chunk) {
        received += chunk.length
        if (releasing) {
          if (received > maxRestBytes) drop()
          return
        }
        if (received > options.maxResponseBytes) {
          const message = `The answer of the upstream ${upstream} is over ${options.maxResponseBytes} bytes.`
          abort(new TollgateError('upstream_invalid', message))
          return
        }
        if (reader !== undefined) {
          const { resolve } = reader
          reader = undefined
          resolve(chunk)
          return
        }
        waiting.push(chunk)
        waitingBytes += chunk.length
        if (waitingBytes >= highWaterBytes) controller?.pause()
      },
      onResponseEnd() {
        options.onDone()
        if (failure !== undefined) return
        ended = true
        settled()
        reader?.resolve(undefined)
        reader = undefined
      },
      onResponseError(_controller, cause) {
        options.onDone()
        fail(transportError(upstream, cause))
      },
    })
  })
}

/** Two types are none that anybody asked for. */
function withOneType(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const type: unknown = headers['content-type']
  return Array.isArray(type) ? { ...headers, 'content-type': type.join(', ') } : headers
}
