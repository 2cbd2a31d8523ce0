import { hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { RequestContext } from '../http/context.js'
import { urlOf } from '../http/route-template.js'
import { type Principal, principalKey } from '../principal.js'

/**
 * Among whom an answer is shared. `principal`: the same subject of the same tenant, with the same tier, scopes and models. `tenant`: everyone of
 * the tenant with the same tier, scopes and models. A function: whoever it returns the same string for; `undefined` bypasses the cache.
 */
export type CacheScope =
  | 'principal'
  | 'tenant'
  | ((context: RequestContext, req: IncomingMessage) => string | undefined)

/**
 * The part of the key that keeps callers apart; `undefined` where there is nobody to keep apart. Each kind has a beginning of its own, so
 * that none can be made to look like another.
 */
export function scopeKey(
  scope: CacheScope,
  anonymous: 'bypass' | 'share',
  context: RequestContext,
  req: IncomingMessage,
): string | undefined {
  if (typeof scope === 'function') {
    const own = scope(context, req)
    return own === undefined || !isWellFormed(own) ? undefined : `f:${encodeURIComponent(own)}`
  }
  const { principal } = context
  if (principal === undefined) return anonymous === 'share' && !hasCredentials(req) ? 'a:' : undefined
  return scope === 'principal' ? `p:${principalKey(principal)}` : `t:${encodeURIComponent(principal.tenant)}`
}

// What a caller may see can depend on these, so an answer made for more rights is not given to fewer.
function rightsOf(principal: Principal | undefined): unknown {
  return principal === undefined
    ? null
    : [principal.tier ?? null, [...principal.scopes].sort(), principal.models ?? null]
}

// Credentials that no `auth` looked at: whoever it is, it is not nobody.
function hasCredentials({ headers }: IncomingMessage): boolean {
  return headers.authorization !== undefined || headers.cookie !== undefined || headers['x-api-key'] !== undefined
}

/**
 * The key of a request: its scope in clear, then a digest of everything that the answer may depend on. `undefined` if the body cannot be
 * written canonically (too deep, too large, not JSON).
 */
export function cacheKey(
  scope: string,
  context: RequestContext,
  req: IncomingMessage,
  keyHeaders: readonly string[],
  body: unknown,
): string | undefined {
  const parts: unknown[] = [req.method ?? '', req.headers.host ?? '', urlOf(req), rightsOf(context.principal)]
  for (const name of keyHeaders) parts.push(req.headers[name] ?? null)
  parts.push(body === undefined ? null : [body])
  const text = canonical(parts)
  // Hashing writes UTF-8, where every lone surrogate becomes U+FFFD: two texts would share a key.
  if (text === undefined || !isWellFormed(text)) return undefined
  return `${scope}:${hash('sha256', text, 'base64url')}`
}

/** Deeper than any API's requests; and far from the end of the stack. */
const maxDepth = 64
/** Characters. A body may be larger than this where the host's own parser let it. */
const maxLength = 4 * 1024 * 1024

/**
 * One string per JSON value, whatever the order of an object's keys; different values never share one (texts carry their length, objects
 * and arrays their count, so nothing in a text can look like structure). Not JSON itself: escaping texts would double the time.
 */
function canonical(value: unknown): string | undefined {
  const out = { text: '' }
  return write(out, value, 0) ? out.text : undefined
}

function write(out: { text: string }, value: unknown, depth: number): boolean {
  switch (typeof value) {
    case 'string':
      out.text += `s${value.length}:${value}`
      return out.text.length <= maxLength
    case 'number':
      // -0 and 0 are one number to every reader of JSON; NaN and Infinity cannot come from it.
      if (!Number.isFinite(value)) return false
      out.text += `n${value};`
      return true
    case 'boolean':
      out.text += value ? 't' : 'f'
      return true
    case 'object':
      break
    default:
      return false
  }
  if (value === null) {
    out.text += 'z'
    return true
  }
  if (depth >= maxDepth || out.text.length > maxLength) return false
  if (Array.isArray(value)) {
    out.text += `a${value.length}:`
    for (const item of value) if (!write(out, item, depth + 1)) return false
    return true
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return false
  const names = Object.keys(value).sort()
  out.text += `o${names.length}:`
  for (const name of names) {
    out.text += `${name.length}:${name}`
    if (!write(out, (value as Record<string, unknown>)[name], depth + 1)) return false
  }
  return true
}

// In every Node we run on, and free for texts of one byte per character; not yet in TypeScript's `es2023`.
function isWellFormed(text: string): boolean {
  return (text as unknown as { isWellFormed(): boolean }).isWellFormed()
}
