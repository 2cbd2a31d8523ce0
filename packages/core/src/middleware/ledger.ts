import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import type { RequestContext } from '../http/context.js'
import { type Handler, middleware } from '../http/handler.js'
import { onEnd, type RequestEnd } from '../http/observe.js'
import { routeTemplate } from '../http/route-template.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import type { LedgerRow } from '../stores/ledger.js'
import type { LedgerWriter } from '../stores/ledger-writer.js'

export interface LedgerOptions {
  /** Where rows go. */
  readonly writer: LedgerWriter
  /** Words of the caller or of yours to tell spending by: project, feature. Default: those of `X-Tollgate-Tags: project=search, feature=x`. */
  readonly tags?: (req: IncomingMessage, context: RequestContext) => Readonly<Record<string, string>> | undefined
  /** The clock, milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

const schema = z.strictObject({
  writer: objectOption<LedgerWriter>('a ledgerWriter()', 'append'),
  tags: functionOption<NonNullable<LedgerOptions['tags']>>().default(() => tagsOf),
  now: functionOption<() => number>().default(() => Date.now),
})

const mostTags = 10
const longestValue = 256

/**
 * Writes a row to the ledger for each request that passes here with a principal, whatever becomes of it: answered, failed, left by its caller, or answered from the cache. Mount it after `auth` and the limits, so that what
 * they refuse is no row.
 *
 * The id of a row is the gate's own, never the caller's `X-Request-Id`: who repeats theirs is billed for each.
 *
 * Reads `principal`, `target`, `usage`, `costNanoUsd`, `cache`, `error`, `route`; writes no slot.
 *
 * @throws TollgateError `config_invalid` for wrong options
 * @example app.use(auth({ directory }), limits({ rules }), ledger({ writer: ledgerWriter({ ledger: memoryLedger() }) }), cost())
 */
export function ledger(options: LedgerOptions): Handler {
  const { writer, tags, now } = checkedOptions('ledger', schema, options)
  return middleware('ledger', (context, req, res) => {
    if (context.principal === undefined) return undefined
    const at = now()
    const id = randomUUID()
    onEnd(req, res, (end) => writer.append(rowOf(context, req, end, { id, at, tags: tags(req, context) })))
    return undefined
  })
}

function rowOf(
  context: RequestContext,
  req: IncomingMessage,
  end: RequestEnd,
  own: { readonly id: string; readonly at: number; readonly tags: Readonly<Record<string, string>> | undefined },
): LedgerRow {
  const { principal, target, usage, costNanoUsd, cache, error } = context
  const { tenant, team, subject: user, keyId } = principal as NonNullable<typeof principal>
  const route = routeTemplate(context, req)
  const modelAsked = modelOf(req)
  return {
    id: own.id,
    at: own.at,
    durationMs: Math.round(end.endedAt - context.startedAt),
    requestId: context.id,
    tenant,
    user,
    outcome: end.aborted ? 'aborted' : end.status >= 400 || error !== undefined ? 'error' : 'ok',
    status: end.status,
    ...(team === undefined ? undefined : { team }),
    ...(keyId === undefined ? undefined : { keyId }),
    ...(route === undefined ? undefined : { route }),
    ...(modelAsked === undefined ? undefined : { modelAsked }),
    ...(target === undefined ? undefined : { provider: target.provider, model: target.model }),
    ...(usage === undefined ? undefined : { usage }),
    ...(costNanoUsd === undefined ? undefined : { costNanoUsd }),
    ...(error === undefined ? undefined : { error }),
    ...(cache === undefined ? undefined : { cache }),
    ...(own.tags === undefined ? undefined : { tags: own.tags }),
  }
}

function modelOf(req: IncomingMessage): string | undefined {
  const { body } = req as { body?: unknown }
  if (typeof body !== 'object' || body === null) return undefined
  const { model } = body as { model?: unknown }
  return typeof model === 'string' ? model.slice(0, longestValue) : undefined
}

/** `X-Tollgate-Tags: project=search, feature=summary`: ten at most; names as tokens of HTTP, values up to 256 characters. */
function tagsOf(req: IncomingMessage): Readonly<Record<string, string>> | undefined {
  const header = req.headers['x-tollgate-tags']
  if (typeof header !== 'string') return undefined
  const tags: Record<string, string> = {}
  for (const part of header.split(',', mostTags)) {
    const match = /^\s*([\w.-]{1,64})=(.{0,256}?)\s*$/.exec(part)
    if (match !== null)
      Object.defineProperty(tags, match[1] as string, { value: match[2], enumerable: true, configurable: true })
  }
  return Object.keys(tags).length === 0 ? undefined : tags
}
