import type { ServerResponse } from 'node:http'
import { isJsonType } from '../http/body.js'
import { cacheDirectives, seconds } from './cache-directives.js'

export interface StorableRules {
  readonly ttlMs: number
  readonly maxEntryBytes: number
  /** Request headers that an answer may vary by, in lower case. */
  readonly variesBy: ReadonlySet<string>
  /** The store is the caller's alone, so what is `private` may go in. */
  readonly ownStore: boolean
}

/**
 * How many milliseconds an answer may be kept, by its status and headers; 0 is not at all. Kept is a 200 with JSON, without cookies, whose
 * handler did not forbid it, and that does not depend on more than the key holds.
 *
 * @param cacheControl what the handler itself said, apart from what was set before it
 */
export function storableMs(res: ServerResponse, cacheControl: string | undefined, rules: StorableRules): number {
  if (res.statusCode !== 200 || !isJsonType(res.getHeader('content-type')) || res.hasHeader('set-cookie')) return 0
  const encoding = res.getHeader('content-encoding')
  if (encoding !== undefined && encoding !== 'identity') return 0
  if (Number(res.getHeader('content-length') ?? 0) > rules.maxEntryBytes) return 0
  if (!coversVary(String(res.getHeader('vary') ?? ''), rules.variesBy)) return 0
  if (cacheControl === undefined) return rules.ttlMs
  const directives = cacheDirectives(cacheControl)
  if (directives.has('no-store') || directives.has('no-cache')) return 0
  if (directives.has('private') && !rules.ownStore) return 0
  const freshSeconds = seconds(directives, 's-maxage') ?? seconds(directives, 'max-age')
  return freshSeconds === undefined ? rules.ttlMs : Math.min(rules.ttlMs, freshSeconds * 1_000)
}

function coversVary(vary: string, variesBy: ReadonlySet<string>): boolean {
  if (vary === '') return true
  return vary.split(',').every((name) => variesBy.has(name.trim().toLowerCase()))
}

/**
 * Is this the whole answer that its handler meant? Its length is what was announced; with `parse` (its caller left, so it may be half; or
 * somebody will read it) it is JSON too.
 */
export function isWhole(body: Buffer, res: ServerResponse, parse: boolean): boolean {
  const length = res.getHeader('content-length')
  if (length !== undefined && Number(length) !== body.length) return false
  if (!parse) return true
  try {
    JSON.parse(body.toString('utf8'))
    return true
  } catch {
    return false
  }
}
