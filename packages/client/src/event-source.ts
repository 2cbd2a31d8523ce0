import { ConnectionError, TimeoutError } from './errors.js'
import { createEventDecoder, type ServerSentEvent } from './event-decoder.js'
import { cancel } from './response-body.js'
import { requestIdOf } from './response-info.js'
import { type Scope, unref } from './scope.js'

export interface EventSource {
  /** The next event; `undefined` at the end of the bytes. */
  next(): Promise<ServerSentEvent | undefined>
  /** Lets go of the socket: for others to use again if the stream `isOver`, else by closing it. */
  release(isOver: boolean): void
}

interface EventSourceLimits {
  readonly streamIdleTimeoutMs: number
  readonly maxEventLength: number
}

/** How long a server may take to end an answer whose last event has come, before its socket is closed. */
const maxDrainMs = 250

/**
 * The events of a body, read only as they are asked for: a slow reader slows the server. The idle timer runs while bytes are awaited, and any
 * byte, a heartbeat's too, starts it anew.
 */
export function openEventSource(
  { headers }: Response,
  body: ReadableStream<Uint8Array>,
  scope: Scope,
  { streamIdleTimeoutMs: idleMs, maxEventLength }: EventSourceLimits,
): EventSource {
  const reader = body.getReader()
  const decoder = createEventDecoder(maxEventLength)
  const requestId = requestIdOf(headers)
  let events: readonly ServerSentEvent[] = []
  let position = 0
  let ended = false

  async function read(): Promise<void> {
    const stopIdle = scope.after(idleMs, () => {
      const message = `The stream was silent for ${idleMs} ms (streamIdleTimeoutMs).`
      return new TimeoutError('idle', message, idleMs, { requestId })
    })
    try {
      const { done, value } = await scope.guard(reader.read())
      ended = done
      events = value === undefined ? [] : decoder.push(value)
      position = 0
    } catch (error) {
      // The decoder's own errors have a kind; a socket's have not.
      if (scope.signal.aborted || (error instanceof Error && 'kind' in error)) throw error
      throw new ConnectionError('stream', 'The connection was lost within the stream.', { requestId, cause: error })
    } finally {
      stopIdle()
    }
  }

  return {
    async next() {
      for (;;) {
        if (scope.signal.aborted) throw scope.signal.reason
        const event = events[position++]
        if (event !== undefined) return event
        if (ended) return undefined
        await read()
      }
    },
    release(isOver) {
      if (ended) return
      if (isOver) void drain(reader)
      else cancel(reader)
    },
  }
}

/** Reads what little may follow the last event, so that the connection can be used again. */
async function drain(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  const timer = setTimeout(() => cancel(reader), maxDrainMs)
  unref(timer)
  try {
    for (let reads = 0; reads < 4; reads++) {
      if ((await reader.read()).done) return
    }
    cancel(reader)
  } catch {
    // Lost after its end: nothing is missing.
  } finally {
    clearTimeout(timer)
  }
}
