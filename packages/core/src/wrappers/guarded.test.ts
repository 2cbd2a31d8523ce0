import { describe, expect, it } from 'vitest'
import { fakeModel, hello, recordedCall, textOf } from '../../test/fake-model.js'
import { only, scripted, stars } from '../../test/scripted-model.js'
import type { Call } from '../inference/model.js'
import type { GenerateInput } from '../inference/task.js'
import type { Guard } from './guard.js'
import { guarded, textsOf } from './guarded.js'
import { redactPii } from './redact-pii.js'
import { withRetry } from './retry.js'
import { routed } from './routed.js'

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

it.each<[unknown]>([
  [{ guards: [] }],
  [{ guards: [{ name: 'g' }] }],
  [{ guards: [{ name: 'a b', input: () => 'pass' }] }],
  [{ guards: [{ name: 'g', output: { window: 0, check: () => 'pass' } }] }],
  [{ guards: [{ name: 'g', input: () => 'pass', onError: 'ignore' }] }],
])('refuses %j', (options) => {
  expect(() => guarded(fakeModel('m').model, options as never)).toThrow(/guarded/)
})
