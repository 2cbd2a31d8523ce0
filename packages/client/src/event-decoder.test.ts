import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createEventDecoder, type ServerSentEvent } from './event-decoder.js'

const encode = (text: string) => new TextEncoder().encode(text)

function decode(...parts: readonly (string | Uint8Array)[]): ServerSentEvent[] {
  const decoder = createEventDecoder(1_000_000)
  return parts.flatMap((part) => decoder.push(typeof part === 'string' ? encode(part) : part))
}

const dataOf = (...parts: readonly string[]) => decode(...parts).map(({ data }) => data)

describe('the grammar of event streams', () => {
  it.each([
    ['LF', 'data: a\n\ndata: b\n\n', ['a', 'b']],
    ['CRLF', 'data: a\r\n\r\ndata: b\r\n\r\n', ['a', 'b']],
    ['CR', 'data: a\r\rdata: b\r\r', ['a', 'b']],
    ['mixed line ends', 'data: a\r\n\ndata: b\r\r\ndata: c\n\r\n', ['a', 'b', 'c']],
    ['several data lines', 'data: a\ndata:\ndata: b\n\n', ['a\n\nb']],
    ['one space eaten', 'data:x\n\ndata: x\n\ndata:  x\n\n', ['x', 'x', ' x']],
    ['comments', ': ping\n\n: ping\ndata: a\n: pong\n\n', ['a']],
    ['other fields first', 'id: 1\nretry: 10\nnonsense: 2\ndata: a\n\n', ['a']],
    ['a byte order mark, once', '\ufeffdata: a\n\n\ufeffdata: b\n\ndata: c\ufeff\u2028\n\n', ['a', 'c\ufeff\u2028']],
    ['a field without a colon', 'data\n\n', ['']],
    ['empty data', 'data:\n\n', ['']],
    ['an event without data', 'event: ping\n\ndata: a\n\n', ['a']],
    ['no blank line at the end', 'data: a\n\ndata: b\n', ['a']],
    ['blank lines only', '\n\n\r\n\r\r', []],
  ])('%s', (_, text, expected) => {
    expect(dataOf(text)).toEqual(expected)
    expect(dataOf(...text), 'one character at a time').toEqual(expected)
  })

  it('names events, forgets the name after each, and keeps the id', () => {
    expect(decode('event: a\nid: 1\ndata: x\n\ndata: y\n\nid: bad\0id\ndata: z\n\nid\ndata: w\n\n')).toEqual([
      { event: 'a', data: 'x', id: '1' },
      { event: 'message', data: 'y', id: '1' },
      { event: 'message', data: 'z', id: '1' },
      { event: 'message', data: 'w', id: '' },
    ])
  })

  it('takes CR and LF in different chunks for one line end, and an LF on its own for one', () => {
    expect(dataOf('data: a\r', '\ndata: b\r', '\n\r', '\n')).toEqual(['a\nb'])
    expect(dataOf('data: a\r', '', '\n', '\n')).toEqual(['a'])
  })

  it('refuses an event over its limit, as one line or as many', () => {
    const tooLarge = expect.objectContaining({ kind: 'stream', reason: 'too_large' })
    const one = createEventDecoder(100)
    expect(one.push(encode(`data: ${'x'.repeat(90)}\n\n`))).toHaveLength(1)
    expect(() => one.push(encode(`data: ${'x'.repeat(101)}`))).toThrow(tooLarge)
    const many = createEventDecoder(100)
    expect(() => {
      for (let line = 0; line < 20; line++) many.push(encode('data: 123456789\n'))
    }).toThrow(tooLarge)
  })
})

describe('properties', () => {
  const end = fc.constantFrom('\n', '\r\n', '\r')
  const value = fc.string({ unit: 'grapheme' }).map((text) => text.replace(/[\r\n]/g, ''))
  const stream = fc
    .array(fc.tuple(fc.array(value, { minLength: 1, maxLength: 3 }), end, fc.boolean()), { maxLength: 8 })
    .map((events) => ({
      text: events
        .map(([lines, eol, comment]) => {
          const fields = lines.map((line) => `data: ${line}${eol}`).join('')
          return `${comment ? `: ${lines[0]}${eol}` : ''}${fields}${eol}`
        })
        .join(''),
      expected: events.map(([lines]) => lines.join('\n')),
    }))

  it('reads the same events however the bytes are split', () => {
    fc.assert(
      fc.property(stream, fc.array(fc.nat()), ({ text, expected }, cuts) => {
        const bytes = encode(text)
        const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((one, other) => one - other)
        const parts = [0, ...places].map((from, at) => bytes.subarray(from, places[at] ?? bytes.length))
        expect(decode(...parts).map(({ data }) => data)).toEqual(expected)
      }),
      { examples: [[{ text: 'data: 😀\r\n\r\n', expected: ['😀'] }, [7, 8, 9, 10, 11, 12]]] },
    )
  })

  it('takes any bytes at all without throwing', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), (parts) => {
        const decoder = createEventDecoder(100_000)
        for (const part of parts) decoder.push(part)
      }),
    )
  })

  it('reads an event of 2 MB in 1 KB parts', () => {
    const text = `data: ${'x'.repeat(2_000_000)}\n\n`
    const decoder = createEventDecoder(3_000_000)
    const bytes = encode(text)
    const events: ServerSentEvent[] = []
    for (let at = 0; at < bytes.length; at += 1024) events.push(...decoder.push(bytes.subarray(at, at + 1024)))
    expect(events.map(({ data }) => data.length)).toEqual([2_000_000])
  })
})
