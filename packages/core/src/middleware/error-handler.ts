import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import { z } from 'zod'
import type { TollgateError } from '../errors.js'
import { contextOf, type Log, type RequestContext } from '../http/context.js'
import type { ErrorHandler } from '../http/handler.js'
import { ignoreLateWrites } from '../http/late-writes.js'
import { largeBodyPending, lingerForBody } from '../http/linger.js'
import { checkedOptions, objectOption } from '../options.js'
import { type ErrorBodyOptions, errorBody, isInternal } from './error-body.js'
import { reportOf } from './error-report.js'
import { asTollgateError } from './foreign-error.js'

/** Options of {@link errorHandler} and {@link writeError}. */
export interface ErrorHandlerOptions extends ErrorBodyOptions {
  /** Where errors that are not for callers are told, once each. Default: the request's `context.log`, else stderr. */
  readonly log?: Pick<Log, 'error' | 'warn'> | undefined
}

/** The schema of {@link ErrorHandlerOptions}. */
export const errorHandlerOptions = z.strictObject({
  problemBaseUrl: z.string().min(1).optional(),
  exposeInternal: z.boolean().optional(),
  log: objectOption<Pick<Log, 'error' | 'warn'>>('a logger with error() and warn()', 'error', 'warn').optional(),
})

/**
 * Answers errors: mount it last. RFC 9457 problems, or OpenAI's error objects where `context.dialect` says so. An event stream that has
 * begun gets the error as its last event; any other answer that has begun is cut.
 *
 * Reads the slots `id`, `dialect`, `log`; writes `error`. Errors of others (body-parser, zod, http-errors, aborts) get the code that fits;
 * what is not known is `internal` to the caller, and itself in the log.
 *
 * @example app.use(errorHandler({ problemBaseUrl: 'https://example.com/errors#' }))
 * @throws TollgateError `config_invalid` for wrong options
 */
export function errorHandler(options: ErrorHandlerOptions = {}): ErrorHandler {
  const checked = checkedOptions('errorHandler', errorHandlerOptions, options)
  // Express and Connect know an error handler by its four parameters.
  return function errorHandler(error, req, res, _next) {
    writeError(error, req, res, checked)
  }
}

/**
 * Answers one error, as {@link errorHandler} does. For middlewares that must answer after they have let the request go on. Never throws.
 */
export function writeError(
  error: unknown,
  req: IncomingMessage,
  res: ServerResponse,
  options: ErrorHandlerOptions = {},
): void {
  const context = contextOf(req, res)
  const told = understood(error, context)
  if (!res.writableEnded) context.error = told.code
  report(error, told, context, options)
  if (res.destroyed || res.writableEnded) return
  if (told.code === 'client_closed') res.destroy()
  else if (res.headersSent) breakOff(told, context, req, res, options)
  else answer(told, context, req, res, options)
}

/**
 * Answers one error in the place of a handler that is still at work; what that handler writes afterwards is ignored.
 */
export function writeErrorInstead(
  error: unknown,
  req: IncomingMessage,
  res: ServerResponse,
  options: ErrorHandlerOptions = {},
): void {
  writeError(error, req, res, options)
  ignoreLateWrites(res)
}

/** What an answer that never came was to be described by. Everything else stays: request id, RateLimit fields, CORS, security headers. */
const headersOfTheBody = [
  'accept-ranges',
  'age',
  'cache-control',
  'cache-status',
  'cdn-cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-range',
  'etag',
  'expires',
  'last-modified',
  'trailer',
  'transfer-encoding',
  'x-accel-buffering',
]

function answer(
  error: TollgateError,
  context: RequestContext,
  req: IncomingMessage,
  res: ServerResponse,
  options: ErrorHandlerOptions,
): void {
  const status = statusOf(error)
  const { contentType, body, headers } = errorBody(error, status, context, options)
  const bytes = Buffer.from(JSON.stringify(body))
  for (const name of headersOfTheBody) res.removeHeader(name)
  setHeaders(res, headers)
  setHeaders(res, error.headers)
  setHeaders(res, {
    'x-request-id': context.id,
    'cache-control': 'no-store',
    'content-type': contentType,
    'content-length': String(bytes.length),
  })
  if (status === 413 || largeBodyPending(req)) lingerForBody(req, res, error)
  // A phrase that an earlier handler chose belongs to its status. HTTP/2 has none.
  if (req.httpVersionMajor === 1) res.statusMessage = STATUS_CODES[status] ?? error.title
  res.writeHead(status)
  if (req.method === 'HEAD') res.end()
  else res.end(bytes)
}

function breakOff(
  error: TollgateError,
  context: RequestContext,
  req: IncomingMessage,
  res: ServerResponse,
  options: ErrorHandlerOptions,
): void {
  const contentType = String(res.getHeader('content-type') ?? '')
  if (!contentType.startsWith('text/event-stream') || req.method === 'HEAD') {
    res.destroy()
    return
  }
  const { body } = errorBody(error, statusOf(error), context, options)
  // OpenAI's clients throw on a data frame with `error` and know no event names. No `[DONE]` follows: that would be a good end.
  const name = context.dialect === 'openai' ? '' : 'event: error\n'
  // Anthropic's drop what has no event name.
  res.end(`${name}data: ${JSON.stringify(body)}\n\n`)
}

// An error whose getters throw must not cost the answer.
function understood(error: unknown, context: RequestContext): TollgateError {
  try {
    return asTollgateError(error, context)
  } catch (cause) {
    return asTollgateError(cause)
  }
}

// Another copy of the package, or a status of an upstream: only an error status may go out.
function statusOf(error: TollgateError): number {
  const { status } = error
  return Number.isInteger(status) && status >= 400 && status <= 599 ? status : 500
}

function setHeaders(res: ServerResponse, headers: Readonly<Record<string, string>> | undefined): void {
  for (const [name, value] of Object.entries(headers ?? {})) {
    try {
      res.setHeader(name, value)
    } catch {
      // A value that HTTP cannot carry (from a foreign error) must not cost the answer.
    }
  }
}

const reported = new WeakSet<object>()

// Callers are told what they can mend; the rest is for whoever runs the server: what is hidden from the caller, and what a 5xx was caused by.
function report(error: unknown, told: TollgateError, context: RequestContext, options: ErrorHandlerOptions): void {
  const isHidden = isInternal(told.code)
  if (!isHidden && (told.status < 500 || told.cause === undefined)) return
  if (typeof error === 'object' && error !== null) {
    if (reported.has(error)) return
    reported.add(error)
  }
  const log = options.log ?? context.log
  try {
    const fields = { request_id: context.id, code: told.code, ...reportOf(error) }
    if (log === undefined) process.stderr.write(`${JSON.stringify({ level: 'error', ...fields })}\n`)
    else if (isHidden) log.error(fields, 'request failed')
    else log.warn(fields, 'request failed')
  } catch {
    // A logger that fails must not cost the answer.
  }
}
