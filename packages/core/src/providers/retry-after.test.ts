import { describe, expect, it } from 'vitest'
import { retryAfter, windowReset } from './retry-after.js'

const now = () => Date.parse('2026-01-01T00:00:00Z')
const day = 86_400_000

describe('retryAfter', () => {
  it.each<[string, Record<string, string | string[]>, number | undefined]>([
    ['seconds', { 'retry-after': '7' }, 7000],
    ['no seconds', { 'retry-after': '0' }, 0],
    ['fractions of seconds', { 'retry-after': '0.25' }, 250],
    ['blanks around', { 'retry-after': ' 7 ' }, 7000],
    ['milliseconds before seconds', { 'retry-after': '7', 'retry-after-ms': '20.5' }, 20.5],
    ["Azure's milliseconds", { 'retry-after': '7', 'x-ms-retry-after-ms': '30' }, 30],
    ['no time at all', { 'retry-after-ms': '0' }, 0],
    ['milliseconds that are none', { 'retry-after': '7', 'retry-after-ms': 'soon' }, 7000],
    ['an HTTP date', { 'retry-after': 'Thu, 01 Jan 2026 00:00:09 GMT' }, 9000],
    ['an RFC 850 date', { 'retry-after': 'Thursday, 01-Jan-26 00:00:09 GMT' }, 9000],
    ['a date of asctime, which is UTC', { 'retry-after': 'Thu Jan  1 00:00:09 2026' }, 9000],
    [
      'a date by the clock of the upstream',
      { 'retry-after': 'Thu, 01 Jan 2026 05:00:09 GMT', date: 'Thu, 01 Jan 2026 05:00:00 GMT' },
      9000,
    ],
    ['a past date', { 'retry-after': 'Thu, 01 Jan 2015 00:00:00 GMT' }, undefined],
    ['a past year of two digits', { 'retry-after': 'Sunday, 06-Nov-94 08:49:37 GMT' }, undefined],
    ['a date far away', { 'retry-after': 'Thu, 01 Jan 2099 00:00:00 GMT' }, day],
    ['another form of a date', { 'retry-after': '2027-01-01T00:00:00Z' }, undefined],
    ['a negative number', { 'retry-after': '-5' }, undefined],
    ['junk', { 'retry-after': 'soon' }, undefined],
    ['junk with a number in it', { 'retry-after': 'banana 2099' }, undefined],
    ['an exponent', { 'retry-after': '1e3' }, undefined],
    ['hexadecimal', { 'retry-after': '0x10' }, undefined],
    ['nothing in the field', { 'retry-after': '' }, undefined],
    ['a week', { 'retry-after': '604800' }, day],
    // Never sooner than told.
    ['a number beyond all', { 'retry-after': '9'.repeat(40) }, day],
    ['the field twice: the longer', { 'retry-after': ['3', '9'] }, 9000],
    ['nothing', {}, undefined],
  ])('%s', (_name, headers, expected) => {
    expect(retryAfter(headers, now)).toBe(expected)
  })
})

describe('windowReset', () => {
  it.each<[string, Record<string, string>, number | undefined]>([
    [
      "OpenAI's, of what is used up",
      { 'x-ratelimit-remaining-tokens': '0', 'x-ratelimit-reset-tokens': '6m0s' },
      360_000,
    ],
    [
      'fractions and milliseconds',
      { 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '1.5s20ms' },
      1_520,
    ],
    [
      'the later of two',
      {
        'x-ratelimit-remaining-tokens': '0',
        'x-ratelimit-reset-tokens': '20ms',
        'x-ratelimit-remaining-requests': '0',
        'x-ratelimit-reset-requests': '8s',
      },
      8_000,
    ],
    ['one that is not used up', { 'x-ratelimit-remaining-tokens': '5', 'x-ratelimit-reset-tokens': '6m0s' }, undefined],
    ['one without a rest', { 'x-ratelimit-reset-tokens': '6m0s' }, undefined],
    ['seconds', { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '3' }, 3_000],
    ['seconds since the epoch', { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '1767225604' }, 4_000],
    ['milliseconds since the epoch', { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '1767225604500' }, 4_500],
    [
      "Anthropic's",
      { 'anthropic-ratelimit-tokens-remaining': '0', 'anthropic-ratelimit-tokens-reset': '2026-01-01T00:00:05Z' },
      5_000,
    ],
    ['a time that is past', { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '1467225604' }, undefined],
    ['one far away', { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '9999999999' }, day],
    [
      'junk',
      { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': 'soon', 'anthropic-ratelimit-tokens-reset': 'x' },
      undefined,
    ],
    ['nothing', {}, undefined],
  ])('%s', (_name, headers, expected) => {
    expect(windowReset(headers, now)).toBe(expected)
  })
})
