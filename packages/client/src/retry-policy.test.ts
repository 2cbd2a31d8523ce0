import { expect, it } from 'vitest'
import { backoffMs, isRetryableAnswer, spreadMs } from './retry-policy.js'

it('doubles to its ceiling, and keeps its jitter there', () => {
  const backoff = { baseMs: 500, maxMs: 8000 }
  for (let failures = 1; failures <= 40; failures++) {
    const full = Math.min(8000, 500 * 2 ** (failures - 1))
    const waits = Array.from({ length: 1000 }, () => backoffMs(failures, backoff, Math.random))
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(full / 2)
    expect(Math.max(...waits)).toBeLessThanOrEqual(full)
    expect(new Set(waits).size).toBeGreaterThan(900)
  }
})

it('spreads a wait that was told upwards only, by a tenth or a second at most', () => {
  expect(spreadMs(2000, () => 0)).toBe(2000)
  expect(spreadMs(2000, () => 0.5)).toBe(2100)
  expect(spreadMs(50_000, () => 0.5)).toBe(50_500)
})

it('lets the server decide', () => {
  const verdict = (text: string) => new Headers({ 'x-should-retry': text })
  expect(isRetryableAnswer(400, 'invalid_request', verdict('true'))).toBe(true)
  expect(isRetryableAnswer(503, 'overloaded', verdict('false'))).toBe(false)
  expect(isRetryableAnswer(503, 'overloaded', verdict('maybe'))).toBe(true)
  expect(isRetryableAnswer(502, 'upstream_credentials', new Headers())).toBe(false)
})
