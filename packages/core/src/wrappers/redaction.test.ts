import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { piiFinders, secretFinder } from './pii-patterns.js'
import { redaction } from './redaction.js'

const finders = [
  ...Object.entries(piiFinders).map(([kind, finder]) => [kind.toUpperCase(), finder] as const),
  ['SECRET', secretFinder] as const,
]

const values = [
  ...['alice@example.com', 'bob@example.org', '+49 30 1234567', '4111 1111 1111 1111', 'DE89370400440532013000'],
  ...['192.168.0.1', '123-45-6789', `sk-${'aB3'.repeat(16)}`],
]

/** Texts in which there is something to find, and what looks like a placeholder. */
const tellingText = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        ...values,
        ...['[EMAIL_1]', '[LITERAL_1]', '[A_', '_1]', '[', ']'],
        ...[' ', '\n', '"', '\\', '🙂', '1', '-', '@'],
      ),
      fc.string({ unit: 'binary', maxLength: 8 }),
    ),
    { maxLength: 24 },
  )
  .map((pieces) => pieces.join(''))

describe('redaction', () => {
  it('has one placeholder for one value', () => {
    const { redact, restore, found, longest } = redaction(finders, true)
    expect(redact('alice@example.com, bob@example.org, alice@example.com')).toBe('[EMAIL_1], [EMAIL_2], [EMAIL_1]')
    expect(redact('call +49 30 1234567 or bob@example.org')).toBe('call [PHONE_1] or [EMAIL_2]')
    expect(restore('[EMAIL_2] [EMAIL_3] [PHONE_1]')).toBe('bob@example.org [EMAIL_3] +49 30 1234567')
    expect(found()).toEqual(['email', 'phone'])
    expect(longest()).toBe('[EMAIL_1]'.length)
  })

  it('does not take what the caller wrote for a placeholder of its own', () => {
    const { redact, restore, found } = redaction(finders, true)
    const text = 'what is [EMAIL_1], alice@example.com?'
    expect(redact(text)).toBe('what is [LITERAL_1], [EMAIL_1]?')
    expect(restore(redact(text))).toBe(text)
    expect(found()).toEqual(['email'])
    // Nothing is put back: what came back from an earlier turn stays what it was.
    expect(redaction(finders, false).redact(text)).toBe('what is [EMAIL_1], [EMAIL_1]?')
  })

  it('gives back every text as it was', () => {
    fc.assert(
      fc.property(fc.array(tellingText, { maxLength: 4 }), (texts) => {
        const { redact, restore } = redaction(finders, true)
        expect(texts.map(redact).map(restore)).toEqual(texts)
      }),
      { numRuns: 2_000 },
    )
  })

  it('leaves nothing to find, whatever stands around it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...values, 'and', '12', '"', '\\n', '(', '].'), { maxLength: 12 }),
        (words) => {
          const redacted = redaction(finders, true).redact(words.join(' '))
          for (const value of values) expect(redacted).not.toContain(value)
        },
      ),
      { numRuns: 2_000 },
    )
  })
})
