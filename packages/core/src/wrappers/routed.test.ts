import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fakeModel, hello, recordedCall, sick, textOf, throttled, wrong } from '../../test/fake-model.js'
import { TollgateError } from '../errors.js'
import type { Principal } from '../principal.js'
import { type RouteOptions, routed } from './routed.js'

const principal = (subject: string): Principal => ({ tenant: 'acme', subject, method: 'jwt', scopes: [] })

function route(
  outcomes: Record<string, Parameters<typeof fakeModel>[1]>,
  more: Partial<RouteOptions<'generate'>> = {},
) {
  const fakes = Object.entries(outcomes).map(([id, list]) => fakeModel(id, list))
  const model = routed({ targets: fakes.map(({ model: target }) => ({ model: target })), ...more })
  return { model, runs: () => fakes.map(({ state }) => state.runs), fakes }
}

describe.each(['run', 'stream'] as const)('routed, %s', (how) => {
  it('turns to the next where one fails, unseen, and pays for what was used', async () => {
    const { model, runs } = route({ a: [sick()], b: [throttled(60_000)], c: ['ok'] })
    const { call, told } = recordedCall()
    expect(await textOf(model, call, how)).toBe('c')
    expect(runs()).toEqual([1, 1, 1])
    expect(told.dispatched).toEqual(['a', 'b', 'c'])
    expect(told.failed).toEqual(['a upstream_failed', 'b rate_limited'])
    expect(told.spent).toHaveLength(how === 'stream' ? 2 : 0)
  })

  it.each([
    ['context_length_exceeded', true],
    ['upstream_credentials', true],
    ['upstream_timeout', true],
    ['content_policy_violation', false],
    ['invalid_request', false],
    ['internal', false],
  ] as const)('of %s: turns %s', async (code, turns) => {
    const { model } = route({ a: [new TollgateError(code, 'x')], b: ['ok'] })
    const answer = textOf(model, recordedCall().call, how)
    if (turns) expect(await answer).toBe('b')
    else await expect(answer).rejects.toMatchObject({ code })
  })

  it('turns on content only if it is asked to', async () => {
    const { model } = route(
      { a: [new TollgateError('content_policy_violation', 'x')], b: ['ok'] },
      { fallbackOn: ['content'] },
    )
    expect(await textOf(model, recordedCall().call, how)).toBe('b')
    const { model: other } = route({ a: [sick()], b: ['ok'] }, { fallbackOn: ['content'] })
    await expect(textOf(other, recordedCall().call, how)).rejects.toMatchObject({ code: 'upstream_failed' })
  })

  it('turns to one that the caller may use, and throws the refusal if there is none', async () => {
    const { model, runs } = route({ a: ['ok'], b: ['ok'] })
    const refusing = (...refused: string[]) =>
      recordedCall({
        dispatching: ({ model: name }) => {
          if (refused.includes(name)) throw new TollgateError('model_not_allowed', `not ${name}`)
        },
      }).call
    expect(await textOf(model, refusing('a'), how)).toBe('b')
    await expect(textOf(model, refusing('a', 'b'), how)).rejects.toMatchObject({ message: 'not b' })
    expect(runs()).toEqual([0, 1])
  })

  it('keeps to the attempts of the whole call', async () => {
    const { model, runs } = route({ a: [sick()], b: [sick()], c: ['ok'] }, { maxAttempts: 2 })
    await expect(textOf(model, recordedCall().call, how)).rejects.toMatchObject({ code: 'upstream_failed' })
    expect(runs()).toEqual([1, 1, 0])
  })

  it('asks `when` of each call', async () => {
    const { model: big } = fakeModel('big')
    const { model: small } = fakeModel('small')
    const byUser = routed({
      targets: [
        { model: small, when: (_input, { principal: who }) => who?.subject === 'bob' },
        { model: big, weight: 2 },
      ],
    })
    const as = (subject: string) => recordedCall({ principal: principal(subject) }).call
    expect(await textOf(byUser, as('bob'), how)).toBe('small')
    expect(await textOf(byUser, as('ada'), how)).toBe('big')
    const none = routed({ targets: [{ model: small, when: () => false }] })
    await expect(textOf(none, as('ada'), how)).rejects.toMatchObject({
      code: 'invalid_request',
      errors: [{ path: 'model' }],
    })
  })

  it('may stand within another', async () => {
    const inner = route({ a: [sick()], b: [sick()] })
    const { model: last } = fakeModel('c')
    const outer = routed({ targets: [{ model: inner.model }, { model: last }] })
    const { call, told } = recordedCall()
    expect(await textOf(outer, call, how)).toBe('c')
    expect(told.dispatched).toEqual(['a', 'b', 'c'])
  })

  it('lets go of its places when a caller leaves', async () => {
    const { model, fakes } = route({ a: ['hang'] })
    const controller = new AbortController()
    const answer = textOf(model, recordedCall({ signal: controller.signal }).call, how)
    await expect.poll(() => fakes[0]?.state.running).toBe(1)
    controller.abort()
    await expect(answer).rejects.toMatchObject({ code: 'client_closed' })
    await expect.poll(() => fakes[0]?.state.running).toBe(0)
  })
})

it('never answers a stream twice', async () => {
  const { model, runs } = route({ a: [{ after: sick() }], b: ['ok'] })
  await expect(textOf(model, recordedCall().call, 'stream')).rejects.toMatchObject({ code: 'upstream_failed' })
  expect(runs()).toEqual([1, 0])
})

describe('strategies', () => {
  const counts = async (model: Parameters<typeof textOf>[0], times: number, call = recordedCall().call) => {
    const seen: Record<string, number> = {}
    for (let count = 0; count < times; count += 1) {
      const text = await textOf(model, call, 'run')
      seen[text] = (seen[text] ?? 0) + 1
    }
    return seen
  }
  const weighted = (weights: Record<string, number>, more: Partial<RouteOptions<'generate'>> = {}) =>
    routed({
      targets: Object.entries(weights).map(([id, weight]) => ({ model: fakeModel(id).model, weight })),
      strategy: 'weighted',
      ...more,
    })

  /** The same numbers each time. */
  const lots = () => {
    let seed = 1
    return () => {
      seed = (seed * 48_271) % 2_147_483_647
      return seed / 2_147_483_647
    }
  }

  it('weighted: each gets its share, 0 none', async () => {
    const random = lots()
    const seen = await counts(weighted({ a: 8, b: 2, spare: 0 }, { random }), 2_000)
    expect(seen['a']).toBeGreaterThan(1_500)
    expect(seen['a']).toBeLessThan(1_700)
    expect(seen['spare']).toBeUndefined()
  })

  it('affinity: the same for the same principal, in shares, and few move when a target is added', async () => {
    const chosen = async (weights: Record<string, number>) => {
      const model = weighted(weights, { affinity: 'principal' })
      const all: string[] = []
      for (let user = 0; user < 400; user += 1) {
        all.push(await textOf(model, recordedCall({ principal: principal(`u${user}`) }).call, 'run'))
      }
      return all
    }
    const [once, again] = [await chosen({ a: 3, b: 1 }), await chosen({ a: 3, b: 1 })]
    expect(again).toEqual(once)
    const share = once.filter((id) => id === 'a').length / 400
    expect(share).toBeGreaterThan(0.68)
    expect(share).toBeLessThan(0.82)
    const grown = await chosen({ a: 3, b: 1, c: 1 })
    // Who moves, moves to the new one.
    expect(grown.every((id, index) => id === once[index] || id === 'c')).toBe(true)
  })

  it('affinity of a prompt: by its beginning and the tenant, not by what comes after', async () => {
    const model = weighted({ a: 1, b: 1, c: 1 }, { affinity: 'prompt' })
    const system = 'You are helpful. '.repeat(400)
    const first = async (user: string, tenant: string) =>
      (
        await model.run(
          {
            messages: [
              { role: 'system', content: system },
              { role: 'user', content: user },
            ],
          },
          recordedCall({ principal: { ...principal('x'), tenant } }).call,
        )
      ).output.text
    const answers = await Promise.all(['one', 'two', 'three'].map((user) => first(user, 'acme')))
    expect(new Set(answers).size).toBe(1)
    const tenants = await Promise.all(Array.from({ length: 30 }, (_, index) => first('one', `t${index}`)))
    expect(new Set(tenants).size).toBeGreaterThan(1)
  })

  it('cheapest: by what a call would cost, unknown prices last', async () => {
    const prices: Record<string, number | undefined> = { dear: 5, cheap: 1, unknown: undefined }
    const model = weighted(
      { unknown: 1, dear: 1, cheap: 1 },
      { strategy: 'cheapest', cost: ({ model: id }) => prices[id] },
    )
    expect(await textOf(model, recordedCall().call, 'run')).toBe('cheap')
    expect(() => weighted({ a: 1 }, { strategy: 'cheapest' })).toThrow(/needs cost/)
  })

  it('latency: leaves a slow one and a failing one alone', async () => {
    let time = 0
    const timed = (id: string, ms: number, fails = false) => {
      const { model } = fakeModel(id)
      return {
        ...model,
        run: async (...args: Parameters<typeof model.run>) => {
          time += ms
          if (fails) throw sick()
          return model.run(...args)
        },
      }
    }
    const model = routed({
      targets: [{ model: timed('slow', 900) }, { model: timed('fast', 30) }, { model: timed('ill', 1, true) }],
      strategy: 'latency',
      random: lots(),
      now: () => time,
    })
    await counts(model, 10)
    const seen = await counts(model, 300)
    // Of two that are drawn the faster one: it is among them two times of three.
    expect(seen['fast']).toBeGreaterThan(180)
    expect((seen['fast'] ?? 0) + (seen['slow'] ?? 0)).toBe(300)
  })

  it('least-busy: spreads what runs at once', async () => {
    const fakes = ['a', 'b', 'c'].map((id) => fakeModel(id))
    const model = routed({ targets: fakes.map(({ model: target }) => ({ model: target })), strategy: 'least-busy' })
    await Promise.all(Array.from({ length: 30 }, () => model.run(hello, recordedCall().call)))
    expect(fakes.map(({ state }) => state.most)).toEqual([10, 10, 10])
  })

  it('is answered by some target whenever one is well, whatever fails', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('ok' as const, 'sick' as const, 'slow' as const), { minLength: 1, maxLength: 6 }),
        fc.constantFrom('ordered' as const, 'weighted' as const, 'latency' as const, 'least-busy' as const),
        fc.constantFrom('run' as const, 'stream' as const),
        async (states, strategy, how) => {
          const outcomes = states.map((state, index): [string, Parameters<typeof fakeModel>[1]] => [
            `${state}${index}`,
            [state === 'ok' ? 'ok' : state === 'sick' ? sick() : throttled()],
          ])
          const { model } = route(Object.fromEntries(outcomes), { strategy })
          const answer = textOf(model, recordedCall().call, how)
          if (states.includes('ok')) expect(await answer).toMatch(/^ok/)
          else await expect(answer).rejects.toBeInstanceOf(TollgateError)
        },
      ),
      { numRuns: 100 },
    )
  })
})

it.each([
  [{ targets: [] }, /targets/],
  [{ targets: [{ model: {} }] }, /model/],
  [{ targets: [{ model: fakeModel('a').model, weight: -1 }] }, /weight/],
  [{ targets: [{ model: fakeModel('a').model }], strategy: 'best' }, /strategy/],
])('refuses %j', (options, message) => {
  expect(() => routed(options as never)).toThrow(message)
})

it('says at once that a request is wrong', async () => {
  const { model, runs } = route({ a: [wrong()], b: ['ok'] })
  await expect(textOf(model, recordedCall().call, 'run')).rejects.toMatchObject({ code: 'invalid_request' })
  expect(runs()).toEqual([1, 0])
})

it('asks one that failed again after a while, by latency', async () => {
  const clock = { time: 0 }
  const [{ model: a, state }, { model: b }] = [
    fakeModel('a', [sick(), 'ok']),
    fakeModel('b', [
      () => {
        clock.time += 50
        return 'ok'
      },
    ]),
  ]
  const route = routed({
    targets: [{ model: a }, { model: b }],
    strategy: 'latency',
    random: () => 0.5,
    now: () => clock.time,
  })
  const ask = () => textOf(route, recordedCall().call, 'run')
  for (let count = 0; count < 10 && state.runs === 0; count += 1) await ask()
  expect(state.runs).toBe(1)
  for (let count = 0; count < 20; count += 1) expect(await ask()).toBe('b')
  clock.time += 600_000
  const answers = new Set<string>()
  for (let count = 0; count < 20; count += 1) answers.add(await ask())
  expect(answers).toContain('a')
})
