import { AsyncLocalStorage } from 'node:async_hooks'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { fakeModel, hello, recordedCall, sick, textOf } from '../../test/fake-model.js'
import type { GenerateInput } from '../inference/task.js'
import type { Principal } from '../principal.js'
import { withRetry } from './retry.js'
import { routed } from './routed.js'
import { type ShadowOptions, type ShadowResult, shadowed } from './shadowed.js'

type Outcomes = Parameters<typeof fakeModel>[1]

function start(outcomes: Outcomes, more: Partial<ShadowOptions<'generate'>> = {}, real: Outcomes = ['ok']) {
  const results: ShadowResult<'generate'>[] = []
  const [answering, shadow] = [fakeModel('real', real), fakeModel('shadow', outcomes)]
  const model = shadowed(answering.model, {
    to: shadow.model,
    share: 1,
    drainMs: 0,
    onResult: (result) => void results.push(result),
    ...more,
  })
  onTestFinished(() => model.close())
  return { model, results, shadow: shadow.state, answering: answering.state }
}

const used = { inputTokens: 3, outputTokens: 2, estimated: false }
const tick = () => new Promise((resolve) => setImmediate(resolve))

describe.each(['run', 'stream'] as const)('shadowed, %s', (how) => {
  it('answers as the model does, and tells what the other one says', async () => {
    const { model, results } = start(['ok'])
    const principal: Principal = { tenant: 'acme', subject: 'ada', method: 'jwt', scopes: [] }
    const { call, told } = recordedCall({ principal })
    expect(await textOf(model, call, how)).toBe('real')
    await expect.poll(() => results.length).toBe(1)
    const output = expect.objectContaining({ text: 'shadow' })
    expect(results[0]).toMatchObject({
      ...{
        outcome: 'ok',
        requestId: 'r',
        principal,
        target: { provider: 'fake', model: 'shadow' },
        usage: used,
        output,
      },
      answered: how === 'run' ? { usage: used, output: { text: 'real' } } : { usage: used },
    })
    // Nobody is asked, and nobody pays.
    expect(told).toMatchObject({ dispatched: [], spent: [], failed: [] })
  })

  it('does not make the caller wait, or fail', async () => {
    const { model, results } = start(['hang', sick()])
    expect(await textOf(model, recordedCall().call, how)).toBe('real')
    expect(await textOf(model, recordedCall().call, how)).toBe('real')
    await expect.poll(() => results.length).toBe(1)
    expect(results[0]).toMatchObject({ outcome: 'failed', error: { code: 'upstream_failed' } })
    expect(results[0]).not.toHaveProperty('output')
  })

  it('has no shadow for a call that failed or was left', async () => {
    const { model, shadow } = start(['ok'], {}, [sick(), how === 'run' ? 'hang' : 'hang-later'])
    await expect(textOf(model, recordedCall().call, how)).rejects.toMatchObject({ code: 'upstream_failed' })
    const controller = new AbortController()
    const left = textOf(model, recordedCall({ signal: controller.signal }).call, how)
    controller.abort()
    await expect(left).rejects.toMatchObject({ code: 'client_closed' })
    await tick()
    expect(shadow.runs).toBe(0)
  })

  it("is not stopped by the caller's leaving after the answer", async () => {
    const { model, results, shadow } = start(['hang', 'ok'])
    const controller = new AbortController()
    await textOf(model, recordedCall({ signal: controller.signal }).call, how)
    await expect.poll(() => shadow.running).toBe(1)
    controller.abort()
    await tick()
    expect(shadow.running).toBe(1)
    expect(results).toEqual([])
  })

  it('is over at a deadline of its own, with what it has used', async () => {
    const { model, results, shadow } = start(['hang'], { timeoutMs: 30 })
    await textOf(model, recordedCall().call, how)
    await expect.poll(() => results.length).toBe(1)
    expect(results[0]).toMatchObject({
      outcome: 'failed',
      error: { code: 'timeout' },
      usage: { inputTokens: 3, outputTokens: 0, estimated: true },
    })
    await expect.poll(() => shadow.running).toBe(0)
  })

  it('drops what is too much at once, and says so', async () => {
    const { model, results, shadow } = start(['hang'], { maxConcurrent: 2 })
    for (let count = 0; count < 5; count += 1) await textOf(model, recordedCall().call, how)
    await expect.poll(() => results.map(({ outcome }) => outcome)).toEqual(['dropped', 'dropped', 'dropped'])
    expect(shadow.runs).toBe(2)
    await model.close()
    expect(results.slice(3)).toMatchObject([{ outcome: 'failed' }, { outcome: 'failed' }])
  })

  it('takes its share, by lot or by who calls', async () => {
    const lots = [0.1, 0.9, 0.3]
    const drawn = start(['ok'], { share: 0.3, random: () => lots.shift() ?? 1 })
    for (let count = 0; count < 3; count += 1) await textOf(drawn.model, recordedCall().call, how)
    await expect.poll(() => drawn.results.length).toBe(1)

    const kept = start(['ok'], { share: 0.5, sticky: 'principal', maxConcurrent: 1_000 })
    const subjects = Array.from({ length: 40 }, (_, index) => `user-${index}`)
    for (const subject of [...subjects, ...subjects]) {
      const principal: Principal = { tenant: 'acme', subject, method: 'jwt', scopes: [] }
      await textOf(kept.model, recordedCall({ principal }).call, how)
    }
    await model(kept)
    const seen = new Map<string, number>()
    for (const { principal } of kept.results) {
      seen.set(principal?.subject ?? '', (seen.get(principal?.subject ?? '') ?? 0) + 1)
    }
    expect(seen.size).toBeGreaterThan(8)
    expect(seen.size).toBeLessThan(32)
    expect([...seen.values()].every((count) => count === 2)).toBe(true)
  })
})

/** Waits until all shadows of one are told. */
async function model({ results, shadow }: ReturnType<typeof start>): Promise<void> {
  await tick()
  await expect.poll(() => results.length === shadow.runs && shadow.running === 0).toBe(true)
}

describe('shadowed', () => {
  it('closes when those under way are over, or stops them', async () => {
    let answer = () => {}
    const slow = fakeModel('slow')
    const to = {
      ...slow.model,
      run: async (...given: Parameters<typeof slow.model.run>) => {
        await new Promise<void>((resolve) => {
          answer = resolve
        })
        return slow.model.run(...given)
      },
    }
    const waiting = start(['ok'], { to, drainMs: 3_600_000 })
    await textOf(waiting.model, recordedCall().call, 'run')
    await tick()
    let isClosed = false
    const closing = waiting.model.close().then(() => {
      isClosed = true
    })
    // What comes now has no shadow.
    await textOf(waiting.model, recordedCall().call, 'run')
    await tick()
    expect(isClosed).toBe(false)
    answer()
    await closing
    expect(waiting.results).toMatchObject([{ outcome: 'ok' }])

    const stopped = start(['hang'], { drainMs: 10 })
    await textOf(stopped.model, recordedCall().call, 'run')
    await expect.poll(() => stopped.shadow.running).toBe(1)
    await stopped.model.close()
    expect(stopped.results).toMatchObject([{ outcome: 'failed', error: { code: 'client_closed' } }])
    await expect.poll(() => stopped.shadow.running).toBe(0)
  })

  it('tells all that its attempts have used, and whom it was sent to', async () => {
    const sickly = withRetry(fakeModel('one', [sick()]).model, { baseMs: 0, maxAttempts: 2 })
    const to = routed({ targets: [{ model: sickly }, { model: fakeModel('two').model }] })
    const { model: real, results } = start([], { to })
    const { call, told } = recordedCall()
    await textOf(real, call, 'run')
    await expect.poll(() => results.length).toBe(1)
    expect(results[0]).toMatchObject({ outcome: 'ok', target: { model: 'two' }, usage: used })
    expect(told.failed).toEqual([])
  })

  it('asks as a whole what was asked for as a stream', async () => {
    const inputs: GenerateInput[] = []
    const { model: to } = fakeModel('to')
    const watched = {
      ...to,
      run: (input: GenerateInput, call: Parameters<typeof to.run>[1]) => {
        inputs.push(input)
        return to.run(input, call)
      },
    }
    const { model: real, results } = start([], { to: watched })
    const native = { dialect: 'openai-chat', body: { stream: true } } as const
    for await (const _ of real.stream?.({ ...hello, native }, recordedCall().call) ?? []) {
      // Nothing to see.
    }
    await real.run({ ...hello, native }, recordedCall().call)
    await expect.poll(() => results.length).toBe(2)
    expect(inputs).toEqual([hello, { ...hello, native }])
  })

  it('survives who listens, and keeps nothing of the request', async () => {
    const storage = new AsyncLocalStorage<string>()
    const seen: Array<string | undefined> = []
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    onTestFinished(() => warned.mockRestore())
    const { model: thrower } = start(['ok'], {
      onResult() {
        seen.push(storage.getStore())
        throw new Error('no')
      },
    })
    const { model: rejecter } = start(['ok'], { onResult: () => Promise.reject(new Error('no')) })
    await storage.run('a request', async () => {
      await textOf(thrower, recordedCall().call, 'run')
      await textOf(rejecter, recordedCall().call, 'run')
    })
    await expect.poll(() => warned.mock.calls.length).toBe(2)
    expect(seen).toEqual([undefined])
  })

  it('refuses what it cannot be', () => {
    const { model: real } = fakeModel('m')
    expect(() => shadowed(real, { to: real, share: 2 })).toThrow(/share/)
    const other = { ...real, task: 'embed' } as unknown as typeof real
    expect(() => shadowed(real, { to: other, share: 1 })).toThrow(/same task/)
  })
})
