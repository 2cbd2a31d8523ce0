import type { Target } from '../target.js'
import type { Awaitable } from './awaitable.js'

/** A stored answer. A snapshot: the store never hands out what it still changes. */
export interface CacheEntry {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
  /** Which model the answer came from, so that a hit can say so. */
  readonly target?: Target
  /** Milliseconds since the epoch. */
  readonly storedAt: number
  readonly expiresAt: number
}

/**
 * Keeps answers. Every key already contains tenant and principal. Bounded in bytes by itself; an entry may vanish at any time, and is
 * never returned after `expiresAt`.
 *
 * Conformance: `@tollgate/core/testing/cache-store`.
 */
export interface CacheStore {
  get(key: string): Awaitable<CacheEntry | undefined>
  set(key: string, entry: CacheEntry): Awaitable<void>
  delete(key: string): Awaitable<void>
  close(): Awaitable<void>
}
