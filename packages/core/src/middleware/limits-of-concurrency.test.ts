import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { start } from '../../test/limited-model.js'
import type { LimitRule } from './limits.js'

describe('concurrency', () => {
  const places: LimitRule = { name: 'places', measure: 'concurrency', limit: 2 }

  it('is for requests that run, and free when they end or their caller leaves', async () => {
    const { ask, soon, url } = await start([places])
    const leaving = new AbortController()
    const left = fetch(url, {
      headers: { 'x-as': 'ada', 'x-model': 'small', 'x-wait': '5000' },
      signal: leaving.signal,
    })
    const running = ask({ model: 'small', wait: 200 })
    await soon('places', [2, 2])
    const refused = await ask()
    expect(refused).toMatchObject({ status: 429, body: { 'violated-policies': ['places'] } })
    expect(refused.headers.get('retry-after')).toBe('1')
    leaving.abort()
    await expect(left).rejects.toThrow()
    await running
    await soon('places', [0, 0])
    expect((await ask()).status).toBe(200)
  })

  it('lasts for as long as a request does, and no longer when its process has died', async () => {
    const { ask, used, soon, limiter } = await start([{ ...places, limit: 1, leaseMs: 1_000 }])
    const running = ask({ model: 'small', wait: 2_500 })
    await soon('places', [1, 1])
    await wait(1_800)
    expect(await used('places')).toEqual([1, 1])
    limiter.close()
    await wait(1_050)
    expect(await used('places')).toEqual([0, 0])
    await running
  })
})
