import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type ErrorCode, TollgateError } from '../errors.js'
import type { Principal } from '../principal.js'
import type { Target } from '../target.js'
import type { Usage } from '../usage.js'
import { onClose } from './observe.js'

/** The least of a logger that routes and handlers may count on; pino's child loggers fit. */
export interface Log {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

/** In which words errors are told to this caller. */
export type Dialect = 'problem' | 'openai' | 'anthropic'

/** How the cache took part. */
export type CacheOutcome = 'hit' | 'miss' | 'bypass' | 'collapsed'

/**
 * Everything that is known of one request, made by whichever middleware comes first and kept on `req` under a `Symbol.for` key, so that
 * two copies of this package share it. Every slot has one writer, named beside it. Add your own slots by declaration merging:
 * `declare module '@tollgate/core/http/context' { interface RequestContext { plan?: Plan } }`.
 */
export interface RequestContext {
  /** The caller's `X-Request-Id` if well formed, else a random UUID; echoed in the response. */
  readonly id: string
  /** `performance.now()` at the first middleware, milliseconds. */
  readonly startedAt: number
  /** Aborts when the caller leaves before the answer is complete, or when the deadline passes. Made at first use. */
  readonly signal: AbortSignal
  /** Written by `auth`. */
  principal: Principal | undefined
  /** Written by `timeout`: the latest end of the work, in milliseconds since the epoch. */
  deadline: number | undefined
  /** Written by `dialect` (or a route): how errors are worded. */
  dialect: Dialect | undefined
  /** Written by routes: the route template (`/v1/models/{name}`), for hosts that do not tell. */
  route: string | undefined
  /** Written by `dispatching` and `recordUsage`: what really answers. */
  target: Target | undefined
  /** Written by routes: the models that were tried, and what came of each, where there were several or the caller asked (`x-tollgate-decision`). */
  decision: string | undefined
  /** Written by `recordUsage`. */
  usage: Usage | undefined
  /** Written by `recordUsage`: milliseconds spent waiting for the model, for the own-overhead figure. */
  upstreamMs: number | undefined
  /** Written by `cost`: whole nano-USD. */
  costNanoUsd: number | undefined
  /** Written by `cache`. */
  cache: CacheOutcome | undefined
  /** Written by routes: what guards found, as `guard:label`. */
  flags: readonly string[] | undefined
  /** Written by `bodyLimit`: bytes that a body may have. */
  maxBodyBytes: number | undefined
  /** Written by `logging`. */
  log: Log | undefined
  /** Why the request was refused or failed. Written by `middleware` and `endpoint` when they pass an error on, and by `writeError`. */
  error: ErrorCode | undefined
}

const contextKey = Symbol.for('tollgate.context')
const abortKey = Symbol.for('tollgate.context.abort')

interface Carrier {
  [contextKey]?: RequestContext
}

interface Abortable extends RequestContext {
  [abortKey](reason: unknown): void
}

/** Visible ASCII without quotes, backslash, comma and semicolon: safe in a header, a log line and a label of any system. */
const wellFormedId = /^[\w.:/+=@-]{1,128}$/

/** The context of this request; the first call makes it. */
export function contextOf(req: IncomingMessage, res: ServerResponse): RequestContext {
  const known = (req as Carrier)[contextKey]
  return known ?? createContext(req, res)
}

/** The context of a request that some middleware has already seen. Throws `config_invalid` if none has. */
export function existingContext(req: IncomingMessage): RequestContext {
  const known = (req as Carrier)[contextKey]
  if (known === undefined) {
    throw new TollgateError(
      'config_invalid',
      'No Tollgate middleware has seen this request: mount one before this handler.',
    )
  }
  return known
}

/** A slot that must be filled by now, else `config_invalid` says which middleware is missing. */
export function required<Slot extends 'principal' | 'usage' | 'log' | 'target'>(
  context: RequestContext,
  slot: Slot,
): NonNullable<RequestContext[Slot]> {
  const value = context[slot]
  if (value === undefined) {
    const writer = { principal: 'auth()', usage: 'recordUsage()', log: 'logging()', target: 'dispatching()' }[slot]
    throw new TollgateError('config_invalid', `context.${slot} is empty: ${writer} has to come first.`)
  }
  return value as NonNullable<RequestContext[Slot]>
}

/** Aborts `context.signal` with a reason. For `timeout` and graceful shutdown; the caller's leaving does it by itself. */
export function abortRequest(context: RequestContext, reason: unknown): void {
  ;(context as Abortable)[abortKey](reason)
}

function createContext(req: IncomingMessage, res: ServerResponse): RequestContext {
  const given = req.headers['x-request-id']
  const id = typeof given === 'string' && wellFormedId.test(given) ? given : randomUUID()
  const context = new Context(id, req, res)
  ;(req as Carrier)[contextKey] = context
  if (!res.headersSent) res.setHeader('x-request-id', id)
  return context
}

/**
 * A class, though factories are the habit here: a getter in an object literal gives every request a hidden class of its own, which costs
 * V8 its inline caches and keeps each request alive until the next full collection. On a prototype the getter is shared.
 */
class Context implements Abortable {
  readonly id: string
  readonly startedAt = performance.now()
  principal: RequestContext['principal'] = undefined
  deadline: RequestContext['deadline'] = undefined
  dialect: RequestContext['dialect'] = undefined
  route: RequestContext['route'] = undefined
  target: RequestContext['target'] = undefined
  decision: RequestContext['decision'] = undefined
  usage: RequestContext['usage'] = undefined
  upstreamMs: RequestContext['upstreamMs'] = undefined
  costNanoUsd: RequestContext['costNanoUsd'] = undefined
  cache: RequestContext['cache'] = undefined
  flags: RequestContext['flags'] = undefined
  maxBodyBytes: RequestContext['maxBodyBytes'] = undefined
  log: RequestContext['log'] = undefined
  error: RequestContext['error'] = undefined
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  #controller: AbortController | undefined = undefined

  constructor(id: string, req: IncomingMessage, res: ServerResponse) {
    this.id = id
    this.#req = req
    this.#res = res
  }

  get signal(): AbortSignal {
    return this.#control().signal
  }

  [abortKey](reason: unknown): void {
    this.#control().abort(reason)
  }

  #control(): AbortController {
    if (this.#controller !== undefined) return this.#controller
    const controller = new AbortController()
    this.#controller = controller
    onClose(this.#req, this.#res, ({ aborted }) => {
      if (!aborted) return
      controller.abort(new TollgateError('client_closed', 'The caller left before the answer was complete.'))
    })
    return controller
  }
}
