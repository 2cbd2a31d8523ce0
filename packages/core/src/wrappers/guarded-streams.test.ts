import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hello, recordedCall } from '../../test/fake-model.js'
import { argumentsOf, end, joined, only, partsOf, scripted, stars } from '../../test/scripted-model.js'
import type { Part } from '../inference/task.js'
import { guarded } from './guarded.js'

/** Of a character. */
const loneHalf = /\p{Cs}/u

describe('an answer in a stream', () => {
  const piece = fc.oneof(
    fc.constantFrom('secret', 'sec', 'ret', 'asecret', '1', '123456', '1234567', '🙂', '"', ' '),
    fc.string({ unit: 'binary', maxLength: 3 }),
  )
  const cuts = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 60 })
  const cut = (text: string, lengths: readonly number[]): string[] => {
    const pieces: string[] = []
    for (let at = 0, count = 0; at < text.length; count += 1) {
      const length = lengths[count % lengths.length] as number
      pieces.push(text.slice(at, at + length))
      at += length
    }
    return pieces
  }

  it('is the same however it is cut, and the same as a whole one', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(piece, { maxLength: 30 }),
        cuts,
        fc.integer({ min: 1, max: 20 }),
        async (pieces, lengths, step) => {
          const text = pieces.join('')
          const guards = [only({ output: stars({ step }) })]
          const arrive = (each: string): Part<'generate'> => ({ type: 'text', text: each })
          const { parts } = await partsOf(guarded(scripted(cut(text, lengths).map(arrive)).model, { guards }))
          const { output } = await guarded(scripted([], { text }).model, { guards }).run(hello, recordedCall().call)
          expect(joined(parts, 'text')).toBe(output.text)
          expect(output.text).not.toMatch(/(?<!a)secret|\d/)
          expect(parts.at(-1)).toEqual(end)
          // No half of a character goes out, unless the model itself cut it so.
          for (const part of parts)
            if (part.type === 'text' && !loneHalf.test(text)) expect(part.text).not.toMatch(loneHalf)
        },
      ),
      { numRuns: 500 },
    )
  })

  it('is checked before it is let out, and as far as it is known', async () => {
    const seen: string[] = []
    const guard = only({
      output: {
        window: 4,
        check: (text, { before, final }) => {
          seen.push(`${before}|${text}|${final}`)
          return 'pass' as const
        },
      },
    })
    const { model } = scripted(['ab', 'cdef', 'gh', ''].map((text) => ({ type: 'text', text })))
    const { parts } = await partsOf(guarded(model, { guards: [guard] }))
    expect(seen).toEqual(['|abcdef|false', 'ab|cdefgh|false', 'abcd|efgh|true'])
    expect(parts).toEqual([
      { type: 'text', text: 'ab' },
      { type: 'text', text: 'cd' },
      { type: 'text', text: 'efgh' },
      end,
    ])
  })

  it('is checked wherever it says something, each by itself, in its order', async () => {
    const { model } = scripted([
      { type: 'reasoning', text: 'a sec' },
      { type: 'reasoning', text: 'ret', signature: 's' },
      { type: 'text', text: 'my sec' },
      { type: 'text', text: 'ret 1' },
      { type: 'tool-call', index: 0, id: 'x', name: 'secret', arguments: '' },
      { type: 'tool-call', index: 0, arguments: '{"a":"sec' },
      { type: 'tool-call', index: 1, id: 'y', name: 'g', arguments: '{"b":' },
      { type: 'tool-call', index: 0, arguments: 'ret"}' },
      { type: 'tool-call', index: 1, arguments: '1}' },
    ])
    const { parts } = await partsOf(guarded(model, { guards: [only({ output: stars() })] }))
    expect([joined(parts, 'reasoning'), joined(parts, 'text')]).toEqual(['a *', 'my * *'])
    expect([argumentsOf(parts, 0), argumentsOf(parts, 1)]).toEqual(['{"a":"*"}', '{"b":*}'])
    expect(parts.filter((part) => 'id' in part)).toMatchObject([
      { id: 'x', name: '*' },
      { id: 'y', name: 'g' },
    ])
    const order = [...new Set(parts.map(({ type }) => type))]
    expect(order).toEqual(['reasoning', 'text', 'tool-call', 'end'])
    expect(parts.filter((part) => 'signature' in part)).toEqual([{ type: 'reasoning', text: '', signature: 's' }])
  })

  it('is escaped where it is put into JSON', async () => {
    const quoting = only({
      output: {
        window: 6,
        check: (text) => ({
          change: [...text.matchAll(/secret/g)].map(({ index }) => ({ start: index, end: index + 6, text: '"\n' })),
        }),
      },
    })
    const json = '{"a":"secret"}'
    const { model } = scripted([{ type: 'tool-call', index: 0, id: 'x', name: 'f', arguments: json }], {
      toolCalls: [{ id: 'x', name: 'f', arguments: json }],
    })
    const { parts } = await partsOf(guarded(model, { guards: [quoting] }))
    const { output } = await guarded(model, { guards: [quoting] }).run(hello, recordedCall().call)
    expect(JSON.parse(argumentsOf(parts, 0))).toEqual({ a: '"\n' })
    expect(output.toolCalls[0]?.arguments).toBe(argumentsOf(parts, 0))
  })

  it('ends in an error when it is refused after its first output, with nothing of what was refused', async () => {
    const refusing = only({
      output: { window: 6, check: (text) => (text.includes('secret') ? { refuse: 'no secrets' } : 'pass') },
    })
    const { model } = scripted(
      ['It is well known', ' that sec', 'ret', ' and more'].map((text) => ({ type: 'text', text })),
    )
    const { call, told } = recordedCall()
    const { parts, error } = await partsOf(guarded(model, { guards: [refusing] }), call)
    expect(error).toMatchObject({
      code: 'guard_refused',
      status: 400,
      message: 'The guard g refuses the answer: no secrets',
    })
    expect('It is well known that sec'.startsWith(joined(parts, 'text'))).toBe(true)
    expect(joined(parts, 'text')).not.toContain('sec')
    expect(parts.some(({ type }) => type === 'end')).toBe(false)
    // Whoever reads the stream tells what it used.
    expect(told.spent).toEqual([])
  })

  it('is never let out as bytes that nobody has read', async () => {
    const { model } = scripted([{ type: 'native', dialect: 'openai-chat', bytes: Buffer.from('secret') }], {
      native: { dialect: 'openai-chat', bytes: Buffer.from('secret') },
    })
    const { parts, error } = await partsOf(guarded(model, { guards: [only({ output: stars() })] }))
    expect([parts, error]).toMatchObject([[], { code: 'internal' }])
    const { output } = await guarded(model, { guards: [only({ output: stars() })] }).run(hello, recordedCall().call)
    expect(output.native).toBeUndefined()
  })
})
