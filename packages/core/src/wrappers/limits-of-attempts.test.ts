import { describe, expect, it } from 'vitest'
import { fakeModel, hello, recordedCall, sick, textOf } from '../../test/fake-model.js'
import { withBulkhead } from './bulkhead.js'
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
