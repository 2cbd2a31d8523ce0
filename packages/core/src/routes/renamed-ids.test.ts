import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseEvents } from '../providers/sse-decoder.js'
import { renamedEvents, renamedIds } from './renamed-ids.js'

const rename = (id: string) => `<${id}>`
const of = (json: string) => renamedIds(Buffer.from(json), rename).toString('utf8')

const names = fc.constantFrom('id', 'output', 'response', 'item', 'data', 'previous_response_id', 'a"b', '\\', '')
const { tree } = fc.letrec((tie) => ({
  tree: fc.oneof(
    { maxDepth: 6 },
    fc.oneof(fc.string(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.boolean(), fc.constant(null)),
    fc.array(tie('tree'), { maxLength: 4 }),
    fc.dictionary(names, tie('tree'), { maxKeys: 5 }),
  ),
}))

describe('renamedIds', () => {
  it('renames ids where they stand, and leaves every other byte', () => {
    const json = String.raw`{ "id" :"resp_1",
      "id2":"resp_1", "odd": 1.50e+2, "text": "\"id\": \"resp_1\" \\", "ids": ["resp_1", {"id": "resp_1"}],
      "previous_response_id":null , "output":[{"id":"msg_1","content":[{"id":"x"}]},"id", {"type":"reasoning", "id": "rs_1"}],
      "metadata":{"id":"resp_1"}, "\u0069d": "r\u0065sp_2", "response": {"id":"resp_3", "previous_response_id" : "resp_4"} }`
    const wanted = json
      .replace('"id" :"resp_1"', '"id" :"<resp_1>"')
      .replace('"msg_1"', '"<msg_1>"')
      .replace('"rs_1"', '"<rs_1>"')
      .replace(String.raw`"r\u0065sp_2"`, '"<resp_2>"')
      .replace('"resp_3"', '"<resp_3>"')
      .replace('"resp_4"', '"<resp_4>"')
    expect(of(json)).toBe(wanted)
  })

  it('says of any answer what a parser would, with blank space and escapes anywhere', () => {
    fc.assert(
      fc.property(tree, fc.constantFrom(undefined, 1, '\t', '\n \r'), (value, space) => {
        const json = JSON.stringify(value, null, space)
        expect(JSON.parse(of(json))).toEqual(JSON.parse(JSON.stringify(expected(value, []))))
        expect(renamedIds(Buffer.from(json), (id) => id).toString('utf8')).toBe(json)
      }),
      { numRuns: 500 },
    )
  })

  it('leaves what is no JSON alone', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const given = Buffer.from(bytes)
        expect(renamedIds(given, (id) => id).equals(given)).toBe(true)
      }),
    )
    expect(of('}]}"id":"a"')).toBe('}]}"id":"a"')
    for (const cut of ['{"id":"a', '{"id":"abc', '{"id":"abc\\"', '{"id', '{"id":']) expect(of(cut)).toBe(cut)
  })
})

const places = ['id', 'previous_response_id', 'output.*.id', 'response.id', 'response.previous_response_id', 'item.id']
const more = ['response.output.*.id', 'data.*.id']

/** The same by way of parsing. */
function expected(value: unknown, path: readonly string[]): unknown {
  if (typeof value === 'string') {
    return [...places, ...more].includes(path.join('.')) && value !== '' ? rename(value) : value
  }
  if (Array.isArray(value))
    return value.map((each) => (typeof each === 'string' ? each : expected(each, [...path, '*'])))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, expected(each, [...path, name])]))
}

describe('renamedEvents', () => {
  it.each(['\n', '\r\n', '\r'])('leaves comments, names, other fields and line ends (%j)', (end) => {
    const lines = [
      ': {"id":"resp_0"}',
      'event: response.created',
      'id: 7',
      'data: {"type":"response.created","response":{"id":"resp_1","output":[{"id":"msg_1","text":"你"}]}}',
      '',
      'data:{"item_id":"msg_1",',
      'data:  "delta":"data: x"',
      'data:}',
      '',
      'data: [DONE]',
      '',
      '',
    ]
    const renamed = renamedEvents(Buffer.from(lines.join(end)), rename).toString('utf8')
    const wanted = lines.map((line) =>
      line.startsWith('data') ? line.replaceAll(/"((?:resp|msg)_1)"/g, '"<$1>"') : line,
    )
    expect(renamed).toBe(wanted.join(end))
  })

  it('says of any events what a parser would, on however many lines', () => {
    const shapes = fc.array(fc.tuple(tree, fc.constantFrom(undefined, 1), fc.constantFrom('\n', '\r\n', '\r')), {
      maxLength: 4,
    })
    fc.assert(
      fc.property(shapes, (events) => {
        const written = events.map(([value, space, end]) => {
          const json = JSON.stringify(value, null, space).split('\n')
          return ['event: "{', ...json.map((line) => `data: ${line}`), ': "', '', ''].join(end)
        })
        const bytes = Buffer.from(written.join(''))
        const renamed = parseEvents(renamedEvents(bytes, rename)).map(({ data }) => JSON.parse(data))
        const values = events.map(([value]) => JSON.parse(JSON.stringify(expected(value, []))))
        expect(renamed).toEqual(values)
        expect(renamedEvents(bytes, (id) => id).equals(bytes)).toBe(true)
      }),
    )
  })
})
