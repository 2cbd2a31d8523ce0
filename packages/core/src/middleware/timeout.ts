import type { IncomingMessage, ServerResponse } from 'node:http'
import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { abortRequest, type RequestContext } from '../http/context.js'
import { type Handler, middleware } from '../http/handler.js'
import { onClose } from '../http/observe.js'
import { checkedOptions } from '../options.js'
import { type ErrorHandlerOptions, errorHandlerOptions, writeErrorInstead } from './error-handler.js'

/** Options of {@link timeout}. */
export interface TimeoutOptions {
  /** Milliseconds from here to the end of the answer, streams included. */
  readonly ms: number
  /**
   * May a caller ask for less, by `X-Request-Timeout-Ms` (milliseconds) or by the `X-Stainless-Timeout` (seconds) that OpenAI's and Anthropic's
   * clients send? Never for more. Default true.
   */
  readonly callerMayShorten?: boolean
  /** As given to `errorHandler`, for the answers that are written here. */
  readonly errors?: ErrorHandlerOptions
}

/** Node's timers hold 31 bits; a longer one would fire at once. */
const longestMs = 2_147_483_647

const optionsSchema = z.strictObject({
  ms: z.int().min(1).max(longestMs),
  callerMayShorten: z.boolean().default(true),
  errors: errorHandlerOptions.optional(),
})

/**
 * Ends requests that take too long. When the time is over, `context.signal` aborts, so that a handler that heeds it stops and its error is
 * answered as any other. A handler that does not is answered for at once: 504, or the error as the last event of a stream that has begun; what it
 * writes later is ignored.
 *
 * Writes the slot `deadline` (the earliest of several), for providers to bound their calls by.
 *
 * @example app.use('/v1', timeout({ ms: 120_000 }))
 * @throws TollgateError `timeout`, through the signal and to the caller; `config_invalid` for wrong options
 */
export function timeout(options: TimeoutOptions): Handler {
  const { ms, callerMayShorten, errors } = checkedOptions('timeout', optionsSchema, options)
  return middleware('timeout', (context, req, res) => {
    const allowedMs = callerMayShorten ? Math.min(ms, wishedMs(req)) : ms
    const deadline = Date.now() + allowedMs
    if (context.deadline !== undefined && context.deadline <= deadline) return
    context.deadline = deadline
    const timer = setTimeout(expire, allowedMs, allowedMs, context, req, res, errors).unref()
    // Cleared with the answer: a timer keeps the whole request in memory.
    onClose(req, res, () => clearTimeout(timer))
  })
}

function expire(
  ms: number,
  context: RequestContext,
  req: IncomingMessage,
  res: ServerResponse,
  errors: ErrorHandlerOptions | undefined,
): void {
  if (res.writableEnded) return
  const error = new TollgateError('timeout', `The request was not answered within ${ms} ms.`)
  abortRequest(context, error)
  // Handlers that heed the signal reject within this turn, and the host's own error handler answers.
  setImmediate(() => {
    if (!res.writableEnded) writeErrorInstead(error, req, res, errors)
  })
}

function wishedMs(req: IncomingMessage): number {
  const wished = positive(req.headers['x-request-timeout-ms'])
  return Math.max(1, Math.floor(Math.min(wished, positive(req.headers['x-stainless-timeout']) * 1000)))
}

function positive(header: string | string[] | undefined): number {
  if (typeof header !== 'string' || !/^\d{1,10}(?:\.\d{1,6})?$/.test(header)) return Number.POSITIVE_INFINITY
  return Number(header) || Number.POSITIVE_INFINITY
}
