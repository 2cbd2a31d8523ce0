import type { IncomingMessage, ServerResponse } from 'node:http'
import { TollgateError } from '../errors.js'
import { isJsonType, jsonBody } from '../http/body.js'
import type { RequestContext } from '../http/context.js'
import { type Handler, middleware } from '../http/handler.js'
import { onClose } from '../http/observe.js'
import { recordUsage } from '../http/record-usage.js'
import { checkedOptions } from '../options.js'
import { answerWithin } from '../stores/answer-within.js'
import { isPromise } from '../stores/awaitable.js'
import type { CacheEntry } from '../stores/cache-store.js'
import { memoryCacheStore } from '../stores/memory-cache-store.js'
import { noUsage } from '../usage.js'
import { cacheDirectives, type Directives, satisfies, seconds } from './cache-directives.js'
import { flights, type Landing, type Leader } from './cache-flights.js'
import { cacheKey, scopeKey } from './cache-key.js'
import { type CacheOptions, cacheOptions } from './cache-options.js'
import { recordAnswer } from './cache-recorder.js'
import { isWhole, storableMs } from './cache-storable.js'

export type { CacheScope } from './cache-key.js'
export type { CacheOptions } from './cache-options.js'

/** Request headers that choose what is answered, at our routes and at the vendors' APIs. */
const usualKeyHeaders = ['accept', 'openai-beta', 'anthropic-version', 'anthropic-beta']

/** What HTTP caches between us and the caller are told: what is kept here is for this application alone. */
const outward = 'private, no-store'

/** A failing store is told of so often, not with every request. */
const warnEveryMs = 10_000

/**
 * Keeps whole JSON answers and gives them to exactly the same request again: same caller, same method, path and query, same JSON body
 * (whatever the order of its keys). Identical requests in flight wait for the first one's answer. A hit costs nothing and says so.
 * Mount it after `auth` (and limits and `cost`), before handlers whose answer depends on the request alone; never over routes that change
 * something. Handlers behind it read the body from `req.body` or `jsonBody`.
 *
 * Reads `principal`, `signal`, `log`; writes `cache`; on a hit records that nothing was used.
 *
 * @throws TollgateError what `jsonBody` throws; `not_found` (status 504) for `Cache-Control: only-if-cached` without an answer
 * @example app.post('/inference', auth({ … }), cost(), cache({ ttlMs: 300_000 }), inference({ service }))
 */
export function cache(options: CacheOptions = {}): Handler {
  const checked = checkedOptions('cache', cacheOptions, options)
  const { scope, anonymous, cacheable, nondeterministic, ttlMs, maxEntryBytes, name, now, onHit, storeTimeoutMs } =
    checked
  const store = checked.store ?? memoryCacheStore({ now })
  const methods: ReadonlySet<string> = new Set(checked.methods)
  const keyHeaders = [...new Set([...usualKeyHeaders, ...lowerCase(checked.keyHeaders)])].sort()
  const keepHeaders = [...new Set(['content-type', 'content-language', ...lowerCase(checked.keepHeaders)])]
  const ownStore = scope === 'principal'
  const variesBy = new Set([
    ...keyHeaders,
    'accept-encoding',
    'origin',
    ...(ownStore ? ['authorization', 'x-api-key'] : []),
  ])
  const rules = { ttlMs, maxEntryBytes, variesBy, ownStore }
  const inFlight = flights(checked.maxWaiters, checked.maxWaitMs)
  let warnAfter = 0

  const storeFailed = (context: RequestContext, error: unknown) => {
    if (performance.now() < warnAfter) return
    warnAfter = performance.now() + warnEveryMs
    const message = 'The cache store failed; requests go on without it.'
    if (context.log !== undefined) context.log.warn({ err: error }, message)
    else process.emitWarning(`${message} ${error instanceof Error ? error.message : String(error)}`, 'TollgateWarning')
  }

  return middleware('cache', (context, req, res) => {
    const directives = cacheDirectives(req.headers['cache-control'] ?? req.headers.pragma)
    const exchange = { context, req, res, directives, before: priorStatus(res) }
    if (!methods.has(req.method ?? '')) return bypass(exchange, 'fwd=method')
    if (directives.has('no-store')) return bypass(exchange, 'fwd=request')
    if (acceptsEvents(req) || req.headers.range !== undefined) return bypass(exchange, 'fwd=bypass')
    if (req.method === 'GET') return lookUp(exchange, undefined)
    if (!isJsonType(req.headers['content-type'])) return bypass(exchange, 'fwd=bypass; detail=not-json')
    const { body } = req as { body?: unknown }
    if (body !== undefined) return lookUp(exchange, body)
    return jsonBody(req).then((read) => lookUp(exchange, read))
  })

  function lookUp(exchange: Exchange, body: unknown): void | Promise<void> {
    const { context, req, directives } = exchange
    const { stream, temperature } = (body ?? {}) as { stream?: unknown; temperature?: unknown }
    if (stream === true) return bypass(exchange, 'fwd=bypass; detail=stream')
    if (!nondeterministic && typeof temperature === 'number' && temperature > 0) {
      return bypass(exchange, 'fwd=bypass; detail=temperature')
    }
    if (cacheable !== undefined && !cacheable(req, body)) return bypass(exchange, 'fwd=bypass')
    const among = scopeKey(scope, anonymous, context, req)
    if (among === undefined) return bypass(exchange, 'fwd=bypass; detail=no-principal')
    const key = cacheKey(`${name}:${among}`, context, req, keyHeaders, body)
    if (key === undefined) return bypass(exchange, 'fwd=bypass; detail=body')
    const asked: Asked = { ...exchange, key }
    if (directives.has('no-cache') || seconds(directives, 'max-age') === 0) {
      refuseIfOnlyCached(exchange, 'fwd=request')
      return run(asked, undefined, 'fwd=request')
    }
    let found: CacheEntry | undefined | Promise<CacheEntry | undefined>
    try {
      found = store.get(key)
    } catch (error) {
      return withoutStore(asked, error)
    }
    if (!isPromise(found)) return settle(asked, found)
    return answerWithin(found, storeTimeoutMs).then(
      (entry) => settle(asked, entry),
      (error: unknown) => withoutStore(asked, error),
    )
  }

  function settle(asked: Asked, entry: CacheEntry | undefined): void | Promise<void> {
    if (entry !== undefined && satisfies(entry, asked.directives, now())) return answer(asked, entry, 'hit')
    refuseIfOnlyCached(asked, 'fwd=uri-miss')
    const joined = inFlight.join(asked.key, asked.context)
    if (joined === 'alone') return run(asked, undefined, 'fwd=uri-miss')
    if (!isPromise(joined)) return run(asked, joined, 'fwd=uri-miss')
    return joined.then(
      (landing) => land(asked, landing),
      (reason: unknown) => {
        // A caller that has left gets no answer; a deadline has to be told.
        if (!asked.res.destroyed) throw reason
      },
    )
  }

  function land(asked: Asked, landing: Landing): void {
    if (landing === 'alone') run(asked, undefined, 'fwd=uri-miss')
    else if ('leader' in landing) run(asked, landing.leader, 'fwd=uri-miss')
    else answer(asked, landing.entry, 'collapsed')
  }

  /** Lets the handler answer, and keeps what it says. */
  function run({ context, req, res, key, before }: Asked, leader: Leader | undefined, forward: string): void {
    context.cache = 'miss'
    // What the handler says of storing must be told from what was preset for all answers (by security headers, say).
    const preset = res.getHeader('cache-control')
    res.removeHeader('cache-control')
    let keepMs = 0
    let callerLeft = false
    onClose(req, res, ({ aborted }) => {
      callerLeft = aborted
      if (aborted) leader?.failed()
    })
    recordAnswer(res, maxEntryBytes, {
      head() {
        const own = res.getHeader('cache-control')
        keepMs = storableMs(res, own === undefined ? undefined : String(own), rules)
        if (own === undefined) res.setHeader('cache-control', preset ?? outward)
        const stored = keepMs > 0 ? '; stored' : ''
        res.setHeader('cache-status', status(before, `${forward}; fwd-status=${res.statusCode}${stored}`))
        return keepMs > 0
      },
      ended(body) {
        const whole = body !== undefined && isWhole(body, res, callerLeft || onHit !== undefined)
        if (!whole) {
          if (res.statusCode === 200 && !callerLeft) leader?.unshareable()
          else leader?.failed()
          return
        }
        const storedAt = now()
        const { target } = context
        const entry: CacheEntry = {
          status: res.statusCode,
          headers: keptHeaders(res),
          body,
          storedAt,
          expiresAt: storedAt + keepMs,
          ...(target === undefined ? {} : { target }),
        }
        try {
          const kept = store.set(key, entry)
          if (isPromise(kept)) kept.then(undefined, (error: unknown) => storeFailed(context, error))
        } catch (error) {
          storeFailed(context, error)
        }
        leader?.landed(entry)
      },
    })
  }

  function answer({ context, req, res, before }: Asked, entry: CacheEntry, outcome: 'hit' | 'collapsed'): void {
    if (res.destroyed) return
    context.cache = outcome
    // Tells cost, limits and metrics that nothing was used, before the answer is put together. A handler that named no model on the miss has
    // none now: the body's word for it may be anything, and would become a label.
    recordUsage(req, { ...(entry.target ?? { model: '' }), usage: noUsage })
    const body = onHit === undefined ? entry.body : rewritten(entry.body, context)
    const nowMs = now()
    const ttl = Math.floor((entry.expiresAt - nowMs) / 1_000)
    res.setHeader('cache-status', status(before, outcome === 'hit' ? `hit; ttl=${ttl}` : 'fwd=uri-miss; collapsed'))
    res.setHeader('age', Math.max(0, Math.floor((nowMs - entry.storedAt) / 1_000)))
    if (!res.hasHeader('cache-control')) res.setHeader('cache-control', outward)
    res.writeHead(entry.status, { ...entry.headers, 'content-length': body.byteLength })
    res.end(body)
  }

  function rewritten(stored: Uint8Array, context: RequestContext): Buffer {
    const text = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength).toString('utf8')
    return Buffer.from(JSON.stringify(onHit?.(JSON.parse(text), context) ?? null))
  }

  function bypass(exchange: Exchange, why: string): void {
    refuseIfOnlyCached(exchange, why)
    exchange.context.cache = 'bypass'
    exchange.res.setHeader('cache-status', status(exchange.before, why))
  }

  function withoutStore(asked: Asked, error: unknown): void {
    storeFailed(asked.context, error)
    bypass(asked, 'fwd=bypass; detail=store')
  }

  function refuseIfOnlyCached({ directives, before }: Exchange, why: string): void {
    if (!directives.has('only-if-cached')) return
    // RFC 9111, 5.2.1.7.
    throw new TollgateError('not_found', 'There is no cached answer, and none other was asked for (only-if-cached).', {
      status: 504,
      headers: { 'cache-status': status(before, why) },
    })
  }

  function keptHeaders(res: ServerResponse): Record<string, string> {
    const kept: Record<string, string> = {}
    for (const header of keepHeaders) {
      const value = res.getHeader(header)
      if (value !== undefined) kept[header] = String(value)
    }
    return kept
  }

  // RFC 9211: our member comes last in the list.
  function status(before: string | undefined, parameters: string): string {
    return before === undefined ? `${name}; ${parameters}` : `${before}, ${name}; ${parameters}`
  }
}

/** A request as the cache sees it. */
interface Exchange {
  readonly context: RequestContext
  readonly req: IncomingMessage
  readonly res: ServerResponse
  readonly directives: Directives
  /** `Cache-Status` of caches mounted before this one. */
  readonly before: string | undefined
}

interface Asked extends Exchange {
  readonly key: string
}

function acceptsEvents({ headers }: IncomingMessage): boolean {
  return headers.accept?.includes('text/event-stream') ?? false
}

function priorStatus(res: ServerResponse): string | undefined {
  const prior = res.getHeader('cache-status')
  return prior === undefined ? undefined : String(prior)
}

function lowerCase(names: readonly string[]): string[] {
  return names.map((name) => name.toLowerCase())
}
