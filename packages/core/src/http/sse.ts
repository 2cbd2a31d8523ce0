import type { ServerResponse } from 'node:http'
import { drained } from './respond.js'

/** A response that is a stream of Server-Sent Events. */
export interface EventStream {
  /**
   * Sends bytes that already are whole events (`data: …\n\n`). Returns `undefined` when the socket took them, else a promise of when it has
   * drained (or closed): await it before the next, so that a slow reader slows the source.
   */
  send(event: string | Uint8Array): undefined | Promise<void>
  /** Ends the response, with a last event if there is one. */
  end(event?: string | Uint8Array): void
  /** False once the reader has gone or the stream has ended. */
  isOpen(): boolean
}

/** Headers of an event stream that proxies and compressors leave alone. */
const eventStreamHeaders = Object.freeze({
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
})

interface EventStreamOptions {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  /** A comment goes out after this much silence, so that no proxy closes the stream as idle. Milliseconds; 0 switches it off. Default 15,000. */
  readonly heartbeatMs?: number
  /** What goes out then: a whole event or comment. Default a comment. */
  readonly heartbeat?: string
}

/** Begins an event stream: status and headers go out with the first event or at once by `res.flushHeaders()`. */
export function openEventStream(res: ServerResponse, options: EventStreamOptions = {}): EventStream {
  const { heartbeatMs = 15_000, heartbeat = ': keep-alive\n\n' } = options
  res.writeHead(options.status ?? 200, { ...eventStreamHeaders, ...options.headers })
  const isOpen = () => !res.writableEnded && !res.destroyed
  const timer =
    heartbeatMs > 0
      ? setInterval(() => {
          if (isOpen() && !res.writableNeedDrain) write(res, heartbeat)
        }, heartbeatMs).unref()
      : undefined
  const stop = () => clearInterval(timer)
  res.once('close', stop)
  return {
    isOpen,
    send(event) {
      if (!isOpen()) return undefined
      timer?.refresh()
      return write(res, event) ? undefined : drained(res)
    },
    end(event) {
      stop()
      if (isOpen()) res.end(event)
    },
  }
}

function write(res: ServerResponse, event: string | Uint8Array): boolean {
  const more = res.write(event)
  // `compression` adds `flush` and would hold small events back without it.
  const { flush } = res as ServerResponse & { flush?: () => void }
  if (typeof flush === 'function') flush.call(res)
  return more
}
