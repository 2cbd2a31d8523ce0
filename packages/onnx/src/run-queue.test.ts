import { isTollgateError } from '@tollgate/core/errors'
import { describe, expect, it } from 'vitest'
import { runQueue } from './run-queue.js'

describe('runQueue', () => {
  it('serves by priority, then in order of arrival', () => {
    const queue = runQueue<{ name: string; priority: number; rows: number }>({ maxQueuedRequests: 9, maxQueuedRows: 9 })
    for (const [name, priority] of [
      ['a', 0],
      ['b', 1],
      ['c', 0],
      ['d', 1],
      ['e', -1],
    ] as const) {
      queue.push({ name, priority, rows: 1 })
    }
    const order = Array.from({ length: 5 }, () => queue.shift()?.name).join('')
    expect(order).toBe('bdace')
    expect(queue.shift()).toBeUndefined()
    expect(queue.rows).toBe(0)
  })

  it('refuses what is over a limit and counts rows back', () => {
    const queue = runQueue<{ priority: number; rows: number }>({ maxQueuedRequests: 2, maxQueuedRows: 10 })
    const first = { priority: 0, rows: 6 }
    queue.push(first)
    const refusal = (rows: number) => {
      try {
        queue.push({ priority: 0, rows })
        return undefined
      } catch (error) {
        return error
      }
    }
    const refused = refusal(5)
    expect(isTollgateError(refused, 'overloaded') && refused.retryAfterMs).toBe(1000)
    queue.push({ priority: 0, rows: 4 })
    expect(isTollgateError(refusal(0), 'overloaded')).toBe(true)
    queue.remove(first)
    queue.remove(first)
    expect([queue.requests, queue.rows]).toEqual([1, 4])
  })
})
