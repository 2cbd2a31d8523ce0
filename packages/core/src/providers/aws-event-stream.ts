import { crc32 } from 'node:zlib'
import { TollgateError } from '../errors.js'
import type { EventSplitter } from './sse-decoder.js'

/** A message of Amazon's `application/vnd.amazon.eventstream`. */
export interface EventStreamMessage {
  /** Those whose values are texts. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
}

// A message: its length and that of its headers, a checksum of the two, the headers, the body, a checksum of all. Big endian.
const preludeBytes = 12
const leastBytes = preludeBytes + 4

/**
 * Cuts a byte stream where messages end. Lengths are believed only after their checksum, so that a broken one makes nobody wait.
 *
 * @param upstream name, for the error
 */
export function messageSplitter(upstream: string, maxBytes: number): EventSplitter {
  let pending: Buffer[] = []
  let pendingBytes = 0
  /** So many bytes have to be there before there is anything to see. */
  let wanted = preludeBytes
  /** What is wrong behind the messages that were handed on: whoever has seen the last of them does not mind. */
  let failure: unknown

  return {
    push(chunk) {
      if (failure !== undefined) throw failure
      pending.push(chunk)
      pendingBytes += chunk.length
      if (pendingBytes < wanted) return undefined
      const bytes = pending.length === 1 ? chunk : Buffer.concat(pending)
      let end = 0
      for (;;) {
        wanted = preludeBytes
        if (bytes.length - end < wanted) break
        try {
          wanted = messageLength(upstream, bytes, end, maxBytes)
        } catch (error) {
          if (end === 0) throw error
          failure = error
          break
        }
        if (bytes.length - end < wanted) break
        end += wanted
      }
      pendingBytes = bytes.length - end
      pending = pendingBytes === 0 ? [] : [bytes.subarray(end)]
      return end === 0 ? undefined : bytes.subarray(0, end)
    },
    rest: () => Buffer.concat(pending),
  }
}

function messageLength(upstream: string, bytes: Buffer, at: number, maxBytes: number): number {
  if (crc32(bytes.subarray(at, at + 8)) !== bytes.readUInt32BE(at + 8)) throw broken(upstream)
  const length = bytes.readUInt32BE(at)
  if (length > maxBytes) {
    throw new TollgateError('upstream_invalid', `The upstream ${upstream} sent an event of over ${maxBytes} bytes.`)
  }
  if (length < leastBytes + bytes.readUInt32BE(at + 4)) throw broken(upstream)
  return length
}

/**
 * The messages of bytes that hold whole ones only, from {@link messageSplitter}.
 *
 * @throws TollgateError `upstream_invalid` for a checksum or a header that is wrong
 */
export function parseMessages(upstream: string, bytes: Buffer): EventStreamMessage[] {
  const messages: EventStreamMessage[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = at + bytes.readUInt32BE(at)
    const body = at + preludeBytes + bytes.readUInt32BE(at + 4)
    if (crc32(bytes.subarray(at, end - 4)) !== bytes.readUInt32BE(end - 4)) throw broken(upstream)
    const headers = headersOf(upstream, bytes.subarray(at + preludeBytes, body))
    messages.push({ headers, body: bytes.subarray(body, end - 4) })
    at = end
  }
  return messages
}

/** Bytes of a value by its type: true, false, byte, short, integer, long; bytes and text, which begin with their length; time, UUID. */
const valueBytes = [0, 0, 1, 2, 4, 8, undefined, undefined, 8, 16]
const textType = 7

function headersOf(upstream: string, bytes: Buffer): ReadonlyMap<string, string> {
  const headers = new Map<string, string>()
  try {
    for (let at = 0; at < bytes.length; ) {
      const nameEnd = at + 1 + bytes.readUInt8(at)
      const type = bytes.readUInt8(nameEnd)
      if (type >= valueBytes.length) throw broken(upstream)
      const fixed = valueBytes[type]
      const value = nameEnd + (fixed === undefined ? 3 : 1)
      const end = value + (fixed ?? bytes.readUInt16BE(nameEnd + 1))
      if (end > bytes.length) throw broken(upstream)
      if (type === textType) headers.set(bytes.toString('utf8', at + 1, nameEnd), bytes.toString('utf8', value, end))
      at = end
    }
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    throw broken(upstream)
  }
  return headers
}

function broken(upstream: string): TollgateError {
  return new TollgateError('upstream_invalid', `The upstream ${upstream} sent a broken event.`)
}
