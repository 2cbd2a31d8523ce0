import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { GenerateChunk } from '../inference/task.js'
import { messageEvents, messageResponse } from './anthropic-answer.js'

type Event = Record<string, unknown> & { type: string; index?: number }
type Typed = Exclude<GenerateChunk, { type: 'native' }>

function eventsOf(chunks: readonly Typed[]): Event[] {
  const encode = messageEvents('r', 'm')
  const end = {
    type: 'end',
    finishReason: 'stop',
    usage: { inputTokens: 1, outputTokens: 2, estimated: false },
  } as const
  const text = [...chunks, end].map(encode).join('')
  return text
    .split('\n\n')
    .filter((event) => event !== '')
    .map((event) => {
      const [name, data] = event.split('\n')
      const json = JSON.parse(data?.slice('data: '.length) ?? '') as Event
      expect(name).toBe(`event: ${json.type}`)
      return json
    })
}

/** Reads events by the grammar, and throws where they break it. */
function read(events: readonly Event[]): Array<Record<string, string>> {
  const blocks: Array<Record<string, string>> = []
  let open: Record<string, string> | undefined
  expect(events[0]?.type).toBe('message_start')
  expect(events.slice(-2).map(({ type }) => type)).toEqual(['message_delta', 'message_stop'])
  for (const event of events.slice(1, -2)) {
    switch (event.type) {
      case 'content_block_start': {
        expect(open).toBeUndefined()
        expect(event.index).toBe(blocks.length)
        const { type, name = '', id = '', data = '' } = event['content_block'] as Record<string, string>
        open = { type: type as string, name, id, written: data, signature: '' }
        blocks.push(open)
        break
      }
      case 'content_block_delta': {
        expect(event.index).toBe(blocks.length - 1)
        const delta = event['delta'] as Record<string, string>
        const kinds: Record<string, readonly [block: string, field: string]> = {
          text_delta: ['text', 'text'],
          thinking_delta: ['thinking', 'thinking'],
          signature_delta: ['thinking', 'signature'],
          input_json_delta: ['tool_use', 'partial_json'],
        }
        const [kind, field] = kinds[delta['type'] as string] ?? ['', '']
        expect(open?.['type']).toBe(kind)
        const into = field === 'signature' ? 'signature' : 'written'
        if (open !== undefined) open[into] = `${open[into]}${delta[field]}`
        break
      }
      default:
        expect(event.type).toBe('content_block_stop')
        expect(event.index).toBe(blocks.length - 1)
        expect(open).toBeDefined()
        open = undefined
    }
  }
  expect(open).toBeUndefined()
  return blocks
}

const json = fc.json({ maxDepth: 2 }).map((value) => JSON.stringify({ a: JSON.parse(value) as unknown }))
/** A call's pieces, cut anywhere. */
const cut = (index: number) =>
  fc.tuple(json, fc.array(fc.nat({ max: 40 }), { maxLength: 4 })).map(([whole, cuts]) => {
    const at = [0, ...cuts.map((each) => each % (whole.length + 1)).sort((one, other) => one - other), whole.length]
    return at.slice(1).map((to, position): Typed => {
      const named = position === 0 ? { id: `c${index}`, name: `f${index}` } : {}
      return { type: 'tool-call', index, ...named, arguments: whole.slice(at[position], to) }
    })
  })
const said = fc.oneof(
  fc.string({ maxLength: 5 }).map((text): Typed => ({ type: 'text', text })),
  fc.string({ minLength: 1, maxLength: 5 }).map((text): Typed => ({ type: 'reasoning', text })),
  fc.constant<Typed>({ type: 'reasoning', text: '', signature: 's' }),
  fc.constant<Typed>({ type: 'reasoning', text: '', redacted: 'r' }),
)

/** Several lists as one, each in its own order. */
function mingled(lists: readonly Typed[][], order: readonly number[]): Typed[] {
  const left = lists.map((list) => [...list])
  const all: Typed[] = []
  for (const pick of order) {
    const rest = left.filter((list) => list.length > 0)
    const next = rest[pick % Math.max(1, rest.length)]?.shift()
    if (next !== undefined) all.push(next)
  }
  return [...all, ...left.flat()]
}

describe('messageEvents', () => {
  it('keeps to the grammar, and loses nothing, however calls and words come mingled', () => {
    fc.assert(
      fc.property(
        cut(0),
        cut(1),
        cut(2),
        fc.array(said, { maxLength: 8 }),
        fc.array(fc.nat({ max: 11 }), { maxLength: 30 }),
        (first, second, third, words, order) => {
          // A call begins after those before it, as every API has it; from then on their pieces come in any order.
          const chunks = mingled([first, second, third, words], order)
          const blocks = read(eventsOf(chunks))
          const written = (type: string) =>
            blocks
              .filter((block) => block['type'] === type)
              .map(({ written: text }) => text)
              .join('')
          const sent = (type: string) =>
            chunks.map((chunk) => (chunk.type === type && 'text' in chunk ? chunk.text : '')).join('')
          expect(written('text')).toBe(sent('text'))
          expect(written('thinking')).toBe(sent('reasoning'))
          const calls = blocks.filter(({ type }) => type === 'tool_use')
          for (const [index, pieces] of [first, second, third].entries()) {
            const whole = pieces.map((piece) => (piece.type === 'tool-call' ? piece.arguments : '')).join('')
            expect(calls.filter(({ id }) => id === `c${index}`)).toMatchObject([{ name: `f${index}`, written: whole }])
          }
          const redacted = chunks.filter((chunk) => chunk.type === 'reasoning' && chunk.redacted !== undefined)
          expect(blocks.filter(({ type }) => type === 'redacted_thinking')).toHaveLength(redacted.length)
        },
      ),
      { numRuns: 400 },
    )
  })

  it('writes a call at once when the one before it is whole', () => {
    const encode = messageEvents('r', 'm')
    encode({ type: 'tool-call', index: 0, id: 'a', name: 'f', arguments: '{}' })
    expect(encode({ type: 'tool-call', index: 1, id: 'b', name: 'g', arguments: '' })).toContain('"id":"b"')
    expect(() => encode({ type: 'tool-call', index: 0, arguments: '{"more":1}' })).toThrow(/was whole/)
  })

  it('says nothing but an empty message where nothing was said', () => {
    expect(eventsOf([]).map(({ type }) => type)).toEqual(['message_start', 'message_delta', 'message_stop'])
  })
})

describe('messageResponse', () => {
  const result = (json: string, finishReason: 'tool-calls' | 'length') => ({
    output: { text: '', toolCalls: [{ id: 'c', name: 'f', arguments: json }], finishReason },
    usage: { inputTokens: 1, outputTokens: 1, estimated: false },
  })

  it.each(['{"a":', '[1]', '"x"', 'null'])('refuses arguments that are no object: %s', (json) => {
    expect(() => messageResponse('r', 'm', result(json, 'tool-calls'))).toThrow(/no JSON object/)
    expect(messageResponse('r', 'm', result(json, 'length')).content).toMatchObject([{ type: 'tool_use', input: {} }])
  })

  it('takes no arguments for none', () => {
    expect(messageResponse('r', 'm', result('', 'tool-calls')).content).toMatchObject([{ input: {} }])
  })
})
