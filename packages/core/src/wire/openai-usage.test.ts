import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { completionTokens, isUsage, promptTokens, type Usage } from '../usage.js'
import { type OpenAiUsage, usageFromOpenAi, usageFromResponses, usageToOpenAi } from './openai-usage.js'

const count = fc.integer({ min: 0, max: 1_000_000 })
/** What a detail may hold when a server means no harm. */
const detail = fc.option(fc.oneof(count, fc.constant(null)), { nil: undefined })
/** And what it may hold when it does. */
const anything = fc.oneof(count, fc.anything())

describe('usageFromOpenAi', () => {
  it('splits the totals into buckets that never overlap', () => {
    fc.assert(
      fc.property(
        count,
        count,
        detail,
        detail,
        detail,
        detail,
        (prompt, completion, cached, audio, reasoning, spoken) => {
          const usage = usageFromOpenAi({
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt + completion,
            prompt_tokens_details: { cached_tokens: cached ?? null, audio_tokens: audio ?? null },
            completion_tokens_details: { reasoning_tokens: reasoning ?? null, audio_tokens: spoken ?? null },
          }) as Usage
          expect(isUsage(usage)).toBe(true)
          expect(usage.estimated).toBe(false)
          // With nothing to reason about, all of it is within the total.
          if (completion > 0 || (reasoning ?? 0) === 0) expect(completionTokens(usage)).toBe(completion)
          expect(promptTokens(usage)).toBe(prompt)
          expect(usage.cacheReadTokens ?? 0).toBe(Math.min(cached ?? 0, prompt))
        },
      ),
    )
  })

  it('is a usage or undefined, whatever a server sends, and never throws', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.anything(),
          fc.record({
            prompt_tokens: anything,
            completion_tokens: anything,
            total_tokens: anything,
            prompt_tokens_details: fc.oneof(
              fc.anything(),
              fc.record({ cached_tokens: anything, audio_tokens: anything }),
            ),
            completion_tokens_details: fc.oneof(fc.anything(), fc.record({ reasoning_tokens: anything })),
          }),
        ),
        (sent) => {
          const usage = usageFromOpenAi(sent as OpenAiUsage)
          expect(usage === undefined || isUsage(usage)).toBe(true)
        },
      ),
    )
  })

  it('goes round', () => {
    fc.assert(
      fc.property(count, count, count, count, (inputTokens, cacheReadTokens, outputTokens, reasoningTokens) => {
        const told = usageToOpenAi({ inputTokens, cacheReadTokens, outputTokens, reasoningTokens, estimated: false })
        const back = usageFromOpenAi(told) as Usage
        expect(back).toMatchObject({ inputTokens, outputTokens })
        expect([back.cacheReadTokens ?? 0, back.reasoningTokens ?? 0]).toEqual([cacheReadTokens, reasoningTokens])
      }),
    )
  })

  it('counts reasoning that a server reports beside the completion', () => {
    const usage = usageFromOpenAi({
      prompt_tokens: 32,
      completion_tokens: 9,
      total_tokens: 135,
      completion_tokens_details: { reasoning_tokens: 94 },
    })
    expect(usage).toEqual({ inputTokens: 32, outputTokens: 9, reasoningTokens: 94, estimated: false })
  })

  it('takes the completion from the total where it is left out', () => {
    expect(usageFromOpenAi({ prompt_tokens: 10, total_tokens: 30 })).toEqual({
      inputTokens: 10,
      outputTokens: 20,
      estimated: false,
    })
    expect(usageFromOpenAi({ prompt_tokens: 10, total_tokens: 10 })).toMatchObject({ outputTokens: 0 })
    expect(usageFromOpenAi({ prompt_tokens: 10 })).toMatchObject({ outputTokens: 0 })
  })

  it('takes them from the total in the Responses API too', () => {
    expect(usageFromResponses({ input_tokens: 10, total_tokens: 30 })).toMatchObject({ outputTokens: 20 })
    const beside = {
      input_tokens: 32,
      output_tokens: 9,
      total_tokens: 135,
      output_tokens_details: { reasoning_tokens: 94 },
    }
    expect(usageFromResponses(beside)).toMatchObject({ outputTokens: 9, reasoningTokens: 94 })
    expect(usageFromResponses('many' as never)).toBeUndefined()
  })

  it.each([undefined, null, {}, { prompt_tokens: -1 }, { prompt_tokens: 1.5 }, { prompt_tokens: '7' }])(
    'knows nothing of %j',
    (usage) => {
      expect(usageFromOpenAi(usage as OpenAiUsage)).toBeUndefined()
    },
  )
})
