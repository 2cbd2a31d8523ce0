import type { IncomingMessage, ServerResponse } from 'node:http'

/** How a request ended. */
export interface RequestEnd {
  /** The status that was sent; 499 if the caller left before any was. */
  readonly status: number
  /** True when the connection closed before the whole answer was handed over. */
  readonly aborted: boolean
  /** `performance.now()` when the response closed, milliseconds. */
  readonly endedAt: number
}

type EndListener = (end: RequestEnd) => void

interface EndState {
  end: RequestEnd | undefined
  closeListeners: EndListener[]
  endListeners: EndListener[]
  holds: number
  ended: boolean
  /** Runs while the response is closed and something is held. */
  holdTimer: NodeJS.Timeout | undefined
}

const endKey = Symbol.for('tollgate.end')
const tapKey = Symbol.for('tollgate.taps')

interface Carrier {
  [endKey]?: EndState
  [tapKey]?: BodyTap[]
}

/** A hold that nobody releases ends by itself after this long. */
const longestHoldMs = 60_000

/**
 * Calls `listener` once, as soon as the response closes: complete, failed or left by the caller. At once if it has closed already.
 * To stop work; for accounting use {@link onEnd}.
 */
export function onClose(req: IncomingMessage, res: ServerResponse, listener: EndListener): void {
  const state = stateOf(req, res)
  if (state.end === undefined) state.closeListeners.push(listener)
  else report(listener, state.end)
}

/**
 * The one end-of-request event that all observers share: called once, after the response closed and every {@link holdEnd} was released.
 * By then usage and cost are in the context. A listener that throws becomes a process warning and disturbs no other.
 */
export function onEnd(req: IncomingMessage, res: ServerResponse, listener: EndListener): void {
  const state = stateOf(req, res)
  if (state.ended && state.end !== undefined) report(listener, state.end)
  else state.endListeners.push(listener)
}

/**
 * Delays the end-of-request event until the returned function is called (60 s at most after the close), so that a handler whose
 * caller left half way can still record what was used.
 */
export function holdEnd(req: IncomingMessage, res: ServerResponse): () => void {
  const state = stateOf(req, res)
  state.holds += 1
  let held = true
  return () => {
    if (!held) return
    held = false
    state.holds -= 1
    settle(state)
  }
}

/** Sees the bytes of an answer as the handler wrote them: before compression, if that is mounted earlier. */
export interface BodyTap {
  /** Called before the first byte goes out; status and headers are final. */
  head?(): void
  chunk(bytes: Buffer): void
  /** The handler has ended the answer. */
  end?(): void
}

/** Adds a tap. The only place that touches `res.write` and `res.end`; backpressure and callbacks pass through. */
export function tapBody(res: ServerResponse, tap: BodyTap): void {
  const carrier = res as Carrier
  const known = carrier[tapKey]
  if (known !== undefined) {
    known.push(tap)
    return
  }
  const taps = [tap]
  carrier[tapKey] = taps
  let begun = false
  const begin = () => {
    if (begun) return
    begun = true
    for (const each of taps) each.head?.()
  }
  const see = (chunk: unknown, encoding: unknown) => {
    if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) return
    const bytes =
      typeof chunk === 'string'
        ? Buffer.from(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8')
        : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    for (const each of taps) each.chunk(bytes)
  }
  const write = res.write
  const end = res.end
  res.write = function (this: ServerResponse, ...args: unknown[]) {
    if (!this.writableEnded) {
      begin()
      see(args[0], args[1])
    }
    return write.apply(this, args as Parameters<typeof write>)
  } as typeof write
  res.end = function (this: ServerResponse, ...args: unknown[]) {
    if (!this.writableEnded) {
      begin()
      see(args[0], args[1])
      for (const each of taps) each.end?.()
    }
    return end.apply(this, args as Parameters<typeof end>)
  } as typeof end
}

function stateOf(req: IncomingMessage, res: ServerResponse): EndState {
  const carrier = res as Carrier
  const known = carrier[endKey]
  if (known !== undefined) return known
  const state: EndState = {
    end: undefined,
    closeListeners: [],
    endListeners: [],
    holds: 0,
    ended: false,
    holdTimer: undefined,
  }
  carrier[endKey] = state
  const close = () => {
    if (state.end !== undefined) return
    const aborted = !res.writableFinished
    const status = aborted && !res.headersSent ? 499 : res.statusCode
    state.end = { status, aborted, endedAt: performance.now() }
    const listeners = state.closeListeners
    state.closeListeners = []
    for (const listener of listeners) report(listener, state.end)
    settle(state)
  }
  if (res.closed) {
    queueMicrotask(close)
  } else {
    res.once('close', close)
    // A pipelined response that still waits for its turn has no socket and gets no 'close' of its own when the connection breaks.
    if (res.socket === null) {
      const socket = req.socket
      socket.once('close', close)
      res.once('close', () => socket.removeListener('close', close))
    }
  }
  return state
}

function settle(state: EndState): void {
  const { end } = state
  if (end === undefined || state.ended) return
  if (state.holds > 0) {
    state.holdTimer ??= setTimeout(() => {
      state.holds = 0
      settle(state)
    }, longestHoldMs).unref()
    return
  }
  // A timer keeps the whole request in memory.
  clearTimeout(state.holdTimer)
  state.ended = true
  const listeners = state.endListeners
  state.endListeners = []
  for (const listener of listeners) report(listener, end)
}

function report(listener: EndListener, end: RequestEnd): void {
  try {
    listener(end)
  } catch (error) {
    process.emitWarning(error instanceof Error ? error : new Error(String(error)))
  }
}
