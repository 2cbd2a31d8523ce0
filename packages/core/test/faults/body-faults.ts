import type { Expected, Fault, Lane } from './expected.js'
import type { HealthyAnswer, Line, Play } from './faulty-upstream.js'

const invalid: Expected = { refused: 'upstream_invalid', status: 502 }

/** A stream whose bytes are other than they should be, in one piece. */
function remade(change: (pieces: readonly Buffer[], healthy: HealthyAnswer) => string | Uint8Array): Play {
  return async (line, healthy) => {
    await line.head({ 'content-type': healthy.contentType })
    await line.send(change(healthy.pieces, healthy))
    line.end()
  }
}

/** The same with each event written anew. */
function eachEvent(change: (event: string) => string): Play {
  return remade((pieces) => pieces.map((piece) => change(piece.toString('utf8'))).join(''))
}

async function half(line: Line, { contentType, pieces }: HealthyAnswer): Promise<void> {
  const body = Buffer.concat(pieces)
  await line.head({ 'content-type': contentType, 'content-length': body.length })
  await line.send(body.subarray(0, body.length / 2))
}

/** `data: {…}` with each line of the indented JSON on a line of its own. */
function onManyLines(event: string): string {
  return event.replace(/^data: (\{.*\})$/m, (_line, json: string) =>
    JSON.stringify(JSON.parse(json), null, 1)
      .split('\n')
      .map((line) => `data: ${line}`)
      .join('\n'),
  )
}

const endless = {
  wire: 'gemini',
  why: 'its streams have no terminal event, and some models give a reason in each: what comes belongs to the answer',
} as const

/** OpenAI's streams end twice: with the reason, and with `[DONE]`. */
const endsTwice = ({ wire, surface }: Lane) =>
  wire === 'openai' && surface !== 'responses' ? 'whole' : ({ broken: 'upstream_invalid' } as const)

/** What goes wrong within an answer. */
export const bodyFaults: readonly Fault[] = [
  {
    name: 'lines end in CRLF',
    of: 'sse',
    play: eachEvent((event) => event.replaceAll('\n', '\r\n')),
    expected: 'whole',
  },
  { name: 'lines end in CR', of: 'sse', play: eachEvent((event) => event.replaceAll('\n', '\r')), expected: 'whole' },
  {
    name: 'a comment before each event',
    of: 'sse',
    play: eachEvent((event) => `: ok\n\n:\n${event}`),
    expected: 'whole',
  },
  {
    name: 'a byte order mark',
    of: 'sse',
    play: remade((pieces) => `\uFEFF${Buffer.concat(pieces)}`),
    expected: 'whole',
  },
  { name: 'data on many lines', of: 'sse', play: eachEvent(onManyLines), expected: 'whole' },
  {
    name: 'no space after the colon',
    of: 'sse',
    play: eachEvent((event) => event.replace(/: /, ':')),
    expected: 'whole',
  },
  {
    name: 'ids and times to retry',
    of: 'sse',
    play: eachEvent((event) => `id: 7\nretry: 1\nx: y\n${event}`),
    expected: 'whole',
  },
  {
    name: 'the last event lacks its blank line',
    of: 'sse',
    play: remade((pieces) => Buffer.concat(pieces).toString('utf8').slice(0, -1)),
    expected: 'whole',
  },
  {
    name: 'the last event lacks its line end',
    of: 'sse',
    play: remade((pieces) => Buffer.concat(pieces).toString('utf8').trimEnd()),
    expected: 'whole',
  },
  {
    name: 'the terminal event comes twice',
    except: endless,
    of: 'stream',
    play: remade((pieces) => Buffer.concat([...pieces, pieces.at(-1) as Buffer])),
    expected: 'whole',
  },
  {
    name: 'the terminal event comes twice, the second later',
    except: endless,
    of: 'stream',
    async play(line, { contentType, pieces }) {
      await line.head({ 'content-type': contentType })
      await line.send(Buffer.concat(pieces))
      await line.dribble(pieces.at(-1) as Buffer, 1_000_000, 30)
      line.end()
    },
    expected: 'whole',
  },
  {
    name: 'the whole answer comes again after its end',
    except: endless,
    of: 'stream',
    play: remade((pieces) => Buffer.concat([...pieces, ...pieces])),
    expected: 'whole',
  },
  {
    name: 'nonsense after the end',
    of: 'stream',
    play: remade((pieces) => Buffer.concat([...pieces, Buffer.from('data: {"choices":[nonsense\n\n')])),
    expected: ({ wire }) => (wire === 'gemini' ? { cut: 'upstream_invalid' } : 'whole'),
  },
  {
    name: 'the connection stays open after the end',
    isSlow: true,
    of: 'stream',
    async play(line, { contentType, pieces }) {
      await line.head({ 'content-type': contentType })
      await line.send(Buffer.concat(pieces))
      await line.silence()
    },
    expected: ({ wire }) => (wire === 'gemini' ? { broken: 'upstream_timeout' } : 'whole'),
  },
  {
    name: 'the terminal event is missing',
    of: 'stream',
    play: remade((pieces) => Buffer.concat(pieces.slice(0, -1))),
    expected: endsTwice,
  },
  {
    name: 'the terminal event is cut',
    of: 'stream',
    play: remade((pieces) => {
      const all = Buffer.concat(pieces)
      return all.subarray(0, all.length - 5)
    }),
    expected: endsTwice,
  },
  {
    name: 'an event of nonsense in the middle',
    of: 'stream',
    play: remade((pieces) => {
      const middle = Math.ceil(pieces.length / 2)
      return Buffer.concat([...pieces.slice(0, middle), Buffer.from('data: nonsense\n\n'), ...pieces.slice(middle)])
    }),
    expected: { cut: 'upstream_invalid' },
  },
  {
    name: 'words between events that never end',
    isSlow: true,
    of: 'sse',
    async play(line, { contentType, pieces }) {
      await line.head({ 'content-type': contentType })
      await line.send(Buffer.concat(pieces.slice(0, -3)))
      while (!line.left()) await line.dribble(': wait\n\n', 8, 50)
    },
    expected: { broken: 'timeout' },
  },
  {
    name: 'an answer that dribbles',
    isSlow: true,
    async play(line, { contentType, pieces }) {
      await line.head({ 'content-type': contentType })
      await line.dribble(Buffer.concat(pieces), 1, 50)
    },
    expected: (_lane, isStream) => (isStream ? { cut: 'timeout' } : { refused: 'timeout', status: 504 }),
  },
  {
    name: 'a length that is too large',
    play: async (line, healthy) => {
      const body = Buffer.concat(healthy.pieces)
      await line.head({ 'content-type': healthy.contentType, 'content-length': body.length + 10 })
      await line.send(body)
      line.end()
    },
    expected: ({ wire }, isStream) =>
      !isStream
        ? { refused: 'upstream_failed', status: 502 }
        : wire === 'gemini'
          ? { broken: 'upstream_failed' }
          : 'whole',
  },
  {
    name: 'a length that is too small',
    play: async (line, healthy) => {
      const body = Buffer.concat(healthy.pieces)
      await line.head({ 'content-type': healthy.contentType, 'content-length': Math.floor(body.length / 2) })
      await line.send(body)
      line.end()
    },
    expected: (_lane, isStream) => (isStream ? { cut: 'upstream_invalid' } : invalid),
  },
  {
    name: 'a chunk whose size is no number',
    play: async (line, { contentType }) => {
      await line.head({ 'content-type': contentType, 'transfer-encoding': 'chunked' })
      await line.send('zz\r\n')
    },
    expected: invalid,
  },
  {
    name: 'a reset half way',
    play: async (line, healthy) => {
      await half(line, healthy)
      line.reset()
    },
    expected: (_lane, isStream) =>
      isStream ? { cut: 'upstream_failed' } : { refused: 'upstream_failed', status: 502 },
  },
  {
    name: 'silence half way',
    isSlow: true,
    play: async (line, healthy) => {
      await half(line, healthy)
      await line.silence()
    },
    expected: (_lane, isStream) =>
      isStream ? { cut: 'upstream_timeout' } : { refused: 'upstream_timeout', status: 504 },
  },
  {
    name: 'JSON with a byte order mark and blanks around it',
    of: 'json',
    play: remade((pieces) => `\uFEFF\r\n\t ${Buffer.concat(pieces)} \n\n`),
    expected: 'whole',
  },
  ...['null', '[]', '""', '0', '{}', '{"error":{}}', 'nonsense', '<html>'].map(
    (body): Fault => ({
      name: `JSON that is no answer: ${body}`,
      of: 'json',
      play: remade(() => body),
      expected: body === '{"error":{}}' ? { refused: 'upstream_failed', status: 502 } : invalid,
    }),
  ),
]
