import { describe, expect, it } from 'vitest'
import { fakeModel, hello, recordedCall, sick, textOf } from '../../test/fake-model.js'
import type { Model } from '../inference/model.js'
import { inferenceService } from '../inference/service.js'
import { namedModels } from '../providers/named-models.js'
import { withBulkhead } from './bulkhead.js'
import { withRetry } from './retry.js'
import { routed } from './routed.js'
import { withTimeouts } from './timeouts.js'

describe.each(['run', 'stream'] as const)('withTimeouts, %s', (how) => {
  it('stops what takes too long, so that another can answer, and pays for it', async () => {
    const { model, state } = fakeModel('slow', ['hang'])
    const { model: other } = fakeModel('other')
    const { call, told } = recordedCall()
    const route = routed({ targets: [{ model: withTimeouts(model, { totalMs: 30 }) }, { model: other }] })
    expect(await textOf(route, call, how)).toBe('other')
    expect(told.failed).toEqual(['slow upstream_timeout'])
    expect(told.spent).toEqual([{ inputTokens: 3, outputTokens: 0, estimated: true }])
    await expect.poll(() => state.running).toBe(0)
  })

  it('leaves alone what is in time', async () => {
    const { model } = fakeModel('m')
    const limited = withTimeouts(model, { totalMs: 5_000, firstOutputMs: 5_000, idleMs: 5_000 })
    expect(await textOf(limited, recordedCall().call, how)).toBe('m')
  })
})

describe('withTimeouts of a stream', () => {
  it('has a limit for the first output, and one for each after it', async () => {
    const first = withTimeouts(fakeModel('a', ['hang']).model, { firstOutputMs: 30 })
    await expect(textOf(first, recordedCall().call, 'stream')).rejects.toMatchObject({
      code: 'upstream_timeout',
      message: expect.stringContaining('begin'),
    })
    const later = withTimeouts(fakeModel('b', ['hang-later']).model, { firstOutputMs: 10_000, idleMs: 30 })
    await expect(textOf(later, recordedCall().call, 'stream')).rejects.toMatchObject({
      message: expect.stringContaining('nothing more'),
    })
  })

  it('does not count the time that its reader takes', async () => {
    const limited = withTimeouts(fakeModel('m').model, { idleMs: 30 })
    let parts = 0
    for await (const _ of limited.stream?.(hello, recordedCall().call) ?? []) {
      parts += 1
      await new Promise((resolve) => setTimeout(resolve, 60))
    }
    expect(parts).toBe(2)
  })

  it('refuses to be made without a limit', () => {
    expect(() => withTimeouts(fakeModel('m').model, {})).toThrow(/give totalMs/)
    expect(() => withTimeouts(fakeModel('m').model, { idleMs: 0 })).toThrow(/idleMs/)
  })
})

describe.each(['run', 'stream'] as const)('withBulkhead, %s', (how) => {
  it('runs so many at once, the important first, and refuses what cannot wait', async () => {
    const { model, state } = fakeModel('m', ['hang', 'ok'])
    const guarded = withBulkhead(model, { maxConcurrent: 1, maxQueued: 2 })
    const controller = new AbortController()
    const first = textOf(guarded, recordedCall({ signal: controller.signal }).call, how)
    await expect.poll(() => state.running).toBe(1)
    const order: string[] = []
    const queued = (name: string, priority: number) =>
      textOf(guarded, recordedCall({ priority }).call, how).then(() => void order.push(name))
    const waiting = [queued('later', 0), queued('sooner', 5)]
    await expect(textOf(guarded, recordedCall().call, how)).rejects.toMatchObject({
      code: 'overloaded',
      retryAfterMs: 1_000,
    })
    controller.abort()
    await expect(first).rejects.toMatchObject({ code: 'client_closed' })
    await Promise.all(waiting)
    expect(order).toEqual(['sooner', 'later'])
    expect(state.most).toBe(1)
  })

  it('waits no longer than it may, and gives its place in the queue up', async () => {
    const { model, state } = fakeModel('m', ['hang', 'ok'])
    const guarded = withBulkhead(model, { maxConcurrent: 1, maxQueued: 1, maxWaitMs: 30 })
    const controller = new AbortController()
    const first = textOf(guarded, recordedCall({ signal: controller.signal }).call, how)
    await expect.poll(() => state.running).toBe(1)
    for (let count = 0; count < 2; count += 1) {
      await expect(textOf(guarded, recordedCall().call, how)).rejects.toMatchObject({ code: 'overloaded' })
    }
    const leaving = new AbortController()
    const left = textOf(guarded, recordedCall({ signal: leaving.signal }).call, how)
    leaving.abort()
    await expect(left).rejects.toMatchObject({ code: 'client_closed' })
    controller.abort()
    await first.catch(() => {})
    expect(await textOf(guarded, recordedCall().call, how)).toBe('m')
  })

  it('gives the place back when a call fails', async () => {
    const { model } = fakeModel('m', [sick(), 'ok'])
    const guarded = withBulkhead(model, { maxConcurrent: 1, maxQueued: 0 })
    await expect(textOf(guarded, recordedCall().call, how)).rejects.toMatchObject({ code: 'upstream_failed' })
    expect(await textOf(guarded, recordedCall().call, how)).toBe('m')
  })
})

describe('who leaves before a model is asked pays for nothing', () => {
  const asked = (model: Model<'generate'>, more: Parameters<typeof recordedCall>[0] = {}) => {
    const service = inferenceService({ providers: [namedModels({ models: { m: model } })] })
    const controller = new AbortController()
    const { call, told } = recordedCall({ ...more, signal: controller.signal })
    return { answer: service.run('generate', 'm', hello, call), told, leave: () => controller.abort() }
  }
  it('in the queue of a bulkhead, while who is in there pays', async () => {
    const { model, state } = fakeModel('m', ['hang'])
    for (const wrapped of [(given: Model<'generate'>) => given, (given: Model<'generate'>) => withRetry(given)]) {
      const guarded = wrapped(withBulkhead(model, { maxConcurrent: 1 }))
      const inside = asked(guarded)
      await expect.poll(() => state.running).toBe(1)
      const waiting = asked(guarded)
      await new Promise((resolve) => setImmediate(resolve))
      waiting.leave()
      await expect(waiting.answer).rejects.toMatchObject({ code: 'client_closed' })
      expect(waiting.told.spent).toEqual([])
      inside.leave()
      await expect(inside.answer).rejects.toMatchObject({ code: 'client_closed' })
      expect(inside.told.spent).toHaveLength(1)
      await expect.poll(() => state.running).toBe(0)
    }
  })

  it('in the pause between two attempts', async () => {
    const { model } = fakeModel('m', [sick()])
    const { answer, told, leave } = asked(withRetry(model, { baseMs: 60_000, maxMs: 60_000, random: () => 1 }))
    await expect.poll(() => told.failed).toEqual(['m upstream_failed'])
    leave()
    await expect(answer).rejects.toMatchObject({ code: 'client_closed' })
    expect(told.spent).toEqual([])
  })

  it('while policies are asked', async () => {
    const { model } = fakeModel('m')
    for (const each of [model, routed({ targets: [{ model }] })]) {
      const { answer, told, leave } = asked(each, { dispatching: () => new Promise(() => {}) })
      await new Promise((resolve) => setImmediate(resolve))
      leave()
      await expect(answer).rejects.toMatchObject({ code: 'client_closed' })
      expect(told.spent).toEqual([])
    }
  })
})
