import { describe, expect, it } from 'vitest'
import { cacheStoreCases } from '../testing/cache-store.js'
import type { CacheEntry } from './cache-store.js'
import { memoryCacheStore } from './memory-cache-store.js'

describe('memoryCacheStore', () => {
  for (const { name, run } of cacheStoreCases) it(name, () => run(() => memoryCacheStore()))

  it('drops the longest unused to stay within its bytes', () => {
    const store = memoryCacheStore({ maxBytes: 10_000 })
    for (let index = 0; index < 100; index += 1) {
      store.set(`k${index}`, entryOf(1_000))
      expect(store.get('k0')).toBeDefined()
      expect(store.bytes).toBeLessThanOrEqual(10_000)
    }
    expect(store.get('k50')).toBeUndefined()
    expect(store.get('k99')).toBeDefined()
  })

  it('counts keys and headers too', () => {
    const store = memoryCacheStore()
    store.set('k'.repeat(1_000), { ...entryOf(0), headers: { 'x-long': 'v'.repeat(1_000) } })
    expect(store.bytes).toBeGreaterThan(4_000)
    store.delete('k'.repeat(1_000))
    expect(store.bytes).toBe(0)
  })

  it('does not keep what is larger than all it may hold', () => {
    const store = memoryCacheStore({ maxBytes: 2_000 })
    store.set('small', entryOf(10))
    store.set('large', entryOf(5_000))
    expect(store.get('large')).toBeUndefined()
    expect(store.get('small')).toBeDefined()
  })

  it('expires by its clock, and gives the bytes back', () => {
    let nowMs = 1_000
    const store = memoryCacheStore({ now: () => nowMs })
    store.set('k', { ...entryOf(10), storedAt: 1_000, expiresAt: 2_000 })
    nowMs = 1_999
    expect(store.get('k')).toBeDefined()
    nowMs = 2_000
    expect(store.get('k')).toBeUndefined()
    expect(store.bytes).toBe(0)
  })

  it.each([{ maxBytes: 0 }, { max: 10 }, { now: 5 }])('refuses %j', (options) => {
    expect(() => memoryCacheStore(options as never)).toThrow(/memoryCacheStore/)
  })
})

function entryOf(bytes: number): CacheEntry {
  return { status: 200, headers: {}, body: new Uint8Array(bytes), storedAt: 0, expiresAt: Number.MAX_SAFE_INTEGER }
}
