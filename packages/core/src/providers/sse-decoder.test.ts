import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { eventSplitter, parseEvents, type ServerSentEvent, splitEvents, withoutMark } from './sse-decoder.js'

/** The WHATWG algorithm on the whole text, with no thought for speed. */
function reference(bytes: Buffer): ServerSentEvent[] {
  const text = new TextDecoder('utf-8').decode(bytes)
  const lines = text.replaceAll('\r\n', '\n').replaceAll('\r', '\n').split('\n')
  lines.pop()
  const events: ServerSentEvent[] = []
  let data: string[] = []
  let event = ''
  for (const line of lines) {
    if (line === '') {
      if (data.length > 0) events.push({ event, data: data.join('\n') })
      data = []
      event = ''
    } else if (!line.startsWith(':')) {
      const [, field, value] = /^([^:]*)(?:: ?(.*))?$/su.exec(line) ?? []
      if (field === 'data') data.push(value ?? '')
      if (field === 'event') event = value ?? ''
    }
  }
  return events
}

/** Streams made of what hurts: all line endings, marks, colons, characters of 1 to 4 bytes. */
const piece = fc.constantFrom(
  '\n',
  '\r',
  '\r\n',
  '\n\n',
  '\r\n\r\n',
  '\r\r',
  ':',
  ' ',
  'data',
  'data:',
  'data: ',
  'data: {"a":1}',
  'event: x',
  'event:error',
  'id: 1',
  'retry: 5',
  ': comment',
  'é',
  '你',
  '🙂',
  '\uFEFF',
  '\u2028',
  '[DONE]',
  'data: x\n\n',
  'data: y\r\n\r\n',
  'data: z\r\r',
)
const streams = fc
  .tuple(fc.boolean(), fc.array(piece, { maxLength: 60 }))
  .map(([mark, pieces]) => Buffer.from((mark ? '\uFEFF' : '') + pieces.join('')))
const cuts = fc.array(fc.nat(400), { maxLength: 40 })

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [...new Set(at.filter((place) => place > 0 && place < bytes.length))].sort(
    (left, right) => left - right,
  )
  return [0, ...places].map((from, index) => bytes.subarray(from, places[index]))
}

/** As streams are read by those who want events and not bytes. */
function decoderOf(maxEventBytes: number) {
  const splitter = eventSplitter('up', maxEventBytes)
  let begun = false
  return {
    rest: splitter.rest,
    push(chunk: Buffer): ServerSentEvent[] {
      const whole = splitter.push(chunk)
      if (whole === undefined) return []
      const bytes = begun ? whole : withoutMark(whole)
      begun = true
      return parseEvents(bytes)
    },
  }
}

describe('events', () => {
  it('decodes the same events however the bytes are cut', () => {
    fc.assert(
      fc.property(streams, cuts, (bytes, at) => {
        const decoder = decoderOf(1_000_000)
        expect(cut(bytes, at).flatMap((chunk) => decoder.push(chunk))).toEqual(reference(bytes))
      }),
      { numRuns: 2000 },
    )
  })

  it('decodes the same events byte by byte', () => {
    fc.assert(
      fc.property(streams, (bytes) => {
        const decoder = decoderOf(1_000_000)
        const events = Array.from(bytes, (_, index) => decoder.push(bytes.subarray(index, index + 1))).flat()
        expect(events).toEqual(reference(bytes))
      }),
      { numRuns: 500 },
    )
  })

  it.each<[string, string, ServerSentEvent[]]>([
    ['several data lines, an empty one in the middle', 'data: a\ndata:\ndata: b\n\n', [{ event: '', data: 'a\n\nb' }]],
    [
      'only one space is eaten',
      'data:  x\n\ndata:y\n\n',
      [
        { event: '', data: ' x' },
        { event: '', data: 'y' },
      ],
    ],
    ['a comment between fields', 'event: e\n: c\ndata: x\n\n', [{ event: 'e', data: 'x' }]],
    ['comments alone are nothing', ': a\n\n: b\n\n', []],
    ['an event without data is nothing', 'event: e\n\n', []],
    ['a field without a colon is empty', 'data\n\n', [{ event: '', data: '' }]],
    ['unknown fields, id and retry are ignored', 'id: 7\nretry: x\nfoo: bar\ndata: x\n\n', [{ event: '', data: 'x' }]],
    [
      'a byte order mark is taken off once',
      '\uFEFFdata: \uFEFFx\n\n\uFEFFdata: y\n\n',
      [{ event: '', data: '\uFEFFx' }],
    ],
    ['the last event without its blank line is dropped', 'data: x\n\ndata: y\n', [{ event: '', data: 'x' }]],
  ])('%s', (_name, text, events) => {
    const decoder = decoderOf(1000)
    expect(decoder.push(Buffer.from(text))).toEqual(events)
  })

  it('says whether the stream was cut within an event', () => {
    const decoder = decoderOf(1000)
    decoder.push(Buffer.from('data: x\n\n'))
    expect(decoder.rest()).toHaveLength(0)
    decoder.push(Buffer.from('data: y\n'))
    expect(decoder.rest()).not.toHaveLength(0)
  })
})

describe('eventSplitter', () => {
  it('loses no byte, and only gives whole events', () => {
    fc.assert(
      fc.property(streams, cuts, (bytes, at) => {
        const splitter = eventSplitter('up', 1_000_000)
        const blocks = cut(bytes, at).flatMap((chunk) => splitter.push(chunk) ?? [])
        expect(Buffer.concat([...blocks, splitter.rest()])).toEqual(bytes)
        const marked = bytes.subarray(0, 3).equals(Buffer.from('\uFEFF'))
        if (!marked) expect(blocks.flatMap(parseEvents)).toEqual(reference(bytes))
      }),
      { numRuns: 2000 },
    )
  })

  it('does not copy a chunk of whole events', () => {
    const chunk = Buffer.from('data: x\n\ndata: y\n\n')
    expect(eventSplitter('up', 1000).push(chunk)).toBe(chunk)
  })

  it('looks at each byte once, however small the chunks of a large event', () => {
    // A decoder that begins again with every chunk would look at 2 MiB times 131,072 chunks.
    const splitter = eventSplitter('up', 8_388_608)
    const small = Buffer.alloc(16, 'x')
    for (let chunk = 0; chunk < 131_072; chunk += 1) expect(splitter.push(small) === undefined).toBe(true)
    expect(splitter.push(Buffer.from('\n\n'))?.length).toBe(131_072 * 16 + 2)
  })

  it.each([
    ['in one chunk', [`data: ${'x'.repeat(100)}\n\n`]],
    ['in chunks', ['data: ', 'x'.repeat(60), 'x'.repeat(60)]],
    ['after another in its chunk', [`data: a\n\ndata: ${'x'.repeat(100)}`]],
    ['between others in a chunk', [`data: a\n\ndata: ${'x'.repeat(100)}\n\ndata: b\n\n`]],
  ])('refuses an event over the limit, %s', (_name, chunks) => {
    const splitter = eventSplitter('up', 100)
    const push = () => chunks.map((chunk) => splitter.push(Buffer.from(chunk)))
    expect(push).toThrow(expect.objectContaining({ code: 'upstream_invalid' }))
  })

  it('takes many small events that are over the limit together', () => {
    const splitter = eventSplitter('up', 100)
    const chunk = Buffer.from('data: aaaa\n\n'.repeat(50))
    expect(splitter.push(chunk)).toBe(chunk)
  })
})

describe('splitEvents', () => {
  it('gives each event its bytes', () => {
    fc.assert(
      fc.property(streams, (bytes) => {
        const whole = eventSplitter('up', 1_000_000).push(bytes)
        if (whole === undefined) return
        const events = splitEvents(whole)
        expect(Buffer.concat(events)).toEqual(whole)
        expect(events.flatMap(parseEvents)).toEqual(parseEvents(whole))
        for (const event of events) expect(parseEvents(event).length).toBeLessThan(2)
      }),
      { numRuns: 1000 },
    )
  })
})
