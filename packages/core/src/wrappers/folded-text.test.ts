import { expect, it } from 'vitest'
import { foldedText } from './folded-text.js'
import { findAll, piiFinders, secretFinder } from './pii-patterns.js'
import { redaction } from './redaction.js'

const finders = [...Object.entries(piiFinders), ['secret', secretFinder] as const]
const redacted = (text: string) => redaction(finders, true).redact(text)

it.each([
  ['marks of no width', 'a\u200bb\u00adc\ufeff\ufe0f', 'abc'],
  ['wide letters, digits and signs', 'ＡＢ１２＠．', 'AB12@.'],
  ['digits of other scripts', '٤١ ४१ 𝟜𝟙', '41 41 41'],
  ['other blanks', 'a\u00a0b\u2009c\u3000d', 'a b c d'],
  ['dashes between numbers', '1–2 １‑２ (1)−(2)', '1-2 1-2 (1)-(2)'],
  ['the sign of an address in a URL', 'a%40b', 'a@b'],
])('reads %s', (_what, text, plain) => expect(foldedText(text)?.text).toBe(plain))

it('leaves a plain text, and dashes and words of others', () => {
  expect(foldedText('a-b 12 %41')).toBeUndefined()
  expect(foldedText('naïve 你好 a—b 1 – 2')).toBeUndefined()
})

it('knows where everything was', () => {
  const text = 'ü\u200b%40１x\u00ad\u00ady'
  const folded = foldedText(text)
  expect(folded?.text).toBe('ü@1xy')
  expect([0, 1, 2, 3, 4, 5].map((at) => folded?.origin(at))).toEqual([0, 2, 5, 6, 9, 10])
})

it.each([
  ['email', 'b\u200bob@exa\u00admple.com'],
  ['email', 'bob＠example.com'],
  ['email', 'bob%40example.com'],
  ['credit_card', '４１１１ １１１１ １１１１ １１１１'],
  ['credit_card', '4111\u200b1111\u200b1111\u200b1111'],
  ['credit_card', '4111\u20091111–1111‑1111'],
  ['credit_card', '٤١١١١١١١١١١١١١١١'],
  ['phone', '+1‑415‑555‑0123'],
  ['phone', '＋８１９０１２−１２３'],
  ['us_ssn', '123‑45–6789'],
  ['iban', 'DE89\u202f3704\u202f0044\u202f0532\u202f0130\u202f00'],
  ['ip', '１.１.１.１'],
  ['secret', 'ghp_\u200babcdefghijklmnopqrstuvwxyz0123456789'],
])('finds all of an %s in %s', (kind, value) => {
  for (const text of [value, `— é\u00a0${value}, and more\u200b —`]) {
    expect(findAll(text, finders).map(({ start, end, kind }) => [text.slice(start, end), kind])).toEqual([
      [value, kind],
    ])
  }
})

it('still finds what begins behind a mark of no width', () => {
  expect(redacted(`key\u200bsk-${'a'.repeat(20)}`)).toBe('key\u200b[secret_1]')
})

it('gives back what was written, mark for mark', () => {
  const text = 'Mail b\u00adob＠example.com or ４１１１ １１１１ １１１１ １１１１\u3002'
  const taken = redaction(
    finders.map(([kind, finder]) => [kind.toUpperCase(), finder] as const),
    true,
  )
  expect(taken.redact(text)).toBe('Mail [EMAIL_1] or [CREDIT_CARD_1]\u3002')
  expect(taken.restore(taken.redact(text))).toBe(text)
})
