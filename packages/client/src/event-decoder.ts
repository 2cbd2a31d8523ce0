import { StreamError } from './errors.js'

export interface ServerSentEvent {
  /** The event's name; `message` if it has none. */
  readonly event: string
  readonly data: string
  /** The last id the stream has given so far; empty if none. */
  readonly id: string
}

export interface EventDecoder {
  /** Takes the next bytes, however the transport has split them, and returns the events they complete. */
  push(bytes: Uint8Array): ServerSentEvent[]
}

/**
 * Decodes `text/event-stream` (WHATWG HTML, 9.2.6), in linear time. An event is complete at its blank line: what is left without one when the
 * bytes end was never sent whole, and is dropped. `retry:` is not acted upon, as nothing here reconnects by itself.
 * Throws {@link StreamError} once a single event, or one line, is over `maxEventLength` characters.
 */
export function createEventDecoder(maxEventLength: number): EventDecoder {
  // Streaming mode holds back a split character, and drops a byte order mark at the very start only.
  const decoder = new TextDecoder()
  let line = ''
  let afterCarriageReturn = false
  let event = ''
  let data: string[] = []
  let dataLength = 0
  let id = ''

  function field(text: string): void {
    const colon = text.indexOf(':')
    if (colon === 0) return
    const name = colon < 0 ? text : text.slice(0, colon)
    const value = colon < 0 ? '' : text.slice(text.charCodeAt(colon + 1) === 0x20 ? colon + 2 : colon + 1)
    if (name === 'data') {
      data.push(value)
      dataLength += value.length + 1
      limit(dataLength)
    } else if (name === 'event') event = value
    else if (name === 'id' && !value.includes('\0')) id = value
  }

  function limit(length: number): void {
    if (length <= maxEventLength) return
    const message = `An event of the stream is over ${maxEventLength} characters. Raise maxEventLength if that is expected.`
    throw new StreamError('too_large', 'stream_event_too_large', message, false)
  }

  return {
    push(bytes) {
      const text = decoder.decode(bytes, { stream: true })
      const events: ServerSentEvent[] = []
      if (text === '') return events
      // CR and LF in different chunks are one line end.
      let start = afterCarriageReturn && text.charCodeAt(0) === 0x0a ? 1 : 0
      afterCarriageReturn = false
      // Each is looked for again only once passed: a stream that never uses CR is searched for it once per chunk.
      let lineFeed = text.indexOf('\n', start)
      let carriageReturn = text.indexOf('\r', start)
      while (lineFeed >= 0 || carriageReturn >= 0) {
        const endsWithReturn = carriageReturn >= 0 && (lineFeed < 0 || carriageReturn < lineFeed)
        const end = endsWithReturn ? carriageReturn : lineFeed
        const whole = line + text.slice(start, end)
        line = ''
        start = end + 1
        if (endsWithReturn) {
          if (start === text.length) afterCarriageReturn = true
          else if (lineFeed === start) start += 1
        }
        if (lineFeed >= 0 && lineFeed < start) lineFeed = text.indexOf('\n', start)
        if (carriageReturn >= 0 && carriageReturn < start) carriageReturn = text.indexOf('\r', start)
        if (whole !== '') field(whole)
        else {
          if (data.length > 0) events.push({ event: event === '' ? 'message' : event, data: data.join('\n'), id })
          event = ''
          data = []
          dataLength = 0
        }
      }
      line += text.slice(start)
      limit(dataLength + line.length)
      return events
    },
  }
}
