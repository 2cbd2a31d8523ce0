import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { addUsage, completionTokens, isUsage, noUsage, promptTokens, totalTokens, type Usage } from './usage.js'

const count = fc.integer({ min: 0, max: 1_000_000_000 })
const usage: fc.Arbitrary<Usage> = fc.record(
  {
    inputTokens: count,
    outputTokens: count,
    cacheReadTokens: count,
    cacheWriteTokens: count,
    cacheWrite1hTokens: count,
    inputAudioTokens: count,
    inputImageTokens: count,
    reasoningTokens: count,
    outputAudioTokens: count,
    outputImageTokens: count,
    rows: count,
    estimated: fc.boolean(),
  },
  { requiredKeys: ['inputTokens', 'outputTokens', 'estimated'] },
)

describe('addUsage', () => {
  it('adds every bucket and every total', () => {
    fc.assert(
      fc.property(usage, usage, (left, right) => {
        const sum = addUsage(left, right)
        expect(isUsage(sum)).toBe(true)
        expect(promptTokens(sum)).toBe(promptTokens(left) + promptTokens(right))
        expect(completionTokens(sum)).toBe(completionTokens(left) + completionTokens(right))
        expect(totalTokens(sum)).toBe(promptTokens(sum) + completionTokens(sum))
        expect(sum.rows ?? 0).toBe((left.rows ?? 0) + (right.rows ?? 0))
        expect(sum.estimated).toBe(left.estimated || right.estimated)
      }),
    )
  })

  it('does not care about order or grouping, and nothing added is nothing changed', () => {
    fc.assert(
      fc.property(usage, usage, usage, (a, b, c) => {
        expect(addUsage(a, b)).toEqual(addUsage(b, a))
        expect(addUsage(addUsage(a, b), c)).toEqual(addUsage(a, addUsage(b, c)))
        expect(totalTokens(addUsage(a, noUsage))).toBe(totalTokens(a))
      }),
    )
  })
})

describe('isUsage', () => {
  it('takes every usage', () => {
    fc.assert(fc.property(usage, (each) => isUsage(each)))
  })

  it.each([
    undefined,
    null,
    'usage',
    {},
    { inputTokens: 1 },
    { outputTokens: 1 },
    { inputTokens: '1', outputTokens: 0 },
    { inputTokens: 1, outputTokens: -1 },
    { inputTokens: 1, outputTokens: 0.5 },
    { inputTokens: 1, outputTokens: Number.NaN },
    { inputTokens: 1, outputTokens: 2 ** 53 },
    { inputTokens: 1, outputTokens: 1, cacheReadTokens: -1 },
    { inputTokens: 1, outputTokens: 1, rows: 0.5 },
    { inputTokens: 1, outputTokens: 1, reasoningTokens: null },
  ])('does not take %j', (usage) => {
    expect(isUsage(usage)).toBe(false)
  })
})
