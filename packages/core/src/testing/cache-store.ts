import assert from 'node:assert/strict'
import type { CacheEntry, CacheStore } from '../stores/cache-store.js'

/** One thing that every cache store must do. */
export interface CacheStoreCase {
  readonly name: string
  /** Rejects with an `AssertionError` if the store does not. `make` gives an empty store; the case closes it. */
  run(make: () => CacheStore | Promise<CacheStore>): Promise<void>
}

/**
 * The conformance of a `CacheStore`, as data for any test runner.
 *
 * @example for (const { name, run } of cacheStoreCases) it(name, () => run(() => memoryCacheStore()))
 */
export const cacheStoreCases: readonly CacheStoreCase[] = [
  storeCase('answers undefined for a key that was never set', async (store) => {
    assert.equal(await store.get('t/none'), undefined)
  }),
  storeCase('returns an entry as it was set: status, headers, body, times', async (store) => {
    const entry = entryOf(
      Uint8Array.from({ length: 256 }, (_, index) => index),
      {
        status: 203,
        headers: { 'content-type': 'application/json; charset=utf-8', 'x-text': 'a "quoted", value: é' },
      },
    )
    await store.set('t/whole', entry)
    assertEntry(await store.get('t/whole'), entry)
  }),
  storeCase('keeps which model answered, and its absence', async (store) => {
    const named = entryOf('{}', { target: { provider: 'onnx', model: 'iris', version: '2' } })
    await store.set('t/named', named)
    await store.set('t/unnamed', entryOf('{}'))
    assert.deepEqual({ ...(await store.get('t/named'))?.target }, { provider: 'onnx', model: 'iris', version: '2' })
    assert.equal((await store.get('t/unnamed'))?.target, undefined)
  }),
  storeCase('keeps an empty body', async (store) => {
    const entry = entryOf('')
    await store.set('t/empty', entry)
    assertEntry(await store.get('t/empty'), entry)
  }),
  storeCase('keeps a body of 256 KiB', async (store) => {
    const entry = entryOf(new Uint8Array(256 * 1024).fill(0x61))
    await store.set('t/large', entry)
    assertEntry(await store.get('t/large'), entry)
  }),
  storeCase('never returns an entry that has expired', async (store) => {
    const now = Date.now()
    await store.set('t/expired', entryOf('old', { storedAt: now - 2_000, expiresAt: now - 1_000 }))
    assert.equal(await store.get('t/expired'), undefined)
  }),
  storeCase('an expired entry does not leave an older one in its place', async (store) => {
    const now = Date.now()
    await store.set('t/replaced', entryOf('first'))
    await store.set('t/replaced', entryOf('second', { storedAt: now - 2_000, expiresAt: now - 1_000 }))
    assert.equal(await store.get('t/replaced'), undefined)
  }),
  storeCase('the last of two sets wins', async (store) => {
    await store.set('t/twice', entryOf('first', { headers: { 'x-only-first': '1' } }))
    const second = entryOf('second')
    await store.set('t/twice', second)
    assertEntry(await store.get('t/twice'), second)
  }),
  storeCase('deletes one entry and no other', async (store) => {
    await store.set('t/a', entryOf('a'))
    await store.set('t/b', entryOf('b'))
    await store.delete('t/a')
    await store.delete('t/never-set')
    assert.equal(await store.get('t/a'), undefined)
    assert.equal(text(await store.get('t/b')), 'b')
  }),
  storeCase('keys are told apart by every character', async (store) => {
    const keys = [
      't/k',
      'T/k',
      't/K',
      't/k ',
      ' t/k',
      't/',
      't',
      't/k/',
      't%2Fk',
      't*',
      't?',
      '__proto__',
      'constructor',
      'ключ',
      '鍵',
    ]
    for (const key of keys) await store.set(key, entryOf(`of ${key}`))
    for (const key of keys) assert.equal(text(await store.get(key)), `of ${key}`)
  }),
  storeCase('changing a body or headers after set changes nothing stored', async (store) => {
    const body = new TextEncoder().encode('stored')
    const headers: Record<string, string> = { 'content-type': 'application/json' }
    await store.set('t/in', { ...entryOf(''), body, headers })
    body.fill(0x78)
    headers['x-late'] = '1'
    const kept = await store.get('t/in')
    assert.equal(text(kept), 'stored')
    assert.deepEqual({ ...kept?.headers }, { 'content-type': 'application/json' })
  }),
  storeCase('changing a body that was returned changes nothing stored', async (store) => {
    await store.set('t/out', entryOf('stored'))
    const returned = await store.get('t/out')
    assert.ok(returned)
    returned.body.fill(0x78)
    try {
      ;(returned.headers as Record<string, string>)['x-late'] = '1'
    } catch {
      // Frozen is a way to keep the promise.
    }
    const again = await store.get('t/out')
    assert.equal(text(again), 'stored')
    assert.equal(again?.headers['x-late'], undefined)
  }),
  storeCase('many sets and gets at once each find their own', async (store) => {
    const keys = Array.from({ length: 100 }, (_, index) => `t/at-once-${index}`)
    await Promise.all(keys.map((key) => store.set(key, entryOf(key))))
    const found = await Promise.all(keys.map((key) => store.get(key)))
    assert.deepEqual(found.map(text), keys)
  }),
]

function storeCase(name: string, check: (store: CacheStore) => Promise<void>): CacheStoreCase {
  return {
    name,
    async run(make) {
      const store = await make()
      try {
        await check(store)
      } finally {
        await store.close()
      }
    },
  }
}

function entryOf(body: string | Uint8Array, over: Partial<CacheEntry> = {}): CacheEntry {
  const storedAt = Date.now()
  return {
    status: 200,
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? new TextEncoder().encode(body) : body,
    storedAt,
    expiresAt: storedAt + 60_000,
    ...over,
  }
}

function text(entry: CacheEntry | undefined): string | undefined {
  return entry === undefined ? undefined : new TextDecoder().decode(entry.body)
}

function assertEntry(actual: CacheEntry | undefined, expected: CacheEntry): void {
  assert.ok(actual, 'the entry is there')
  assert.equal(actual.status, expected.status)
  assert.deepEqual({ ...actual.headers }, { ...expected.headers })
  assert.ok(Buffer.from(actual.body).equals(expected.body), 'the body is the same, byte for byte')
  assert.equal(actual.storedAt, expected.storedAt)
  assert.equal(actual.expiresAt, expected.expiresAt)
}
