import type { Expected, Fault } from './expected.js'
import type { HealthyAnswer, Line, Play } from './faulty-upstream.js'
import { healthily } from './faulty-upstream.js'

const invalid: Expected = { refused: 'upstream_invalid', status: 502 }
const failed: Expected = { refused: 'upstream_failed', status: 502 }
const late: Expected = { refused: 'upstream_timeout', status: 504 }

/** The whole answer, with other fields than it should have. */
function withFields(fields: (body: Buffer, healthy: HealthyAnswer) => Record<string, string | number>): Play {
  return async (line, healthy) => {
    const body = Buffer.concat(healthy.pieces)
    await line.head(fields(body, healthy))
    await line.send(body)
    line.end()
  }
}

/** An answer of that status, without one of a model. */
function ofStatus(status: string, fields: Record<string, string | number> = {}, body = ''): Play {
  return async (line) => {
    await line.head({ 'content-length': Buffer.byteLength(body), ...fields }, status)
    await line.send(body)
  }
}

async function asBytes(line: Line, healthy: HealthyAnswer, fields = ''): Promise<void> {
  const body = Buffer.concat(healthy.pieces)
  const head = `HTTP/1.1 200 OK\r\ncontent-type: ${healthy.contentType}\r\n${fields}content-length: ${body.length}\r\n\r\n`
  await line.dribble(Buffer.concat([Buffer.from(head), body]), 1)
}

function chunked(bytes: Buffer): Buffer[] {
  return [Buffer.from(`${bytes.length.toString(16)};x="a\\"b"\r\n`), bytes, Buffer.from('\r\n')]
}

/** What goes wrong before there is an answer of a model, whatever was asked for. */
export const headFaults: readonly Fault[] = [
  { name: 'none', play: healthily, expected: 'whole' },
  { name: 'every byte is a packet', play: (line, healthy) => asBytes(line, healthy), expected: 'whole' },
  {
    name: 'chunks of odd sizes with extensions and trailers',
    expected: 'whole',
    async play(line, { contentType, pieces }) {
      await line.head({ 'content-type': contentType, 'transfer-encoding': 'chunked', trailer: 'x-sum' })
      const body = Buffer.concat(pieces)
      for (let from = 0; from < body.length; from += 7) {
        await line.dribble(Buffer.concat(chunked(body.subarray(from, from + 7))), 5)
      }
      await line.send('0\r\nx-sum: authorization\r\n\r\n')
    },
  },
  {
    name: 'the body ends with the connection',
    play: withFields((_body, { contentType }) => ({ 'content-type': contentType })),
    expected: 'whole',
  },
  {
    name: 'the type is written oddly',
    expected: 'whole',
    play: withFields((body, { contentType }) => ({
      'Content-Type': `${contentType.split(';')[0]?.toUpperCase()} ;charset="utf-8"`,
      'content-length': body.length,
    })),
  },
  {
    name: 'early hints before the answer',
    expected: 'whole',
    async play(line, healthy) {
      for (let count = 0; count < 3; count += 1) await line.head({ link: '</a>; rel=preload' }, '103 Early Hints')
      await line.head({}, '102 Processing')
      await healthily(line, healthy)
    },
  },
  {
    name: 'nothing but informational answers',
    expected: invalid,
    async play(line) {
      while (!line.left()) await line.dribble('HTTP/1.1 102 Processing\r\n\r\n', 26, 20)
    },
  },
  { name: 'another protocol', play: ofStatus('101 Switching Protocols', { upgrade: 'x' }), expected: failed },
  { name: 'a reset before the head', play: (line) => line.reset(), expected: failed },
  { name: 'an end before the head', play: (line) => line.end(), expected: failed },
  {
    name: 'a reset within the head',
    expected: failed,
    async play(line) {
      await line.send('HTTP/1.1 200 OK\r\ncontent-ty')
      line.reset()
    },
  },
  { name: 'silence before the head', isSlow: true, play: (line) => line.silence(), expected: late },
  {
    name: 'a head that dribbles',
    isSlow: true,
    expected: late,
    async play(line) {
      await line.send('HTTP/1.1 200 OK\r\n')
      while (!line.left()) await line.dribble('x-a: b\r\n', 1, 20)
    },
  },
  {
    name: 'a head without end',
    expected: invalid,
    async play(line) {
      await line.send('HTTP/1.1 200 OK\r\n')
      while (!line.left()) await line.send(`x-a: ${'b'.repeat(1000)}\r\n`)
    },
  },
  { name: 'no HTTP', play: (line) => line.send('SSH-2.0-OpenSSH_9.6\r\n'), expected: invalid },
  { name: 'nothing of HTTP but a line', play: (line) => line.send('HTTP/9.9 abc\r\n\r\n'), expected: invalid },
  {
    name: 'two lengths that differ',
    play: (line) => line.send('HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 7\r\n\r\n{}'),
    expected: invalid,
  },
  {
    name: 'two types',
    play: (line, { contentType }) =>
      line.send(
        `HTTP/1.1 200 OK\r\ncontent-type: ${contentType}\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n{}`,
      ),
    expected: invalid,
  },
  ...['301 Moved', '302 Found', '303 See Other', '307 Temporary', '308 Permanent'].map(
    (status): Fault => ({
      name: `a redirect: ${status}`,
      play: (line, healthy) =>
        line.request.path.startsWith('/stolen')
          ? healthily(line, healthy)
          : ofStatus(status, { location: '/stolen' })(line, healthy),
      expected: invalid,
    }),
  ),
  { name: 'no content', play: (line) => line.head({}, '204 No Content'), expected: invalid },
  { name: 'not modified', play: (line) => line.head({}, '304 Not Modified'), expected: invalid },
  { name: 'HTML', play: ofStatus('200 OK', { 'content-type': 'text/html' }, '<p>login</p>'), expected: invalid },
  { name: 'no type', play: withFields((body) => ({ 'content-length': body.length })), expected: invalid },
  {
    name: 'the other kind of answer',
    expected: invalid,
    play: withFields((body, { isStream }) => ({
      'content-type': isStream ? 'application/json' : 'text/event-stream',
      'content-length': body.length,
    })),
  },
  {
    name: 'the right type, and nothing',
    play: (line, { contentType }) => line.head({ 'content-type': contentType, 'content-length': 0 }),
    expected: invalid,
  },
  ...['gzip', 'br', 'gzip, gzip'].map(
    (encoding): Fault => ({
      name: `packed by ${encoding}, which nobody asked for`,
      play: withFields((body, { contentType }) => ({
        'content-type': contentType,
        'content-encoding': encoding,
        'content-length': body.length,
      })),
      expected: invalid,
    }),
  ),
  {
    name: 'a 200 with an error in JSON',
    play: ofStatus(
      '200 OK',
      { 'content-type': 'application/json' },
      '{"error":{"message":"no","type":"server_error"}}',
    ),
    expected: failed,
  },
  {
    name: 'a 200 with an error in a list',
    play: ofStatus('200 OK', { 'content-type': 'application/json' }, '[{"error":{"code":503,"message":"no"}}]'),
    expected: failed,
  },
  {
    name: 'an error that falls silent',
    isSlow: true,
    expected: failed,
    async play(line) {
      await line.head({ 'content-type': 'application/json', 'content-length': 100 }, '500 Oh')
      await line.send('{"error":')
      await line.silence()
    },
  },
  {
    name: 'an error that dribbles',
    isSlow: true,
    expected: failed,
    async play(line) {
      await line.head({ 'content-type': 'application/json' }, '500 Oh')
      while (!line.left()) await line.dribble('no ', 1, 50)
    },
  },
  {
    name: 'an error without end',
    expected: failed,
    async play(line) {
      await line.head({ 'content-type': 'application/json' }, '500 Oh')
      while (!line.left()) await line.send('x'.repeat(10_000))
    },
  },
  {
    name: 'an error that breaks off',
    expected: failed,
    async play(line) {
      await line.head({ 'content-type': 'application/json', 'content-length': 100 }, '500 Oh')
      line.reset()
    },
  },
]
