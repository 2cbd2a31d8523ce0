import { LRUCache } from 'lru-cache'
import { z } from 'zod'
import { checkedOptions, functionOption } from '../options.js'
import type { CacheEntry, CacheStore } from './cache-store.js'

export interface MemoryCacheStoreOptions {
  /** The most that all entries weigh together: bodies, keys, headers and 256 bytes each for the rest. Default 64 MiB. */
  readonly maxBytes?: number | undefined
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly now?: (() => number) | undefined
}

/** A {@link CacheStore} in this process's memory. */
export interface MemoryCacheStore extends CacheStore {
  get(key: string): CacheEntry | undefined
  set(key: string, entry: CacheEntry): void
  delete(key: string): void
  close(): void
  /** What the entries weigh now, at most `maxBytes`. */
  readonly bytes: number
}

const memoryCacheStoreOptions = z.strictObject({
  maxBytes: z
    .int()
    .min(1_024)
    .default(64 * 1024 * 1024),
  now: functionOption<() => number>().default(() => Date.now),
})

/** An entry's objects, beside what is counted: generous, as it is a bound. */
const entryOverheadBytes = 256

/**
 * Keeps answers in memory, bounded in bytes: the longest unused go first. An entry over `maxBytes` is not kept. Expiry is looked at when an
 * entry is asked for; there is no timer. Bodies are copied in and out (below a microsecond for 1 KB), so nobody can change a stored one.
 *
 * @throws TollgateError `config_invalid`
 * @example cache({ store: memoryCacheStore({ maxBytes: 256 * 1024 * 1024 }) })
 */
export function memoryCacheStore(options: MemoryCacheStoreOptions = {}): MemoryCacheStore {
  const { maxBytes, now } = checkedOptions('memoryCacheStore', memoryCacheStoreOptions, options)
  const entries = new LRUCache<string, CacheEntry>({ maxSize: maxBytes, sizeCalculation: weigh })
  return {
    get(key) {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      if (entry.expiresAt <= now()) {
        entries.delete(key)
        return undefined
      }
      return { ...entry, body: Buffer.from(entry.body) }
    },
    set(key, entry) {
      if (entry.expiresAt <= now()) {
        entries.delete(key)
        return
      }
      const { status, headers, body, target, storedAt, expiresAt } = entry
      entries.set(key, {
        status,
        headers: Object.freeze({ ...headers }),
        // Not `Buffer.from`: a small buffer would keep its whole pool alive.
        body: new Uint8Array(body),
        ...(target === undefined ? {} : { target: Object.freeze({ ...target }) }),
        storedAt,
        expiresAt,
      })
    },
    delete(key) {
      entries.delete(key)
    },
    close() {
      entries.clear()
    },
    get bytes() {
      return entries.calculatedSize
    },
  }
}

function weigh(entry: CacheEntry, key: string): number {
  let bytes = entryOverheadBytes + entry.body.byteLength + 2 * key.length
  for (const [name, value] of Object.entries(entry.headers)) bytes += 2 * (name.length + value.length)
  const { target } = entry
  if (target !== undefined) {
    bytes += 2 * (target.provider.length + target.model.length + (target.version?.length ?? 0))
  }
  return bytes
}
