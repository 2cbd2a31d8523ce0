import type { IncomingMessage } from 'node:http'
import type { RequestContext } from '../http/context.js'
import type { RequestEnd } from '../http/observe.js'
import { roundedMs } from '../http/rounded-ms.js'
import { pathOf, routeTemplate } from '../http/route-template.js'
import { usdNumber } from '../money.js'
import { completionTokens, promptTokens } from '../usage.js'
import { withoutSecrets } from './error-report.js'

/** One request as the fields of its log line. A field that is not known is left out. */
export interface LogLine {
  request_id: string
  method: string
  /** Without the query, which may hold secrets, and what looks like a credential; 512 characters at most. */
  path: string
  /** The template of the route. */
  route?: string
  /** What was sent; 499 if the caller left before anything was. */
  status: number
  /** From the first middleware to the close of the answer, by a clock that never jumps. */
  duration_ms: number
  /** The connection closed before the answer was complete: the caller left, or the answer broke and was cut (then `error` says why). */
  aborted: boolean
  /** Why the request was refused or failed: a code of the error catalogue. */
  error?: string
  tenant?: string
  /** The subject that calls. */
  user?: string
  /** Public id of the API key. */
  key_id?: string
  /** The caller's own name for its end user: `user_id` or `user` of the body. */
  end_user?: string
  provider?: string
  model?: string
  model_version?: string
  /** The models that were tried, and what came of each, where there were several. */
  decision?: string
  prompt_tokens?: number
  completion_tokens?: number
  total_tokens?: number
  /** The provider did not say, so the tokens were counted here. */
  usage_estimated?: true
  rows?: number
  /** US dollars. */
  cost_usd?: number
  cache?: string
  /** What guards found: `guard:label`. */
  flags?: readonly string[]
  /** Milliseconds spent waiting for the model. */
  upstream_ms?: number
  headers?: Record<string, string>
}

const maxPathLength = 512
/** Below, no credential fits in. */
const shortPath = 24
const maxValueLength = 256

export function logLine(
  context: RequestContext,
  req: IncomingMessage,
  end: RequestEnd,
  allowedHeaders: readonly string[],
): LogLine {
  const line: LogLine = {
    request_id: context.id,
    method: req.method ?? '',
    path: shownPath(req),
    status: end.status,
    duration_ms: roundedMs(end.endedAt - context.startedAt),
    aborted: end.aborted,
  }
  const route = routeTemplate(context, req)
  if (route !== undefined) line.route = route
  if (context.error !== undefined) line.error = context.error
  const { principal, target, usage } = context
  if (principal !== undefined) {
    line.tenant = principal.tenant
    line.user = principal.subject
    if (principal.keyId !== undefined) line.key_id = principal.keyId
  }
  const endUser = endUserOf(req)
  if (endUser !== undefined) line.end_user = endUser
  if (target !== undefined) {
    line.provider = target.provider
    line.model = target.model
    if (target.version !== undefined) line.model_version = target.version
  }
  if (context.decision !== undefined) line.decision = context.decision
  if (usage !== undefined) {
    line.prompt_tokens = promptTokens(usage)
    line.completion_tokens = completionTokens(usage)
    line.total_tokens = line.prompt_tokens + line.completion_tokens
    if (usage.estimated) line.usage_estimated = true
    if (usage.rows !== undefined) line.rows = usage.rows
  }
  if (context.costNanoUsd !== undefined) line.cost_usd = usdNumber(context.costNanoUsd)
  if (context.cache !== undefined) line.cache = context.cache
  if (context.flags !== undefined) line.flags = context.flags
  if (context.upstreamMs !== undefined) line.upstream_ms = roundedMs(context.upstreamMs)
  const headers = headersOf(req, allowedHeaders)
  if (headers !== undefined) line.headers = headers
  return line
}

/** A key ends up in a path by one slip of who means to revoke it. */
function shownPath(req: IncomingMessage): string {
  const path = pathOf(req)
  return path.length < shortPath ? path : withoutSecrets(path).slice(0, maxPathLength)
}

function headersOf(req: IncomingMessage, allowed: readonly string[]): Record<string, string> | undefined {
  let headers: Record<string, string> | undefined
  for (const name of allowed) {
    const value = req.headers[name]
    if (value === undefined) continue
    headers ??= {}
    headers[name] = String(value).slice(0, maxValueLength)
  }
  return headers
}

function endUserOf(req: IncomingMessage): string | undefined {
  const { body } = req as { body?: unknown }
  if (typeof body !== 'object' || body === null) return undefined
  const { user_id, user } = body as { user_id?: unknown; user?: unknown }
  const named = typeof user_id === 'string' ? user_id : user
  return typeof named === 'string' ? named.slice(0, maxValueLength) : undefined
}
