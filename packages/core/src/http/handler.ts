import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { STATUS_CODES } from 'node:http'
import { isTollgateError } from '../errors.js'
import { contextOf, type RequestContext } from './context.js'

/** Hands on to the next handler; with an error, to the next error handler. */
export type Next = (error?: unknown) => void

/**
 * The one shape of everything in this library: Express 4 and 5, Connect, plain node:http, and whatever else takes Connect's middlewares.
 * Only what `node:http` itself puts on `req` and `res` is used.
 */
export type Handler = (req: IncomingMessage, res: ServerResponse, next: Next) => void

/** A handler of errors. The four parameters are how Express and Connect tell it from the others. */
export type ErrorHandler = (error: unknown, req: IncomingMessage, res: ServerResponse, next: Next) => void

/** What a middleware does. Return to go on, throw to refuse, answer (so that headers are sent) to end here. */
export type Run = (context: RequestContext, req: IncomingMessage, res: ServerResponse) => void | Promise<void>

/**
 * Makes a handler of a function that may throw or reject: both go to `next(error)`. (A bare async handler that throws kills the
 * process on Express 4, Connect and node:http.) Goes on to `next()` unless the run has answered. A run without a promise stays on
 * the synchronous path.
 *
 * @param name shown in stacks and traces
 * @example const poweredBy = middleware('poweredBy', (_context, _req, res) => void res.setHeader('x-powered-by', 'tea'))
 */
export function middleware(name: string, run: Run): Handler {
  return named(name, (req, res, next) => {
    let pending: void | Promise<void>
    const context = contextOf(req, res)
    try {
      pending = run(context, req, res)
    } catch (error) {
      fail(context, error, res, next)
      return
    }
    if (!isPromise(pending)) {
      if (!answered(res)) next()
      return
    }
    pending.then(
      () => {
        if (!answered(res)) next()
      },
      (error: unknown) => fail(context, error, res, next),
    )
  })
}

/**
 * Like {@link middleware}, for a handler that always answers itself: it never goes on, and an error goes to `next(error)`.
 */
export function endpoint(name: string, run: Run): Handler {
  return named(name, (req, res, next) => {
    const context = contextOf(req, res)
    try {
      const pending = run(context, req, res)
      if (isPromise(pending)) pending.then(undefined, (error: unknown) => fail(context, error, res, next))
    } catch (error) {
      fail(context, error, res, next)
    }
  })
}

/** Several handlers as one. Errors skip to the first {@link ErrorHandler} in the list, or leave through `next`. */
export function compose(...handlers: ReadonlyArray<Handler | ErrorHandler>): Handler {
  return (req, res, next) => {
    const step = (index: number, error: unknown): void => {
      const handler = handlers[index]
      if (handler === undefined) {
        next(error)
        return
      }
      let called = false
      const proceed: Next = (nextError) => {
        if (called) return
        called = true
        step(index + 1, nextError)
      }
      try {
        if (handler.length === 4) {
          if (error === undefined) step(index + 1, undefined)
          else (handler as ErrorHandler)(error, req, res, proceed)
        } else if (error !== undefined) step(index + 1, error)
        else (handler as Handler)(req, res, proceed)
      } catch (thrown) {
        proceed(asError(thrown))
      }
    }
    step(0, undefined)
  }
}

/**
 * Handlers as a listener for `http.createServer`. What none of them answers is a 404; an error that no error handler took is answered by
 * its `status` and `headers` with an empty body (mount `errorHandler()` last for problem bodies).
 */
export function listener(...handlers: ReadonlyArray<Handler | ErrorHandler>): RequestListener {
  const handle = compose(...handlers)
  return (req, res) => {
    handle(req, res, (error) => {
      if (res.headersSent) {
        if (!res.writableEnded) res.destroy()
        return
      }
      const { status, headers } = refusal(error)
      res.writeHead(status, STATUS_CODES[status] ?? '', { ...headers, 'content-length': '0' })
      res.end()
    })
  }
}

function refusal(error: unknown): { status: number; headers: Record<string, string> } {
  if (error === undefined) return { status: 404, headers: {} }
  const { status, headers } = error as { status?: unknown; headers?: Record<string, string> }
  const known = typeof status === 'number' && Number.isInteger(status) && status >= 400 && status <= 599
  return { status: known ? status : 500, headers: known ? { ...headers } : {} }
}

function answered(res: ServerResponse): boolean {
  return res.headersSent || res.writableEnded || res.destroyed
}

// Plain JavaScript may return anything: `(_context, _req, res) => res.end()` returns the response.
function isPromise(value: unknown): value is Promise<void> {
  return typeof (value as Promise<void> | undefined)?.then === 'function'
}

// Marked here and not in the error handler, so that metrics and logs know the reason whatever error handler the host has.
function fail(context: RequestContext, error: unknown, res: ServerResponse, next: Next): void {
  // The first reason counts, and an error after the answer is none.
  if (context.error === undefined && !res.writableEnded && isTollgateError(error)) context.error = error.code
  next(asError(error))
}

// `next(undefined)` means "go on": a rejection without a reason must not become that.
function asError(error: unknown): unknown {
  return error === undefined || error === null ? new Error(`A handler threw ${String(error)}`) : error
}

function named(name: string, handler: Handler): Handler {
  return Object.defineProperty(handler, 'name', { value: name })
}
