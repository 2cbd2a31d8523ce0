import type { IncomingMessage, ServerResponse } from 'node:http'
import { isTollgateError } from '../errors.js'
import type { RequestContext } from '../http/context.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import { tokenForm } from './token-form.js'
import { type TokenRefusal, tokenDelay, tokenRefusal } from './token-refusal.js'

/** A form as it came, and from whom. */
export interface OAuthRequest {
  readonly req: IncomingMessage
  readonly form: ReadonlyMap<string, string>
  readonly context: RequestContext
}

/** What goes out; without a body, an empty one. */
export interface OAuthAnswer {
  readonly body?: object
  /** A refusal has one. */
  readonly code?: undefined
}

interface EndpointOptions {
  readonly name: string
  /** The route template, for metrics and logs. */
  readonly route: string
  readonly maxBodyBytes: number
  readonly answer: (request: OAuthRequest) => Promise<OAuthAnswer | TokenRefusal>
}

/** An endpoint that takes forms by POST and answers, also refusals, in OAuth's own bodies that are never cached. */
export function oauthEndpoint({ name, route, maxBodyBytes, answer }: EndpointOptions): Handler {
  const outcomeOf = async (context: RequestContext, req: IncomingMessage) => {
    if (req.method !== 'POST') {
      const options = { status: 405, headers: { allow: 'POST' }, code: 'method_not_allowed' } as const
      return tokenRefusal('invalid_request', 'Use POST.', options)
    }
    const form = await readForm(req, maxBodyBytes)
    if ('status' in form) return form
    try {
      return await answer({ req, form, context })
    } catch (error) {
      if (!isTollgateError(error, 'identity_unavailable')) throw error
      context.log?.error({ err: error }, 'the identity store failed')
      return tokenDelay('identity_unavailable', 'This cannot be answered right now.', error.retryAfterMs ?? 1000)
    }
  }

  return endpoint(name, async (context, req, res) => {
    context.route ??= route
    // Before anything can fail: RFC 6749, 5.1.
    res.setHeader('cache-control', 'no-store').setHeader('pragma', 'no-cache')
    const outcome = await outcomeOf(context, req)
    if (outcome.code === undefined) {
      send(res, outcome)
      return
    }
    context.error = outcome.code
    sendJson(res, outcome.status, outcome.body, outcome.headers)
  })
}

function send(res: ServerResponse, { body }: OAuthAnswer): void {
  if (body !== undefined) sendJson(res, 200, body)
  else res.writeHead(200, { 'content-length': 0 }).end()
}

/** The form, or in OAuth's words what was wrong with the body. */
async function readForm(req: IncomingMessage, maxBytes: number): Promise<ReadonlyMap<string, string> | TokenRefusal> {
  try {
    const form = await tokenForm(req, maxBytes)
    return typeof form === 'string' ? tokenRefusal('invalid_request', form) : form
  } catch (error) {
    if (!isTollgateError(error) || error.code === 'client_closed') throw error
    const { status, headers, code, message } = error
    return tokenRefusal('invalid_request', message, { status, headers, code })
  }
}
