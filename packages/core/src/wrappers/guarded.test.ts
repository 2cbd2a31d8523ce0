import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fakeModel, hello, recordedCall, textOf } from '../../test/fake-model.js'
import type { Call, Model } from '../inference/model.js'
import type { GenerateInput, GenerateOutput, Part } from '../inference/task.js'
import type { Usage } from '../usage.js'
import type { Edit, Guard, OutputGuard } from './guard.js'
import { guarded, textsOf } from './guarded.js'
import { redactPii } from './redact-pii.js'
import { withRetry } from './retry.js'
import { routed } from './routed.js'

/** Of a character. */
const loneHalf = /\p{Cs}/u

const usage: Usage = { inputTokens: 3, outputTokens: 2, estimated: false }
const end = { type: 'end', finishReason: 'stop', usage } as const

/** A model that answers with these parts, and writes down what it was asked. */
function scripted(parts: ReadonlyArray<Part<'generate'>>, output: Partial<GenerateOutput> = {}) {
  const asked: GenerateInput[] = []
  const model: Model<'generate'> = {
    task: 'generate',
    provider: 'fake',
    id: 'm',
    async run(input) {
      asked.push(input)
      return { output: { text: '', toolCalls: [], finishReason: 'stop', ...output }, usage }
    },
    stream(input) {
      asked.push(input)
      return {
        usageSoFar: () => usage,
        async *[Symbol.asyncIterator]() {
          yield* [...parts, end]
        },
      }
    },
    countTokens: async (input) => {
      asked.push(input)
      return 7
    },
  }
  return { model, asked }
}

async function partsOf(model: Model<'generate'>, call: Call = recordedCall().call, input = hello) {
  const parts: Array<Part<'generate'>> = []
  let error: unknown
  try {
    for await (const part of model.stream?.(input, call) ?? []) parts.push(part)
  } catch (each) {
    error = each
  }
  return { parts, error }
}

const joined = (parts: ReadonlyArray<Part<'generate'>>, type: 'text' | 'reasoning') =>
  parts.map((part) => (part.type === type ? part.text : '')).join('')
const argumentsOf = (parts: ReadonlyArray<Part<'generate'>>, index: number) =>
  parts.map((part) => (part.type === 'tool-call' && part.index === index ? part.arguments : '')).join('')

/** Puts stars in the place of `secret`, and of numbers of up to six digits. */
const stars = (more: Partial<OutputGuard> = {}): OutputGuard => ({
  window: 8,
  check(text, { before }) {
    const edits: Edit[] = []
    for (const { index, 0: match } of text.matchAll(/secret|\d{1,6}/g)) {
      // `asecret` is another word.
      if (index === 0 && before.endsWith('a') && match === 'secret') continue
      if (text[index - 1] === 'a' && match === 'secret') continue
      edits.push({ start: index, end: index + match.length, text: '*' })
    }
    return { change: edits }
  },
  ...more,
})

const only = (guard: Partial<Guard>): Guard => ({ name: 'g', ...guard })

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

describe.each(['run', 'stream'] as const)('guarded, %s', (how) => {
  const flagged = () => {
    const flags: string[] = []
    return {
      flags,
      told: (guard: string, labels: readonly string[]) =>
        void flags.push(...labels.map((label) => `${guard}:${label}`)),
    }
  }

  it('asks the guards in their order, and for the answer in the other', async () => {
    const order: string[] = []
    const guard = (name: string): Guard => ({
      name,
      input: async () => {
        order.push(`in ${name}`)
        return 'pass' as const
      },
      output: {
        window: 10,
        check: async (text, { final }) => {
          order.push(`out ${name}`)
          return final ? { change: [{ start: text.length, end: text.length, text: name }] } : 'pass'
        },
      },
    })
    const { model } = fakeModel('m')
    expect(await textOf(guarded(model, { guards: [guard('a'), guard('b')] }), recordedCall().call, how)).toBe('mba')
    expect(order).toEqual(['in a', 'in b', 'out b', 'out a'])
  })

  it('sends nothing that is refused, and is neither tried again nor answered by another unless a route says so', async () => {
    const refusing = only({ input: () => ({ refuse: 'not that', flag: ['bad'] }) })
    const { model, state } = fakeModel('m')
    const { call, told } = recordedCall()
    const { flags, told: flag } = flagged()
    const guardedModel = guarded(model, { guards: [refusing] })
    await expect(textOf(guardedModel, { ...call, flagged: flag }, how)).rejects.toMatchObject({
      code: 'guard_refused',
      status: 400,
      retryable: false,
      message: 'The guard g refuses the request: not that',
    })
    expect([state.runs, told.dispatched, flags]).toEqual([0, [], ['g:bad', 'g:refused']])
    const other = fakeModel('other')
    const route = (more: object = {}) =>
      routed({ targets: [{ model: withRetry(guardedModel) }, { model: other.model }], ...more })
    await expect(textOf(route(), recordedCall().call, how)).rejects.toMatchObject({ code: 'guard_refused' })
    expect(other.state.runs).toBe(0)
    expect(await textOf(route({ fallbackOn: ['guard'] }), recordedCall().call, how)).toBe('other')
  })

  it('labels', async () => {
    const { flags, told: flag } = flagged()
    const labelling = only({
      input: () => ({ flag: ['asks'] }),
      output: { window: 1, check: () => ({ flag: ['says'] }) },
    })
    expect(
      await textOf(guarded(fakeModel('m').model, { guards: [labelling] }), recordedCall({ flagged: flag }).call, how),
    ).toBe('m')
    expect(flags).toEqual(['g:asks', 'g:says'])
  })

  it.each<[string, Partial<Guard>]>([
    ['throws', { input: () => Promise.reject(new Error('secret')) }],
    ['is late', { input: () => new Promise(() => {}), timeoutMs: 5 }],
    ['says nothing', { input: () => undefined as never }],
    ['says what is no verdict', { input: () => ({ say: 1 }) as never }],
    [
      'throws on the answer',
      {
        output: {
          window: 1,
          check: () => {
            throw new Error('x')
          },
        },
      },
    ],
    ['is late with the answer', { output: { window: 1, check: () => new Promise(() => {}) }, timeoutMs: 5 }],
    [
      'changes what is not there',
      { output: { window: 1, check: () => ({ change: [{ start: 0, end: 99, text: '' }] }) } },
    ],
    [
      'changes the same twice',
      {
        output: {
          window: 1,
          check: () => ({
            change: [
              { start: 0, end: 1, text: '' },
              { start: 0, end: 1, text: '' },
            ],
          }),
        },
      },
    ],
  ])('lets nothing through when a guard %s, unless it shall', async (_what, hooks) => {
    const { model } = fakeModel('m')
    const error = await textOf(guarded(model, { guards: [only(hooks)] }), recordedCall().call, how).catch(
      (each: unknown) => each,
    )
    expect(error).toMatchObject({ code: 'guard_failed', status: 503 })
    expect((error as Error).message).not.toContain('secret')
    const { flags, told: flag } = flagged()
    const passing = guarded(model, { guards: [only({ ...hooks, onError: 'pass' })] })
    expect(await textOf(passing, recordedCall({ flagged: flag }).call, how)).toBe('m')
    expect(flags).toEqual(['g:failed'])
  })

  it('tells of a caller who has left, not of a guard that was late', async () => {
    const controller = new AbortController()
    const guard = only({
      input: async () => {
        controller.abort()
        return 'pass' as const
      },
    })
    const { model, state } = fakeModel('m')
    const { call } = recordedCall({ signal: controller.signal })
    await expect(textOf(guarded(model, { guards: [guard] }), call, how)).rejects.toMatchObject({
      code: 'client_closed',
    })
    expect(state.runs).toBe(0)
  })

  it('takes what a guard remembers by the call, each call by itself', async () => {
    const seen = new WeakMap<Call, number>()
    let count = 0
    const guard = only({
      input: (_input, call) => {
        count += 1
        seen.set(call, count)
        return 'pass' as const
      },
      output: (call) => ({
        window: 9,
        check: (text) => ({ change: [{ start: 0, end: text.length, text: String(seen.get(call)) }] }),
      }),
    })
    const model = guarded(fakeModel('m').model, { guards: [guard] })
    const { call } = recordedCall()
    expect(await Promise.all([1, 2, 3].map(() => textOf(model, call, how)))).toEqual(['1', '2', '3'])
  })
})

it('pays for an answer that is refused', async () => {
  const { model } = fakeModel('m')
  const { call, told } = recordedCall()
  const refusing = only({ output: { window: 1, check: () => ({ refuse: 'no' }) } })
  await expect(guarded(model, { guards: [refusing] }).run(hello, call)).rejects.toMatchObject({ code: 'guard_refused' })
  expect(told.spent).toEqual([{ inputTokens: 3, outputTokens: 2, estimated: false }])
})

describe('a request', () => {
  const body = { model: 'x', messages: [{ role: 'user', content: 'my secret' }], odd: { deep: ['secret'] } }
  const native: GenerateInput = {
    get messages() {
      return [{ role: 'user' as const, content: 'my secret' }]
    },
    temperature: 0.5,
    native: { dialect: 'openai-chat', body },
  }

  it('is changed in its own words too', async () => {
    const { model, asked } = scripted([])
    const guard = only({ input: () => ({ change: (text: string) => text.replaceAll('secret', '*') }) })
    await guarded(model, { guards: [guard] }).run(native, recordedCall().call)
    await guarded(model, { guards: [guard] }).countTokens?.(native, recordedCall().call)
    for (const input of asked) {
      expect(input.native?.body).toEqual({
        model: 'x',
        messages: [{ role: 'user', content: 'my *' }],
        odd: { deep: ['*'] },
      })
      expect(input.native?.answer).toBeUndefined()
      expect([input.messages, input.temperature]).toEqual([[{ role: 'user', content: 'my *' }], 0.5])
    }
    expect(asked).toHaveLength(2)
    // It was the caller's.
    expect(body.odd.deep).toEqual(['secret'])
  })

  it('loses its own words when fields are put in the place of others', async () => {
    const { model, asked } = scripted([])
    const guard = only({
      input: (input) => ({ change: { messages: [{ role: 'system', content: 'Be kind.' }, ...input.messages] } }),
    })
    await guarded(model, { guards: [guard] }).run(native, recordedCall().call)
    expect(asked[0]).toMatchObject({ messages: [{ role: 'system' }, { role: 'user' }], temperature: 0.5 })
    expect(asked[0]?.native).toBeUndefined()
  })

  it('asks for an answer in our words only where somebody reads it', async () => {
    const { model, asked } = scripted([])
    await guarded(model, { guards: [only({ output: stars() })] }).run(native, recordedCall().call)
    await guarded(model, { guards: [only({ output: () => undefined })] }).run(native, recordedCall().call)
    await guarded(model, { guards: [redactPii({ restore: true })] }).run(native, recordedCall().call)
    expect(asked.map((input) => input.native?.answer)).toEqual(['typed', undefined, undefined])
    expect(asked[0]?.native?.body).toBe(body)
  })

  it('is read whole', () => {
    expect(textsOf(native)).toEqual(['my secret', 'secret'])
  })
})

describe('redactPii', () => {
  it('puts back what it took, in all that a model writes', async () => {
    const json = '{"to":"[EMAIL_1]","note":"[EMAIL_2] \\"x\\""}'
    const { model, asked } = scripted([
      { type: 'reasoning', text: 'For [EMA' },
      { type: 'reasoning', text: 'IL_1].', signature: 's' },
      ...[...'Sent to [EMAIL_1], not [EMAIL_9].'].map((text): Part<'generate'> => ({ type: 'text', text })),
      { type: 'tool-call', index: 0, id: 'x', name: 'mail', arguments: '' },
      ...[...json].map((each): Part<'generate'> => ({ type: 'tool-call', index: 0, arguments: each })),
    ])
    const input: GenerateInput = { messages: [{ role: 'user', content: 'a@example.com and "q"b@example.com' }] }
    const { parts } = await partsOf(
      guarded(model, { guards: [redactPii({ restore: true })] }),
      recordedCall().call,
      input,
    )
    expect(JSON.stringify(asked[0]?.messages)).not.toContain('example.com')
    expect(joined(parts, 'reasoning')).toBe('For a@example.com.')
    expect(joined(parts, 'text')).toBe('Sent to a@example.com, not [EMAIL_9].')
    expect(JSON.parse(argumentsOf(parts, 0))).toEqual({ to: 'a@example.com', note: 'b@example.com "x"' })
  })

  it('stays with itself when two stand in a row', async () => {
    const { model, asked } = scripted([], { text: '[WORD_1] [LITERAL_1]' })
    const guards = [
      redactPii({ restore: true }),
      redactPii({ name: 'other', restore: true, patterns: { word: /hush/ } }),
    ]
    const input: GenerateInput = { messages: [{ role: 'user', content: 'a@example.com hush' }] }
    const { output } = await guarded(model, { guards }).run(input, recordedCall().call)
    expect(asked[0]?.messages[0]?.content).toBe('[LITERAL_1] [WORD_1]')
    expect(output.text).toBe('hush a@example.com')
  })

  it.each([[{ kinds: ['mail'] }], [{ patterns: { 'a b': /x/ } }], [{ patterns: { a: 'x' } }], [{ restored: true }]])(
    'refuses %j',
    (options) => expect(() => redactPii(options as never)).toThrow(/redactPii/),
  )
})

it.each<[unknown]>([
  [{ guards: [] }],
  [{ guards: [{ name: 'g' }] }],
  [{ guards: [{ name: 'a b', input: () => 'pass' }] }],
  [{ guards: [{ name: 'g', output: { window: 0, check: () => 'pass' } }] }],
  [{ guards: [{ name: 'g', input: () => 'pass', onError: 'ignore' }] }],
])('refuses %j', (options) => {
  expect(() => guarded(fakeModel('m').model, options as never)).toThrow(/guarded/)
})
