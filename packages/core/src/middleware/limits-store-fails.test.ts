import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { start } from '../../test/limited-model.js'
import type { LimitStore } from '../stores/limit-store.js'
import { memoryLimitStore } from '../stores/memory-limit-store.js'

describe('a store that fails', () => {
  const broken = (fail: () => unknown): LimitStore => ({ ...memoryLimitStore(), take: fail as LimitStore['take'] })
  const failures: ReadonlyArray<readonly [string, () => unknown]> = [
    ['rejects', async () => Promise.reject(new Error('redis.internal is down'))],
    [
      'throws',
      () => {
        throw new Error('redis.internal is down')
      },
    ],
    ['never answers', () => new Promise(() => {})],
  ]

  it.each(failures)('and %s: each rule has its own policy', async (_name, fail) => {
    const options = { store: broken(fail), storeTimeoutMs: 50, instances: 2 }
    const open = await start([{ name: 'r', measure: 'requests', limit: 1 }], options)
    for (let count = 0; count < 3; count += 1) expect((await open.ask()).status).toBe(200)
    expect(open.events[0]).toMatchObject({ type: 'store-failed', policy: 'open' })
    const local = await start([{ name: 'r', measure: 'requests', limit: 4, onStoreError: 'local' }], options)
    const statuses = [await local.ask(), await local.ask(), await local.ask()].map(({ status }) => status)
    expect(statuses).toEqual([200, 200, 429])
    const closed = await start([{ name: 'r', measure: 'money', limit: 4, calendar: 'day' }], options)
    const refused = await closed.ask()
    expect(refused).toMatchObject({ status: 503, body: { code: 'store_unavailable' } })
    expect(JSON.stringify(refused.body)).not.toContain('redis')
  })

  it('is asked again a second later', async () => {
    const memory = memoryLimitStore()
    let down = true
    const store = { ...memory, take: (claims: never) => (down ? Promise.reject(new Error('no')) : memory.take(claims)) }
    const { ask } = await start([{ name: 'r', measure: 'requests', limit: 1 }], { store: store as LimitStore })
    await ask()
    down = false
    await wait(1_050)
    expect([(await ask()).status, (await ask()).status]).toEqual([200, 429])
  })

  it('repeats a refusal for a moment without asking, and never lets more through', async () => {
    const memory = memoryLimitStore()
    let asked = 0
    const store = {
      ...memory,
      take: async (claims: never) => {
        asked += 1
        return memory.take(claims)
      },
    }
    const { ask } = await start([{ name: 'r', measure: 'requests', limit: 1 }], { store: store as LimitStore })
    const statuses: number[] = []
    for (let count = 0; count < 20; count += 1) statuses.push((await ask()).status)
    expect(statuses.filter((status) => status === 200)).toHaveLength(1)
    expect(asked).toBeLessThan(20)
  })
})
