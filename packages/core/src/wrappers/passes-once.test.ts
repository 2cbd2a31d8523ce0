import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { recordedCall } from '../../test/fake-model.js'
import type { Model } from '../inference/model.js'
import type { MediaInput } from '../inference/task.js'
import { hedged } from './hedged.js'
import { shadowed } from './shadowed.js'

const json: MediaInput = { path: '/images/edits', body: { json: { prompt: 'a' } } }
const form: MediaInput = {
  path: '/images/edits',
  body: { form: { contentType: 'multipart/form-data; boundary=b', send: () => ({ bytes: none(), length: 0 }) } },
}
async function* none(): AsyncGenerator<Uint8Array> {}

/** A model that takes its time, and how often it was asked. */
function slow() {
  const asked: MediaInput[] = []
  const model: Model<'media'> = {
    task: 'media',
    provider: 'p',
    id: 'm',
    async run(input) {
      asked.push(input)
      await sleep(30)
      return {
        output: { contentType: 'image/png', bytes: Buffer.alloc(0) },
        usage: { inputTokens: 1, outputTokens: 0, estimated: false },
      }
    },
  }
  return { model, asked }
}

it.each([
  ['hedged', json, 2],
  ['not hedged', form, 1],
])('is %s', async (_how, input, times) => {
  const { model, asked } = slow()
  await hedged(model, { afterMs: 1 }).run(input, recordedCall().call)
  expect(asked).toHaveLength(times)
})

it.each([
  ['has a shadow', json, 1],
  ['has none', form, 0],
])('%s', async (_how, input, times) => {
  const [first, other] = [slow(), slow()]
  const model = shadowed(first.model, { to: other.model, share: 1 })
  await model.run(input, recordedCall().call)
  await new Promise((resolve) => setImmediate(resolve))
  await model.close()
  expect([first.asked.length, other.asked.length]).toEqual([1, times])
})
