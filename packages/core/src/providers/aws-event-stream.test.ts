import { crc32 } from 'node:zlib'
import { EventStreamCodec, type MessageHeaders } from '@smithy/eventstream-codec'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { messageSplitter, parseMessages } from './aws-event-stream.js'

const codec = new EventStreamCodec(
  (bytes) => Buffer.from(bytes as Uint8Array).toString('utf8'),
  (text) => Buffer.from(text, 'utf8'),
)

const headers: fc.Arbitrary<MessageHeaders> = fc.dictionary(
  fc.string({ minLength: 1, maxLength: 20 }),
  fc.oneof(
    fc.string({ unit: 'binary', maxLength: 30 }).map((value) => ({ type: 'string' as const, value })),
    fc.boolean().map((value) => ({ type: 'boolean' as const, value })),
    fc.integer({ min: -128, max: 127 }).map((value) => ({ type: 'byte' as const, value })),
    fc.integer({ min: -32_768, max: 32_767 }).map((value) => ({ type: 'short' as const, value })),
    fc.integer().map((value) => ({ type: 'integer' as const, value })),
    fc.uint8Array({ maxLength: 30 }).map((value) => ({ type: 'binary' as const, value })),
    fc.date({ noInvalidDate: true }).map((value) => ({ type: 'timestamp' as const, value })),
    fc.uuid().map((value) => ({ type: 'uuid' as const, value })),
  ),
  { maxKeys: 6 },
)
const message = fc.record({ headers, body: fc.uint8Array({ maxLength: 200 }) })
const messages = fc.array(message, { minLength: 1, maxLength: 6 })

/** What is read of bytes that come in pieces. */
function read(pieces: readonly Uint8Array[], maxBytes = 1_000_000) {
  const splitter = messageSplitter('up', maxBytes)
  const all = pieces.flatMap((piece) => {
    const whole = splitter.push(Buffer.from(piece))
    return whole === undefined ? [] : parseMessages('up', whole)
  })
  return { all, rest: splitter.rest() }
}

const shown = (all: ReturnType<typeof read>['all']) =>
  all.map((each) => [Object.fromEntries(each.headers), each.body.toString('hex')])

const wanted = (given: ReadonlyArray<{ headers: MessageHeaders; body: Uint8Array }>) =>
  given.map((each) => [
    Object.fromEntries(
      Object.entries(each.headers).flatMap(([name, { type, value }]) => (type === 'string' ? [[name, value]] : [])),
    ),
    Buffer.from(each.body).toString('hex'),
  ])

function cutAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((left, right) => left - right)
  return [0, ...places].map((from, index) => bytes.subarray(from, places[index] ?? bytes.length))
}

const small = (name = 'contentBlockDelta') =>
  Buffer.from(
    codec.encode({ headers: { ':event-type': { type: 'string', value: name } }, body: Buffer.from('{"a":1}') }),
  )

describe('the event stream of AWS', () => {
  it("reads what Amazon's own codec writes, however it is cut", () => {
    fc.assert(
      fc.property(messages, fc.array(fc.nat(), { maxLength: 20 }), (given, cuts) => {
        const bytes = Buffer.concat(given.map((each) => codec.encode(each)))
        const { all, rest } = read(cutAt(bytes, cuts))
        expect(shown(all)).toEqual(wanted(given))
        expect(rest).toHaveLength(0)
      }),
      { numRuns: 300 },
    )
  })

  it('reads it byte by byte, and keeps what is not whole', () => {
    const bytes = Buffer.concat([small('one'), small('two')])
    for (let end = 0; end <= bytes.length; end += 1) {
      const { all, rest } = read([...bytes.subarray(0, end)].map((byte) => Uint8Array.of(byte)))
      const whole = Math.floor(end / small('one').length)
      expect(all.map((each) => each.headers.get(':event-type'))).toEqual(['one', 'two'].slice(0, whole))
      expect(rest).toHaveLength(end - whole * small('one').length)
    }
  })

  it('takes no message with a byte or a bit that is wrong', () => {
    const bytes = small()
    for (let at = 0; at < bytes.length; at += 1) {
      for (let bit = 0; bit < 8; bit += 1) {
        const wrong = Buffer.from(bytes)
        wrong[at] = (wrong[at] ?? 0) ^ (1 << bit)
        expect(() => read([wrong]), `byte ${at}, bit ${bit}`).toThrow(/broken event/)
      }
    }
  })

  it('throws nothing but its own error at bytes of any kind', () => {
    fc.assert(
      fc.property(messages, fc.uint8Array({ maxLength: 64 }), fc.nat(), (given, noise, place) => {
        const bytes = Buffer.concat(given.map((each) => codec.encode(each)))
        const at = place % bytes.length
        const mixed = Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(at + (place % 7))])
        try {
          read([mixed])
        } catch (error) {
          expect(error).toMatchObject({ code: 'upstream_invalid' })
        }
      }),
      { numRuns: 300 },
    )
  })

  it('refuses headers that reach beyond their room, with checksums that are right', () => {
    const headers = [
      // A name, a type, a value that goes on after the end; a type that there is not; a name alone.
      Buffer.from([1, 97, 7, 0, 9, 98]),
      Buffer.from([1, 97, 10]),
      Buffer.from([9, 97]),
      Buffer.from([1, 97]),
    ]
    for (const each of headers) expect(() => read([framed(each)])).toThrow(/broken event/)
    expect(read([framed(Buffer.from([1, 97, 7, 0, 1, 98]))]).all[0]?.headers.get('a')).toBe('b')
  })

  it('holds no message over its bound, and waits for none', () => {
    const bytes = small()
    expect(read([bytes], bytes.length).all).toHaveLength(1)
    // Its beginning is enough to know.
    expect(() => read([bytes.subarray(0, 12)], bytes.length - 1)).toThrow(/over/)
  })
})

function framed(headers: Buffer): Buffer {
  const whole = Buffer.alloc(16 + headers.length)
  whole.writeUInt32BE(whole.length, 0)
  whole.writeUInt32BE(headers.length, 4)
  whole.writeUInt32BE(crc32(whole.subarray(0, 8)), 8)
  headers.copy(whole, 12)
  whole.writeUInt32BE(crc32(whole.subarray(0, -4)), whole.length - 4)
  return whole
}
