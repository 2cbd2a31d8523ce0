import { expect, it } from 'vitest'
import { fakeModel, recordedCall, textOf } from '../../test/fake-model.js'
import type { Model } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import { resilientProvider } from './resilient-provider.js'

const keyOf = (model: Model<'generate'>): Provider => ({ name: 'fake', model: () => model as never })

it.each(['run', 'stream'] as const)('has places for the calls of a model, whatever its keys, %s', async (how) => {
  const [one, other] = [fakeModel('m', ['hang']), fakeModel('m', ['hang'])]
  const changes: string[] = []
  const provider = resilientProvider('fake', [keyOf(one.model), keyOf(other.model)], {
    bulkhead: { maxConcurrent: 1, maxQueued: 0 },
    retry: { maxAttempts: 3, baseMs: 0 },
    breaker: { minimumCalls: 1, onChange: (state) => void changes.push(state) },
  })
  const model = provider.model('generate', 'm')
  if (model === undefined) throw new Error('no model')
  const controller = new AbortController()
  const first = textOf(model, recordedCall({ signal: controller.signal }).call, how)
  await expect.poll(() => one.state.running + other.state.running).toBe(1)
  for (let count = 0; count < 5; count += 1) {
    const { call, told } = recordedCall()
    await expect(textOf(model, call, how)).rejects.toMatchObject({ code: 'overloaded' })
    // Asking again, or with another key, makes no place.
    expect(told.dispatched).toHaveLength(1)
  }
  expect(one.state.most + other.state.most).toBe(1)
  controller.abort()
  await first.catch(() => {})
  // What we refuse says nothing of the upstream.
  expect(changes).toEqual([])
})
