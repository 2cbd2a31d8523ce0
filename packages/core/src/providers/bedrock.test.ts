import { describe, expect, it } from 'vitest'
import { call, claude, collect, hello, start, textOf } from '../../test/bedrock-model.js'
import { bedrockApiKey, bedrockCredentials } from '../../test/bedrock-upstream.js'
import { defaultText } from '../../test/fixture-upstream.js'
import { providerCases } from '../testing/provider.js'

describe('bedrockProvider', () => {
  describe('as any provider', () => {
    for (const { name, run } of providerCases) {
      const models = { generate: claude }
      it(`any name: ${name}`, () => run({ models, make: async () => (await start()).provider }))
      it(`listed: ${name}`, () => run({ models, make: async () => (await start({}, { models: [claude] })).provider }))
      it(`by key: ${name}`, () =>
        run({ models, make: async () => (await start({}, { apiKey: bedrockApiKey })).provider }))
    }
  })

  it.each([claude, 'arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2c3', 'plain'])(
    'signs for %s, with credentials that are fetched',
    async (id) => {
      const { model, upstream } = await start({}, { credentials: () => Promise.resolve(bedrockCredentials) }, id)
      expect((await model.run(hello, call)).output.text).toBe(defaultText)
      expect(upstream.calls[0]?.path).toBe(`/model/${encodeURIComponent(id)}/converse`)
      expect(textOf(await collect(model.stream?.(hello, call)))).toBe(defaultText)
      expect(upstream.calls[1]?.path).toBe(`/model/${encodeURIComponent(id)}/converse-stream`)
    },
  )

  it('has no model of a name that would be another path', async () => {
    const { provider } = await start()
    for (const name of ['..', '.', '', 'a?b', 'a#b', 'a b', 'a\\b', 'é', '../../x', 'a%2fb']) {
      expect(provider.model('generate', name), name).toBeUndefined()
    }
    expect(provider.model('embed', claude)).toBeUndefined()
  })

  it.each(['none', 'bytes', 'random'] as const)('streams the same text, cut by %s', async (split) => {
    const { model } = await start({ [claude]: { split } })
    const parts = await collect(model.stream?.(hello, call))
    expect(textOf(parts)).toBe(defaultText)
    expect(parts.at(-1)).toMatchObject({ type: 'end', finishReason: 'stop', usage: { estimated: false } })
  })

  it('changes bodies as it is told', async () => {
    const guardrail = { guardrailIdentifier: 'g', guardrailVersion: '1' }
    const { model, upstream } = await start({}, { patchBody: [{ pointer: '/guardrailConfig', value: guardrail }] })
    await model.run(hello, call)
    expect(upstream.calls[0]?.body['guardrailConfig']).toEqual(guardrail)
  })
})
