import { describe, expect, it } from 'vitest'
import { fakeModel, hello, recordedCall, sick, textOf, throttled } from '../../test/fake-model.js'
import { TollgateError } from '../errors.js'
import { inferenceService } from '../inference/service.js'
import { namedModels } from '../providers/named-models.js'
import { type HedgeOptions, hedged } from './hedged.js'
import { learnedDelay } from './learned-delay.js'
import { withRetry } from './retry.js'
import { routed } from './routed.js'
import { withTimeouts } from './timeouts.js'

const prompt = { inputTokens: 3, outputTokens: 0, estimated: true }
/** Longer than a test. */
const never = 3_600_000

type Outcomes = Parameters<typeof fakeModel>[1]

function pair(first: Outcomes, second: Outcomes, more: Partial<HedgeOptions<'generate'>> = {}) {
  const [a, b] = [fakeModel('a', first), fakeModel('b', second)]
  const model = hedged(a.model, { afterMs: 5, target: b.model, ...more })
  return { a, b, model, runs: () => [a.state.runs, b.state.runs], running: () => a.state.running + b.state.running }
}

describe.each(['run', 'stream'] as const)('hedged, %s', (how) => {
  it('asks another while the first is silent, takes its answer, and stops and pays the first', async () => {
    const { model, runs, running } = pair(['hang'], ['ok'])
    const { call, told } = recordedCall()
    expect(await textOf(model, call, how)).toBe('b')
    expect(runs()).toEqual([1, 1])
    expect(running()).toBe(0)
    expect(told).toEqual({ dispatched: ['a', 'b'], failed: [], spent: [prompt], outrun: ['a'], beside: [true] })
  })

  it('takes the first where that is sooner after all', async () => {
    let answer = () => {}
    const { model, b, running } = pair(['hang'], ['hang'])
    const slow = {
      ...fakeModel('slow').model,
      run: (...given: Parameters<typeof model.run>) =>
        new Promise<void>((resolve) => {
          answer = resolve
        }).then(() => fakeModel('slow').model.run(...given)),
      stream: undefined,
    }
    const { stream: _, ...whole } = slow
    const { call, told } = recordedCall()
    const text = textOf(hedged(whole, { afterMs: 5, target: b.model }), call, how)
    await expect.poll(() => b.state.running).toBe(1)
    answer()
    expect(await text).toBe('slow')
    expect(running()).toBe(0)
    expect(told).toMatchObject({ spent: [prompt], outrun: ['b'], beside: [false] })
  })

  it('asks nobody else in time, or after a failure', async () => {
    const quick = pair(['ok'], ['ok'], { afterMs: never })
    expect(await textOf(quick.model, recordedCall().call, how)).toBe('a')
    const failing = pair([sick()], ['ok'], { afterMs: never })
    await expect(textOf(failing.model, recordedCall().call, how)).rejects.toMatchObject({ code: 'upstream_failed' })
    expect([...quick.runs(), ...failing.runs()]).toEqual([1, 0, 1, 0])
  })

  it('goes on with the other where one fails, and throws what the first threw where all do', async () => {
    const late = () => new TollgateError('upstream_timeout', 'late')
    const first = pair(['hang', 'ok'], [sick()])
    const leaving = new AbortController()
    const one = recordedCall({ signal: leaving.signal })
    const going = textOf(first.model, one.call, how)
    await expect.poll(() => one.told.failed).toEqual(['b upstream_failed'])
    expect(first.a.state.running).toBe(1)
    leaving.abort()
    await expect(going).rejects.toMatchObject({ code: 'client_closed' })
    // The first fails while the second is under way.
    const timed = withTimeouts(fakeModel('a', ['hang']).model, { totalMs: 40 })
    const two = recordedCall()
    const slow = withRetry(fakeModel('b', [throttled(), 'ok']).model, { baseMs: 150, random: () => 1 })
    expect(await textOf(hedged(timed, { afterMs: 5, target: slow }), two.call, how)).toBe('b')
    expect(two.told.failed).toEqual(['b rate_limited', 'a upstream_timeout'])
    const none = hedged(withTimeouts(fakeModel('a', ['hang']).model, { totalMs: 40 }), {
      afterMs: 5,
      target: fakeModel('b', [throttled(1)]).model,
    })
    const three = recordedCall()
    await expect(textOf(none, three.call, how)).rejects.toMatchObject({ code: late().code })
    expect(three.told.failed).toEqual(['b rate_limited'])
  })

  it('stops all when the caller leaves, and pays for each', async () => {
    const { model, b, running } = pair(['hang'], ['hang'])
    const service = inferenceService({ providers: [namedModels({ models: { hedge: model } })] })
    const controller = new AbortController()
    const { call, told } = recordedCall({ signal: controller.signal })
    const parts = service.stream('generate', 'hedge', hello, call)[Symbol.asyncIterator]()
    const answer = how === 'run' ? service.run('generate', 'hedge', hello, call) : parts.next()
    await expect.poll(() => b.state.running).toBe(1)
    controller.abort()
    await expect(answer).rejects.toMatchObject({ code: 'client_closed' })
    expect(told.spent).toEqual([prompt, prompt])
    await expect.poll(running).toBe(0)
  })

  it('keeps to the deadline of the whole call', async () => {
    const { model, running } = pair(['hang'], ['hang'])
    const service = inferenceService({ providers: [namedModels({ models: { hedge: model } })], timeoutMs: 200 })
    const { call, told } = recordedCall()
    const parts = service.stream('generate', 'hedge', hello, call)[Symbol.asyncIterator]()
    const answer = how === 'run' ? service.run('generate', 'hedge', hello, call) : parts.next()
    await expect(answer).rejects.toMatchObject({ code: 'timeout' })
    expect(told.spent).toEqual([prompt, prompt])
    await expect.poll(running).toBe(0)
  })

  it('goes on with the first where a policy refuses the other', async () => {
    const refuse = ({ model: name }: { model: string }) => {
      if (name === 'b') throw new TollgateError('budget_exceeded', 'no')
    }
    const timed = withTimeouts(fakeModel('a', ['hang']).model, { totalMs: 40 })
    const { model: b, state } = fakeModel('b')
    const { call, told } = recordedCall({ dispatching: refuse })
    await expect(textOf(hedged(timed, { afterMs: 5, target: b }), call, how)).rejects.toMatchObject({
      code: 'upstream_timeout',
    })
    expect(state.runs).toBe(0)
    expect(told).toMatchObject({
      failed: ['b budget_exceeded'],
      beside: [false],
      spent: [prompt],
    })
  })

  it('sends no more than the attempts of the call, and no more hedges than were saved up', async () => {
    const spent = pair(['hang'], ['ok'], { maxAttempts: 1 })
    const controller = new AbortController()
    const alone = textOf(spent.model, recordedCall({ signal: controller.signal }).call, how)
    await expect.poll(() => spent.a.state.running).toBe(1)
    await new Promise((resolve) => setTimeout(resolve, 30))
    controller.abort()
    await expect(alone).rejects.toMatchObject({ code: 'client_closed' })
    expect(spent.b.state.runs).toBe(0)

    const { model, b } = pair(['hang'], ['ok'], { budgetBurst: 2, budgetRatio: 0.25 })
    let answered = 0
    for (let count = 0; count < 10; count += 1) {
      const signal = AbortSignal.timeout(60)
      await textOf(model, recordedCall({ signal }).call, how).then(
        () => {
          answered += 1
        },
        () => {},
      )
    }
    // Two that were saved, and one for each four calls.
    expect(answered).toBe(4)
    expect(b.state.runs).toBe(4)
  })

  it('asks so many beside it, one after the other', async () => {
    const { model, state } = fakeModel('m', ['hang', 'hang', 'ok'])
    const { call, told } = recordedCall()
    expect(await textOf(hedged(model, { afterMs: 5, maxHedges: 2 }), call, how)).toBe('m')
    expect(state).toMatchObject({ runs: 3, running: 0 })
    expect(told).toMatchObject({ spent: [prompt, prompt], outrun: ['m', 'm'], beside: [false, true] })
  })

  it('stands around routes and within them, each paying once', async () => {
    const hang = fakeModel('hang', ['hang'])
    const inner = hedged(hang.model, { afterMs: 5, target: fakeModel('slow', ['hang']).model })
    const outer = hedged(routed({ targets: [{ model: inner }, { model: fakeModel('x').model }] }), {
      afterMs: 150,
      target: withRetry(fakeModel('b', [sick(), 'ok']).model, { baseMs: 0 }),
    })
    const { call, told } = recordedCall()
    expect(await textOf(routed({ targets: [{ model: outer }] }), call, how)).toBe('b')
    // The two that hung, and in a stream the one that failed.
    expect(told.spent).toHaveLength(how === 'run' ? 2 : 3)
    expect(told.dispatched).toEqual(['hang', 'slow', 'b', 'b'])
    await expect.poll(() => hang.state.running).toBe(0)
  })
})

describe('hedged', () => {
  it('refuses what it cannot be', () => {
    const { model } = fakeModel('m')
    expect(() => hedged(model, {} as HedgeOptions<'generate'>)).toThrow(/afterMs/)
    const other = { ...model, task: 'embed' } as unknown as typeof model
    expect(() => hedged(model, { afterMs: 1, target: other })).toThrow(/same task/)
  })

  it('sends nothing for a caller who has left', async () => {
    const { model, runs } = pair(['ok'], ['ok'])
    const { call } = recordedCall({ signal: AbortSignal.abort() })
    await expect(model.run(hello, call)).rejects.toMatchObject({ code: 'client_closed' })
    expect(runs()).toEqual([0, 0])
  })

  it('learns how long most calls take', () => {
    const delay = learnedDelay(10)
    for (let count = 1; count <= 19; count += 1) delay.learn(1_000)
    expect(delay.ms()).toBe(10)
    for (let count = 1; count <= 100; count += 1) delay.learn(count)
    expect(delay.ms()).toBe(96)
    for (let count = 1; count <= 100; count += 1) delay.learn(1)
    expect(delay.ms()).toBe(10)
  })

  it('waits for as long as it has learned', async () => {
    let time = 0
    // By the clock that it is given.
    const slowly = () => {
      time += 40_000
      return 'ok' as const
    }
    const { model, a, b } = pair([...Array.from({ length: 20 }, () => slowly), 'hang'], ['ok'], {
      after: 'p95',
      now: () => time,
      afterMs: 20,
    })
    for (let count = 0; count < 20; count += 1) await textOf(model, recordedCall().call, 'run')
    const controller = new AbortController()
    const slow = textOf(model, recordedCall({ signal: controller.signal }).call, 'run')
    await expect.poll(() => a.state.running).toBe(1)
    await new Promise((resolve) => setTimeout(resolve, 60))
    expect(b.state.runs).toBe(0)
    controller.abort()
    await expect(slow).rejects.toMatchObject({ code: 'client_closed' })
  })
})
