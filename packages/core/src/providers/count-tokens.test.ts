import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { gptTokenizer } from '../gpt-tokenizer.js'
import { estimator, type Tokenizer } from '../tokenizer.js'
import { countTexts } from './count-tokens.js'

/** A token for every four characters, and a count of the characters it was given. */
function counting(): Tokenizer & { characters: number } {
  return {
    name: 'quarters',
    characters: 0,
    count(text) {
      this.characters += text.length
      return Math.ceil(text.length / 4)
    },
  }
}

describe('estimator', () => {
  it('is exact for what a prompt usually is', () => {
    const tokenizer = gptTokenizer()
    const text = 'The quick brown fox jumps over the lazy dog. '.repeat(200)
    expect(countTexts([text, 'and more'], tokenizer)).toBe(tokenizer.count(text) + tokenizer.count('and more'))
  })

  it('never counts more than its bound, however many texts there are, and never says nothing for something', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 200_000 }), { minLength: 1, maxLength: 20 }), (lengths) => {
        const tokenizer = counting()
        const { count } = estimator({ name: 'quarters', count: (text) => tokenizer.count(text) })
        const tokens = lengths.map((length) => count('x'.repeat(length)))
        expect(tokenizer.characters).toBeLessThanOrEqual(32_768)
        tokens.forEach((found, index) => {
          const exact = (lengths[index] as number) / 4
          expect(found).toBeGreaterThanOrEqual(Math.floor(exact))
          expect(found).toBeLessThanOrEqual(exact * 1.1 + 2)
        })
      }),
    )
  })

  it('comes near the true count of a long text that changes its kind half way', () => {
    const tokenizer = gptTokenizer()
    const text = `${'The quick brown fox jumps over the lazy dog. '.repeat(4000)}${'0123456789abcdef'.repeat(12_000)}`
    const exact = tokenizer.count(text)
    const estimated = countTexts([text], tokenizer)
    expect(Math.abs(estimated - exact) / exact).toBeLessThan(0.15)
  })
})
