import { createRequire } from 'node:module'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bytePairs } from './byte-pairs.js'
import { type GptEncoding, gptTokenizer } from './gpt-tokenizer.js'

const require = createRequire(import.meta.url)
const reference = (encoding: GptEncoding): ((text: string) => number) => {
  const { countTokens } = require(`gpt-tokenizer/encoding/${encoding}`) as {
    countTokens(text: string, options: { disallowedSpecial: Set<string> }): number
  }
  return (text) => countTokens(text, { disallowedSpecial: new Set() })
}

const texts = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.string({ unit: 'grapheme', maxLength: 300 }),
  fc
    .array(
      fc.constantFrom(
        'the',
        ' quick',
        "'s",
        '123456',
        '\n\n',
        '   ',
        '\t',
        'École',
        '日本語',
        '🙂',
        '!!!',
        '/',
        '\r\n',
        'ſ',
        '<|endoftext|>',
      ),
    )
    .map((words) => words.join('')),
  // One piece without a break, on both sides of the length at which the algorithm changes.
  fc
    .tuple(fc.constantFrom('abc', 'aé', 'x', 'ababac'), fc.integer({ min: 1, max: 60 }))
    .map(([unit, times]) => unit.repeat(times)),
  fc.string({ unit: fc.constantFrom('a', 'b', 'e', 't', 'é', '日'), minLength: 40, maxLength: 200 }),
)

describe.each(['o200k_base', 'cl100k_base'] as const)('gptTokenizer(%j)', (encoding) => {
  it('counts as the reference does', () => {
    const { count } = gptTokenizer(encoding)
    const expected = reference(encoding)
    fc.assert(
      fc.property(texts, (text) => {
        expect(count(text)).toBe(expected(text))
      }),
      { numRuns: 300 },
    )
  })

  it('has its name', () => {
    expect(gptTokenizer(encoding).name).toBe(encoding)
  })
})

describe('gptTokenizer', () => {
  const { count } = gptTokenizer()

  it('counts special tokens as the text they are', () => {
    expect(count('<|endoftext|>')).toBeGreaterThan(1)
    expect(count('<|im_start|>system')).toBeGreaterThan(2)
  })

  it('counts nothing as 0 and anything as something', () => {
    expect(count('')).toBe(0)
    fc.assert(fc.property(fc.string({ unit: 'binary', minLength: 1 }), (text) => count(text) > 0))
  })

  it.each([
    ['one letter', 'a'.repeat(1_000_000), 125_000],
    ['spaces', ' '.repeat(1_000_000), 7_813],
    ['alternating slashes and line ends', `!${'\n/'.repeat(100_000)}`, 100_001],
  ])('copes with a million of %s', (_name, text, expected) => {
    expect(Math.abs(count(text) - expected)).toBeLessThan(expected)
  })

  it('refuses an encoding that it does not have', () => {
    expect(() => gptTokenizer('p50k' as GptEncoding)).toThrow(expect.objectContaining({ code: 'config_invalid' }))
  })
})

describe('bytePairs', () => {
  it('joins the lowest rank first, the leftmost of equals, in short and long pieces alike', () => {
    const alphabet = ['a', 'b', 'c']
    // Every vocabulary begins with its bytes; the joints beyond them are arbitrary.
    const words = fc.uniqueArray(fc.string({ unit: fc.constantFrom(...alphabet), minLength: 2, maxLength: 6 }), {
      maxLength: 30,
    })
    fc.assert(
      fc.property(
        words,
        fc.string({ unit: fc.constantFrom(...alphabet), minLength: 1, maxLength: 200 }),
        (joints, text) => {
          const vocabulary = [...alphabet, ...joints]
          expect(bytePairs(vocabulary, /[^ ]+/gu)(text)).toBe(naive(vocabulary, text))
        },
      ),
    )
  })
})

/** The definition, word for word. */
function naive(vocabulary: readonly string[], text: string): number {
  if (vocabulary.includes(text)) return 1
  const parts = [...text]
  for (;;) {
    let lowest = Number.POSITIVE_INFINITY
    let at = -1
    for (let index = 0; index + 1 < parts.length; index += 1) {
      const rank = vocabulary.indexOf(`${parts[index]}${parts[index + 1]}`)
      if (rank !== -1 && rank < lowest) {
        lowest = rank
        at = index
      }
    }
    if (at === -1) return parts.length
    parts.splice(at, 2, `${parts[at]}${parts[at + 1]}`)
  }
}
