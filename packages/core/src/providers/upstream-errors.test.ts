import { describe, expect, it } from 'vitest'
import { answerError, retryAfter, transportError } from './upstream-errors.js'

describe('retryAfter', () => {
  const now = () => Date.parse('2026-01-01T00:00:00Z')
  it.each<[string, Record<string, string>, number | undefined]>([
    ['seconds', { 'retry-after': '7' }, 7000],
    ['fractions of seconds', { 'retry-after': '0.25' }, 250],
    ['milliseconds before seconds', { 'retry-after': '7', 'retry-after-ms': '20.5' }, 20.5],
    ['no time at all', { 'retry-after-ms': '0' }, 0],
    ['an HTTP date', { 'retry-after': 'Thu, 01 Jan 2026 00:00:09 GMT' }, 9000],
    ['an RFC 850 date', { 'retry-after': 'Thursday, 01-Jan-26 00:00:09 GMT' }, 9000],
    ['a past date', { 'retry-after': 'Thu, 01 Jan 2015 00:00:00 GMT' }, undefined],
    ['a negative number', { 'retry-after': '-5' }, undefined],
    ['junk', { 'retry-after': 'soon' }, undefined],
    ['a week', { 'retry-after': '604800' }, 86_400_000],
    ['a number beyond all', { 'retry-after': '9'.repeat(40) }, undefined],
    ['nothing', {}, undefined],
  ])('%s', (_name, headers, expected) => {
    expect(retryAfter(headers, now)).toBe(expected)
  })
})

describe('answerError', () => {
  it('keeps the hint of a failing upstream', () => {
    const error = answerError('up', { status: 503, headers: { 'retry-after': '3' } })
    expect(error).toMatchObject({ code: 'upstream_failed', status: 502, headers: { 'retry-after': '3' } })
  })

  it('shows the words of the upstream only where the fault is the caller’s', () => {
    for (const status of [401, 402, 403, 408, 409, 418, 429, 500, 502, 503, 504, 529]) {
      expect(answerError('up', { status, headers: {}, message: 'private words' }).message).not.toContain('private')
    }
    for (const status of [400, 404, 413, 422]) {
      const error = answerError('up', { status, headers: {}, message: 'your words' })
      expect(error).toMatchObject({ status, message: expect.stringContaining('your words') })
    }
  })
})

describe('transportError', () => {
  it.each([
    ['ECONNREFUSED', 'upstream_failed'],
    ['ENOTFOUND', 'upstream_failed'],
    ['ECONNRESET', 'upstream_failed'],
    ['UND_ERR_SOCKET', 'upstream_failed'],
    ['UND_ERR_CONNECT_TIMEOUT', 'upstream_timeout'],
    ['UND_ERR_HEADERS_TIMEOUT', 'upstream_timeout'],
    ['UND_ERR_BODY_TIMEOUT', 'upstream_timeout'],
    ['UND_ERR_HEADERS_OVERFLOW', 'upstream_invalid'],
    ['UND_ERR_INVALID_ARG', 'internal'],
    [undefined, 'upstream_failed'],
  ])('%s is %s, and never tells the address', (code, expected) => {
    const error = transportError('up', Object.assign(new Error('connect 10.0.0.7:443'), { code }))
    expect(error.code).toBe(expected)
    expect(error.message).not.toMatch(/10\.0\.0\.7|443/)
  })
})
