import fc from 'fast-check'
import { expect, it } from 'vitest'
import { parseRateLimit } from './rate-limit.js'

const parse = (headers: Record<string, string>) => parseRateLimit(new Headers(headers))

it('joins what is left with what is allowed, the tightest policy first', () => {
  expect(
    parse({
      'ratelimit-policy':
        '"rpm";q=600;w=60, "tpm";q=90000;w=60;tollgate-unit="tokens", "day";q=5;qu="requests";pk=:YQ==:',
      ratelimit: '"rpm";r=300;t=7,"tpm";r=0; t=9',
    }),
  ).toEqual({
    policies: [
      { name: 'tpm', limit: 90_000, windowMs: 60_000, unit: 'tokens', remaining: 0, resetMs: 9000 },
      { name: 'rpm', limit: 600, windowMs: 60_000, remaining: 300, resetMs: 7000 },
      { name: 'day', limit: 5, unit: 'requests' },
    ],
  })
})

it('reads one header without the other, and quoted quotes', () => {
  expect(parse({ ratelimit: '"a \\"b\\"";r=1;t=2' })).toEqual({
    policies: [{ name: 'a "b"', remaining: 1, resetMs: 2000 }],
  })
  expect(parse({})).toBeUndefined()
})

it.each(['limit=5, remaining=1, reset=2', '"open', '"a";r=1 "b";r=2', '"a";r=1,', 'a;r=1', '"a";r=1.5', '"a";r='])(
  'ignores a malformed field whole: %s',
  (ratelimit) => {
    expect(parse({ ratelimit })).toBeUndefined()
  },
)

it('throws for no header', () => {
  const character = fc.constantFrom(...'"\\;=,.:ab1 -')
  fc.assert(
    fc.property(fc.string({ unit: character }), (text) => {
      parse({ ratelimit: text, 'ratelimit-policy': text })
    }),
  )
})
