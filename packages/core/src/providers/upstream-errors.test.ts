import { describe, expect, it } from 'vitest'
import { answerError, transportError } from './upstream-errors.js'

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
