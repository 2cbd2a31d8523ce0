import type { CacheEntry } from '../stores/cache-store.js'

/** The directives of a `Cache-Control` header, by lower-case name (RFC 9111, 5.2). Arguments without their quotes; '' if there is none. */
export type Directives = ReadonlyMap<string, string>

const none: Directives = new Map()

/**
 * Reads `Cache-Control`. What cannot be read is left out; of a directive given twice the first counts (RFC 9111, 4.2.1, lets one choose).
 */
export function cacheDirectives(header: string | readonly string[] | number | undefined): Directives {
  if (header === undefined || header === '') return none
  const text = typeof header === 'object' ? header.join(',') : String(header)
  const directives = new Map<string, string>()
  for (const [, name = '', quoted, token = ''] of text.matchAll(
    /(?:^|,)[ \t]*([\w!#$%&'*+.^`|~-]+)(?:=(?:"([^"]*)"|([^\s,"]*)))?[ \t]*(?=,|$)/g,
  )) {
    const key = name.toLowerCase()
    if (!directives.has(key)) directives.set(key, quoted ?? token)
  }
  return directives
}

/** A directive's seconds; `undefined` if it is absent, 0 if it cannot be read (RFC 9111, 4.2.1: then it counts as stale). */
export function seconds(directives: Directives, name: string): number | undefined {
  const value = directives.get(name)
  if (value === undefined) return undefined
  return /^\d{1,10}$/.test(value) ? Number(value) : 0
}

/** Is the entry young enough for this caller, and fresh for long enough (RFC 9111, 5.2.1)? */
export function satisfies(entry: CacheEntry, directives: Directives, now: number): boolean {
  if (directives.size === 0) return true
  const maxAge = seconds(directives, 'max-age')
  const minFresh = seconds(directives, 'min-fresh')
  return (
    (maxAge === undefined || now - entry.storedAt <= maxAge * 1_000) &&
    (minFresh === undefined || entry.expiresAt - now >= minFresh * 1_000)
  )
}
