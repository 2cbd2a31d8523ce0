import { TollgateError } from '../errors.js'

/** A Server-Sent Event as the WHATWG specification has it; `id` and `retry`, which are for reconnecting, are left out. */
export interface ServerSentEvent {
  /** The `event` field, `''` if there was none. */
  readonly event: string
  /** The `data` lines, joined by a newline. */
  readonly data: string
}

/** Cuts a byte stream where events end, so that events can be relayed without being decoded. */
export interface EventSplitter {
  /**
   * The bytes of all events that are complete now, one after the other, or `undefined` if none is. Whole events hold whole characters,
   * however the input was cut.
   *
   * @throws TollgateError `upstream_invalid` for an event over the limit
   */
  push(chunk: Buffer): Buffer | undefined
  /** What is left after the last whole event: at the end of the stream, a sign that it was cut. */
  rest(): Buffer
}

const lf = 10
const cr = 13

/**
 * Linear in the bytes, whatever their cuts: each is looked at once. A chunk that is made of whole events, as nearly all are, passes
 * after a look at its end and is not copied.
 *
 * @param upstream name, for the error
 */
export function eventSplitter(upstream: string, maxEventBytes: number): EventSplitter {
  let pending: Buffer[] = []
  let pendingBytes = 0
  /** The line that the next byte goes on with is empty so far. */
  let lineIsEmpty = true
  /** The last byte was a CR: a LF now belongs to it. */
  let afterCr = false

  const measure = (bytes: number) => {
    if (bytes <= maxEventBytes) return
    const message = `The upstream ${upstream} sent an event of over ${maxEventBytes} bytes.`
    throw new TollgateError('upstream_invalid', message)
  }

  /** Just behind the last blank line of the chunk; 0 if it has none. */
  const scan = (chunk: Buffer): number => {
    let boundary = 0
    const end = (at: number) => {
      measure((boundary === 0 ? pendingBytes : 0) + at - boundary)
      boundary = at
    }
    for (let index = 0; index < chunk.length; index += 1) {
      const byte = chunk[index]
      if (byte === lf) {
        if (afterCr) {
          // The second half of CRLF. If the CR ended an event, at the end of the last chunk perhaps, it goes with that.
          const endedByCr = index === 0 ? pendingBytes === 0 : boundary === index
          if (endedByCr) boundary = index + 1
        } else if (lineIsEmpty) end(index + 1)
        lineIsEmpty = true
        afterCr = false
      } else if (byte === cr) {
        if (lineIsEmpty) end(index + 1)
        lineIsEmpty = true
        afterCr = true
      } else {
        lineIsEmpty = false
        afterCr = false
      }
    }
    return boundary
  }

  return {
    push(chunk) {
      const { length } = chunk
      if (pendingBytes === 0 && length > 2 && length <= maxEventBytes && chunk[length - 1] === lf) {
        if (chunk[length - 2] === lf) {
          lineIsEmpty = true
          afterCr = false
          return chunk
        }
      }
      const boundary = scan(chunk)
      if (boundary === 0) {
        pendingBytes += length
        measure(pendingBytes)
        pending.push(chunk)
        return undefined
      }
      const head = boundary === length ? chunk : chunk.subarray(0, boundary)
      const whole = pendingBytes === 0 ? head : Buffer.concat([...pending, head])
      pendingBytes = length - boundary
      measure(pendingBytes)
      pending = pendingBytes === 0 ? [] : [chunk.subarray(boundary)]
      return whole
    },
    rest: () => Buffer.concat(pending),
  }
}

/**
 * What is left at the end of a stream, as whole events: for servers that leave out the blank line after the last one. `undefined` if there is
 * none in it that could be whole.
 *
 * @param isWhole says of the data of an event whether something is missing
 */
export function lastEvents(rest: Buffer, isWhole: (data: string) => boolean): Buffer | undefined {
  if (rest.length === 0) return undefined
  const closed = Buffer.concat([rest, Buffer.from('\n\n')])
  const events = parseEvents(closed)
  return events.length > 0 && events.every(({ data }) => isWhole(data)) ? closed : undefined
}

const lineEnd = /\r\n|\n|\r/

/** The events of bytes that hold whole events only, from {@link eventSplitter}. Those without data are none. */
export function parseEvents(bytes: Buffer): ServerSentEvent[] {
  const events: ServerSentEvent[] = []
  let event = ''
  let data: string | undefined
  for (const line of bytes.toString('utf8').split(lineEnd)) {
    if (line === '') {
      if (data !== undefined) events.push({ event, data })
      event = ''
      data = undefined
      continue
    }
    const colon = line.indexOf(':')
    const field = colon === -1 ? line : line.slice(0, colon)
    if (field !== 'data' && field !== 'event') continue
    const raw = colon === -1 ? '' : line.slice(colon + 1)
    const value = raw.startsWith(' ') ? raw.slice(1) : raw
    if (field === 'event') event = value
    else data = data === undefined ? value : `${data}\n${value}`
  }
  return events
}

/** The single events within bytes that hold whole events only, with their bytes. */
export function splitEvents(bytes: Buffer): Buffer[] {
  const events: Buffer[] = []
  const splitter = eventSplitter('', Number.POSITIVE_INFINITY)
  let from = 0
  for (let to = nextLine(bytes, 0); to <= bytes.length && from < bytes.length; to = nextLine(bytes, to)) {
    const whole = splitter.push(bytes.subarray(from, to))
    if (whole !== undefined) events.push(whole)
    from = to
  }
  return events
}

function nextLine(bytes: Buffer, from: number): number {
  for (let index = from; index < bytes.length; index += 1) {
    if (bytes[index] === lf) return index + 1
    if (bytes[index] === cr) return bytes[index + 1] === lf ? index + 2 : index + 1
  }
  return bytes.length + 1
}

/** UTF-8's byte order mark may stand once, at the very beginning. */
export function withoutMark(bytes: Buffer): Buffer {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes
}
