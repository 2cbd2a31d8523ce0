import { describe, expect, it } from 'vitest'
import { fakeModel, recordedCall, sick, textOf, throttled, wrong } from '../../test/fake-model.js'
import { TollgateError } from '../errors.js'
import { withRetry } from './retry.js'

const at_once = { baseMs: 0 }

describe.each(['run', 'stream'] as const)('withRetry, %s', (how) => {
  it('tries again until it is well, asks before each attempt, and pays for each', async () => {
    const { model, state } = fakeModel('m', [sick(), sick(), 'ok'])
    const { call, told } = recordedCall()
    expect(await textOf(withRetry(model, at_once), call, how)).toBe('m')
    expect(state.runs).toBe(3)
    expect(told.dispatched).toEqual(['m', 'm', 'm'])
    expect(told.failed).toEqual(['m upstream_failed', 'm upstream_failed'])
    // Of a stream that had begun the prompt is paid for; a whole run tells by itself.
    expect(told.spent).toHaveLength(how === 'stream' ? 2 : 0)
  })

  it('gives up after its attempts, and tells clients not to go on by themselves', async () => {
    const { model, state } = fakeModel('m', [sick()])
    const error = await textOf(withRetry(model, at_once), recordedCall().call, how).catch((each: unknown) => each)
    expect(error).toMatchObject({ code: 'upstream_failed', headers: { 'x-should-retry': 'false' } })
    expect(state.runs).toBe(3)
  })

  it.each([
    ["the caller's fault", wrong()],
    ['a key that is refused', new TollgateError('upstream_credentials', 'no')],
    ['a wait that is too long', throttled(60_000)],
  ])('does not try again: %s', async (_name, error) => {
    const { model, state } = fakeModel('m', [error])
    await expect(textOf(withRetry(model, at_once), recordedCall().call, how)).rejects.toBe(error)
    expect(state.runs).toBe(1)
  })

  it('waits as long as it is told', async () => {
    const { model } = fakeModel('m', [throttled(120), 'ok'])
    const begun = performance.now()
    await textOf(withRetry(model, at_once), recordedCall().call, how)
    expect(performance.now() - begun).toBeGreaterThanOrEqual(115)
  })

  it('does not begin what the deadline would cut', async () => {
    const { model, state } = fakeModel('m', [throttled(500)])
    const { call } = recordedCall({ deadline: Date.now() + 200 })
    await expect(textOf(withRetry(model, at_once), call, how)).rejects.toMatchObject({ code: 'rate_limited' })
    expect(state.runs).toBe(1)
  })

  it('keeps to the attempts of the whole call, however it is nested', async () => {
    const { model, state } = fakeModel('m', [sick()])
    const { call } = recordedCall()
    await expect(textOf(withRetry(withRetry(withRetry(model, at_once), at_once), at_once), call, how)).rejects.toThrow()
    expect(state.runs).toBe(3)
  })

  it('has a budget: a sick upstream is not asked many times as much', async () => {
    const { model, state } = fakeModel('m', [sick()])
    const retrying = withRetry(model, { ...at_once, budgetRatio: 0.1, budgetBurst: 5 })
    for (let count = 0; count < 100; count += 1) await textOf(retrying, recordedCall().call, how).catch(() => {})
    expect(state.runs).toBeLessThanOrEqual(100 + 5 + 10)
  })

  it('ends its wait when the caller leaves', async () => {
    const controller = new AbortController()
    const { model, state } = fakeModel('m', [throttled(5_000)])
    const { call } = recordedCall({ signal: controller.signal, failed: () => controller.abort() })
    await expect(textOf(withRetry(model, at_once), call, how)).rejects.toMatchObject({ code: 'client_closed' })
    expect(state.runs).toBe(1)
  })

  it('does not hide a refusal of ours, nor try it again', async () => {
    const { model, state } = fakeModel('m')
    const refusal = new TollgateError('rate_limited', 'yours', { retryAfterMs: 1 })
    const { call } = recordedCall({
      dispatching: () => {
        throw refusal
      },
    })
    await expect(textOf(withRetry(model, at_once), call, how)).rejects.toBe(refusal)
    expect(state.runs).toBe(0)
  })
})

it('never answers a stream twice', async () => {
  const { model, state } = fakeModel('m', [{ after: sick() }])
  await expect(textOf(withRetry(model, at_once), recordedCall().call, 'stream')).rejects.toMatchObject({
    code: 'upstream_failed',
  })
  expect(state.runs).toBe(1)
})

it.each([[{ maxAttempts: 0 }], [{ baseMs: -1 }], [{ retries: 3 }], [{ random: 1 }]])('refuses %j', (options) => {
  expect(() => withRetry(fakeModel('m').model, options as never)).toThrow(/withRetry/)
})
