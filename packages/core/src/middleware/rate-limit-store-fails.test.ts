import { EventEmitter, once } from 'node:events'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { catching, emitWarning, hello, plain, statuses } from '../../test/rate-limited.js'
import type { TollgateError } from '../errors.js'
import type { RequestContext } from '../http/context.js'
import { middleware } from '../http/handler.js'
import type { LimitStore, Verdict } from '../stores/limit-store.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'
import { rateLimit } from './rate-limit.js'

afterEach(() => void vi.restoreAllMocks())

describe('when the store fails', () => {
  const failing = (take: LimitStore['take']): LimitStore => ({ ...memoryLimitStore(), take })
  const ways: [string, LimitStore['take']][] = [
    [
      'throws',
      () => {
        throw new Error('down')
      },
    ],
    ['rejects', () => Promise.reject(new Error('down'))],
    ['hangs', () => new Promise<Verdict>(() => {})],
  ]

  it.each(ways)('open: lets pass a store that %s, with a warning', async (_way, take) => {
    const warn = emitWarning()
    const { url } = await plain.start(rateLimit({ store: failing(take), storeTimeoutMs: 20 }), hello)
    expect(await statuses(url, 3)).toEqual([200, 200, 200])
    expect(warn).toHaveBeenCalledOnce()
    expect(warn.mock.calls[0]?.[0]).toMatch(/store failed/)
  })

  it.each(ways)('closed: answers 503 for a store that %s', async (_way, take) => {
    emitWarning()
    const errors: TollgateError[] = []
    const limiter = rateLimit({ store: failing(take), storeTimeoutMs: 20, onStoreError: 'closed' })
    const { url } = await plain.start(limiter, hello, catching(errors))
    const answer = await fetch(url)
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1'])
    expect(errors).toEqual([expect.objectContaining({ code: 'store_unavailable' })])
  })

  it('warns through the log of the request, if there is one', async () => {
    const warn = emitWarning()
    const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() }
    const logged = middleware('logged', (context: RequestContext) => {
      context.log = log
    })
    const { url } = await plain.start(logged, rateLimit({ store: failing(ways[0]?.[1] as LimitStore['take']) }), hello)
    expect(await statuses(url, 2)).toEqual([200, 200])
    expect(log.error).toHaveBeenCalledExactlyOnceWith({ err: expect.any(Error) }, 'the limit store failed')
    expect(warn).not.toHaveBeenCalled()
  })

  it('gives back what a late answer took for a request that was refused', async () => {
    emitWarning()
    const memory = memoryLimitStore()
    const released = new EventEmitter()
    let answer = () => {}
    const taken: Array<Parameters<LimitStore['take']>[0]> = []
    const store: LimitStore = {
      ...memory,
      take: (claims) =>
        new Promise((resolve) => {
          taken.push(claims)
          answer = () => resolve(memory.take(claims))
        }),
      release: (reservation) => {
        memory.release(reservation)
        released.emit('done', reservation)
      },
    }
    const { url } = await plain.start(rateLimit({ store, storeTimeoutMs: 10, onStoreError: 'closed' }), hello)
    expect(await statuses(url, 1)).toEqual([503])
    const done = once(released, 'done')
    answer()
    await done
    expect(taken).toHaveLength(1)
    expect(memory.peek(taken[0] ?? [])[0]?.remaining).toBe(10)
  })
})
