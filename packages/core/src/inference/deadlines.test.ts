import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { deadlines } from './deadlines.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('deadlines', () => {
  it('expires each at its time, in any order of adding', () => {
    const waiting = deadlines()
    const expired: number[] = []
    const begin = Date.now()
    for (const at of [500, 100, 300, 100, 200]) waiting.add(begin + at, () => expired.push(Date.now() - begin))
    vi.advanceTimersByTime(1000)
    expect(expired).toEqual([100, 100, 200, 300, 500])
  })

  it('forgets what was taken back', () => {
    const waiting = deadlines()
    const expire = vi.fn()
    waiting.add(Date.now() + 100, expire)()
    vi.advanceTimersByTime(1000)
    expect(expire).not.toHaveBeenCalled()
    expect(vi.getTimerCount()).toBe(0)
  })

  it('keeps one timer for all', () => {
    const waiting = deadlines()
    for (let call = 0; call < 1000; call += 1) waiting.add(Date.now() + 60_000 + call, () => {})
    expect(vi.getTimerCount()).toBe(1)
    waiting.close()
    expect(vi.getTimerCount()).toBe(0)
  })

  it('can be added to while one expires', () => {
    const waiting = deadlines()
    const later = vi.fn()
    waiting.add(Date.now() + 100, () => waiting.add(Date.now() + 100, later))
    vi.advanceTimersByTime(199)
    expect(later).not.toHaveBeenCalled()
    vi.advanceTimersByTime(1)
    expect(later).toHaveBeenCalledOnce()
  })

  it('waits for what is further away than a timer can be', () => {
    const waiting = deadlines()
    const expire = vi.fn()
    waiting.add(Date.now() + 3_000_000_000, expire)
    vi.advanceTimersByTime(2_999_999_999)
    expect(expire).not.toHaveBeenCalled()
    vi.advanceTimersByTime(1)
    expect(expire).toHaveBeenCalledOnce()
  })
})
