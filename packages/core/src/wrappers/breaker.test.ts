import { describe, expect, it } from 'vitest'
import { fakeModel, type Outcome, recordedCall, sick, textOf, throttled, wrong } from '../../test/fake-model.js'
import { TollgateError } from '../errors.js'
import type { Result } from '../inference/task.js'
import { withBreaker } from './breaker.js'

function broken(options: Parameters<typeof withBreaker>[1] = {}) {
  const clock = { time: 0 }
  let outcome: Outcome = 'ok'
  const changes: string[] = []
  const { model, state } = fakeModel('m', [() => outcome])
  const guarded = withBreaker(model, {
    minimumCalls: 4,
    now: () => clock.time,
    onChange: (to) => void changes.push(to),
    ...options,
  })
  const set = (next: Outcome) => {
    outcome = next
  }
  return { guarded, state, clock, changes, set }
}

describe.each(['run', 'stream'] as const)('withBreaker, %s', (how) => {
  const tries = async (model: ReturnType<typeof broken>['guarded'], times: number) => {
    const codes: string[] = []
    for (let count = 0; count < times; count += 1) {
      codes.push(
        await textOf(model, recordedCall().call, how).then(
          () => 'ok',
          (error: TollgateError) => `${error.code} ${error.status}`,
        ),
      )
    }
    return codes
  }

  it('opens when too many fail, lets one through after a while, and closes when that one is well', async () => {
    const { guarded, state, clock, changes, set } = broken()
    set(sick())
    expect(await tries(guarded, 6)).toEqual([
      ...Array(4).fill('upstream_failed 502'),
      ...Array(2).fill('upstream_failed 503'),
    ])
    expect(state.runs).toBe(4)
    clock.time = 5_000
    // It is still sick, and left alone twice as long.
    expect(await tries(guarded, 2)).toEqual(['upstream_failed 502', 'upstream_failed 503'])
    clock.time = 10_000
    expect(await tries(guarded, 1)).toEqual(['upstream_failed 503'])
    clock.time = 15_000
    set('ok')
    expect(await tries(guarded, 3)).toEqual(['ok', 'ok', 'ok'])
    expect(changes).toEqual(['open', 'half-open', 'open', 'half-open', 'closed'])
  })

  it('says when to come back', async () => {
    const { guarded, clock, set } = broken()
    set(sick())
    await tries(guarded, 4)
    clock.time = 2_000
    await expect(textOf(guarded, recordedCall().call, how)).rejects.toMatchObject({ status: 503, retryAfterMs: 3_000 })
  })

  it('forgets failures with their window', async () => {
    const { guarded, clock, set } = broken()
    for (let round = 0; round < 5; round += 1) {
      set(sick())
      expect(await tries(guarded, 3)).toEqual(Array(3).fill('upstream_failed 502'))
      clock.time += 31_000
    }
  })

  it("counts neither the caller's faults nor their leaving", async () => {
    const { guarded, set } = broken()
    set(wrong())
    expect(await tries(guarded, 20)).toEqual(Array(20).fill('invalid_request 400'))
    set('hang')
    for (let count = 0; count < 10; count += 1) {
      const controller = new AbortController()
      const left = textOf(guarded, recordedCall({ signal: controller.signal }).call, how)
      controller.abort()
      await expect(left).rejects.toMatchObject({ code: 'client_closed' })
    }
    set('ok')
    expect(await tries(guarded, 1)).toEqual(['ok'])
  })

  it('opens at once for a key that is refused', async () => {
    const { guarded, set } = broken()
    set(new TollgateError('upstream_credentials', 'no'))
    expect(await tries(guarded, 2)).toEqual(['upstream_credentials 502', 'upstream_failed 503'])
  })

  it('leaves an upstream that throttles alone for as long as it asks, within a bound', async () => {
    const { guarded, clock, state, set } = broken()
    set(throttled(4_000))
    expect(await tries(guarded, 3)).toEqual(Array(3).fill('rate_limited 429'))
    expect(state.runs).toBe(1)
    clock.time = 4_000
    set(throttled(3_600_000))
    await tries(guarded, 2)
    clock.time = 14_000
    set('ok')
    expect(await tries(guarded, 1)).toEqual(['ok'])
    // Without a hint nothing is known, and nobody is kept out.
    set(throttled())
    expect(await tries(guarded, 20)).toEqual(Array(20).fill('rate_limited 429'))
    expect(state.runs).toBe(23)
  })

  it('lets one through at a time', async () => {
    const { guarded, clock, state, set } = broken()
    set(sick())
    await tries(guarded, 4)
    clock.time = 5_000
    set('hang')
    const controller = new AbortController()
    const probe = textOf(guarded, recordedCall({ signal: controller.signal }).call, how)
    await expect.poll(() => state.running).toBe(1)
    expect(await tries(guarded, 3)).toEqual(Array(3).fill('upstream_failed 503'))
    controller.abort()
    await expect(probe).rejects.toThrow()
    set('ok')
    expect(await tries(guarded, 1)).toEqual(['ok'])
  })
})

it('counts a stream that breaks after its beginning', async () => {
  const { guarded, set } = broken()
  set({ after: sick() })
  for (let count = 0; count < 4; count += 1) await textOf(guarded, recordedCall().call, 'stream').catch(() => {})
  await expect(textOf(guarded, recordedCall().call, 'stream')).rejects.toMatchObject({ status: 503 })
})

describe('who is heard', () => {
  const opened = async () => {
    const it = broken()
    it.set(sick())
    for (let count = 0; count < 4; count += 1) await textOf(it.guarded, recordedCall().call, 'run').catch(() => {})
    return it
  }
  const ask = (guarded: ReturnType<typeof broken>['guarded']) =>
    textOf(guarded, recordedCall().call, 'run').then(
      () => 'ok',
      ({ status }: TollgateError) => status,
    )
  it('closes with the first output, however long the rest takes', async () => {
    const { guarded, clock, set } = await opened()
    clock.time = 5_000
    set('hang-later')
    const controller = new AbortController()
    const { call } = recordedCall({ signal: controller.signal })
    const parts = guarded.stream?.({ messages: [] }, call)[Symbol.asyncIterator]()
    expect(await parts?.next()).toMatchObject({ value: { type: 'text' } })
    set('ok')
    expect(await ask(guarded)).toBe('ok')
    controller.abort()
    await parts?.return?.()
    expect(await ask(guarded)).toBe('ok')
  })

  it('lets the next one through if the first says nothing', async () => {
    const { guarded, clock, set, state } = await opened()
    clock.time = 5_000
    set('hang')
    const controller = new AbortController()
    const first = textOf(guarded, recordedCall({ signal: controller.signal }).call, 'run')
    await expect.poll(() => state.running).toBe(1)
    set('ok')
    clock.time = 9_999
    expect(await ask(guarded)).toBe(503)
    clock.time = 10_000
    expect(await ask(guarded)).toBe('ok')
    controller.abort()
    await first.catch(() => {})
    expect(await ask(guarded)).toBe('ok')
  })

  it('does not hear those of before', async () => {
    const clock = { time: 0 }
    const runs: Array<{ resolve(result: Result<'generate'>): void; reject(error: unknown): void }> = []
    const { model } = fakeModel('m')
    const guarded = withBreaker(
      {
        ...model,
        run: () => new Promise<Result<'generate'>>((resolve, reject) => void runs.push({ resolve, reject })),
      },
      { minimumCalls: 1, now: () => clock.time },
    )
    const settled = (index: number, error?: TollgateError) => {
      if (error !== undefined) runs[index]?.reject(error)
      else {
        const output = { text: 'm', toolCalls: [], finishReason: 'stop' } as const
        runs[index]?.resolve({ output, usage: { inputTokens: 1, outputTokens: 1, estimated: false } })
      }
      return new Promise((resolve) => setImmediate(resolve))
    }
    const calls = [0, 1, 2].map(() => ask(guarded))
    await settled(0, sick())
    // It asks for less than it is left alone for.
    await settled(1, throttled(100))
    clock.time = 200
    expect(await ask(guarded)).toBe(503)
    clock.time = 5_000
    const probe = ask(guarded)
    // Well, but of before.
    await settled(2)
    expect(await ask(guarded)).toBe(503)
    await settled(3)
    expect([...(await Promise.all(calls)), await probe]).toEqual([502, 429, 'ok', 'ok'])
    const last = ask(guarded)
    await settled(4)
    expect(await last).toBe('ok')
  })
})
