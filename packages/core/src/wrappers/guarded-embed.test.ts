import { describe, expect, it } from 'vitest'
import { recordedCall } from '../../test/fake-model.js'
import type { Model } from '../inference/model.js'
import type { EmbedInput } from '../inference/task.js'
import { type Guard, guarded } from './guarded.js'
import { redactPii } from './redact-pii.js'

const usage = { inputTokens: 3, outputTokens: 0, estimated: false }
const only = (guard: Partial<Guard>): Guard => ({ name: 'g', ...guard })

describe('a model that embeds', () => {
  const embedding = () => {
    const asked: EmbedInput[] = []
    const model: Model<'embed'> = {
      task: 'embed',
      provider: 'fake',
      id: 'e',
      run: async (input) => {
        asked.push(input)
        return { output: { vectors: [] }, usage }
      },
    }
    return { model, asked }
  }
  it('is sent no text that was not read', async () => {
    const { model, asked } = embedding()
    const input: EmbedInput = {
      inputs: ['to alice@example.com', 'b'],
      dimensions: 3,
      native: {
        dialect: 'openai-embeddings',
        body: { input: ['to alice@example.com', 'b'], user: 'alice@example.com' },
      },
    }
    const { call, told } = recordedCall()
    await guarded(model, { guards: [redactPii()] }).run(input, call)
    expect(asked).toEqual([
      {
        inputs: ['to [EMAIL_1]', 'b'],
        dimensions: 3,
        native: { dialect: 'openai-embeddings', body: { input: ['to [EMAIL_1]', 'b'], user: '[EMAIL_1]' } },
      },
    ])
    expect(told.dispatched).toEqual(['e'])
    await expect(guarded(model, { guards: [redactPii()] }).run({ inputs: [[1, 2]] }, call)).rejects.toMatchObject({
      code: 'invalid_request',
    })
    const shorter = only({ input: () => ({ change: { messages: [] } }) })
    await expect(guarded(model, { guards: [shorter] }).run(input, call)).rejects.toMatchObject({ code: 'guard_failed' })
    expect(asked).toHaveLength(1)
  })
})

it.each([{ user: 'alice@example.com' }, { 'alice@example.com': 1 }, { of: { x: ['alice@example.com'] } }])(
  'reads of what is to be embedded %j too, where the texts themselves are clean',
  async (fields) => {
    const bodies: unknown[] = []
    const model: Model<'embed'> = {
      task: 'embed',
      provider: 'fake',
      id: 'e',
      run: async ({ native }) => {
        bodies.push(native?.body)
        return { output: { vectors: [] }, usage }
      },
    }
    const input: EmbedInput = {
      inputs: ['a'],
      native: { dialect: 'openai-embeddings', body: { input: 'a', ...fields } },
    }
    await guarded(model, { guards: [redactPii()] }).run(input, recordedCall().call)
    expect(JSON.stringify(bodies)).toMatch(/EMAIL_1/)
    expect(JSON.stringify(bodies)).not.toMatch(/alice/)
  },
)
