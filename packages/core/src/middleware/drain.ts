import { TollgateError } from '../errors.js'
import { type Handler, middleware } from '../http/handler.js'
import { onClose } from '../http/observe.js'

/** The middleware, and the end of its work. */
export interface Drain extends Handler {
  /** From now on new requests are refused, and every answer closes its connection. */
  begin(): void
  /** How many requests are open. */
  readonly open: number
  /** Resolves with true when no request is open, or with false after `timeoutMs`. */
  idle(timeoutMs: number): Promise<boolean>
}

/**
 * Lets open requests and streams end before the process does. Mount it after the health routes, which go on answering meanwhile.
 *
 * @throws TollgateError `not_ready` (503, with `Retry-After` and `Connection: close`) once draining has begun
 * @example
 * const draining = drain()
 * app.use('/ready', readyRoute(ready), draining)
 * process.once('SIGTERM', async () => {
 *   ready.draining = true
 *   draining.begin()
 *   await draining.idle(30_000)
 *   server.close()
 *   server.closeAllConnections()
 * })
 */
export function drain(): Drain {
  let open = 0
  let begun = false
  const waiting = new Set<() => void>()
  const handler = middleware('drain', (_context, req, res) => {
    if (begun) {
      throw new TollgateError('not_ready', 'This server is about to stop: send the request again, to another one.', {
        retryAfterMs: 1000,
        headers: { connection: 'close' },
      })
    }
    open += 1
    onClose(req, res, () => {
      open -= 1
      if (open === 0) for (const resolve of waiting) resolve()
    })
  })
  return Object.defineProperty(
    Object.assign(handler, {
      begin() {
        begun = true
      },
      idle(timeoutMs: number): Promise<boolean> {
        if (open === 0) return Promise.resolve(true)
        return new Promise((resolve) => {
          const done = () => {
            clearTimeout(timer)
            waiting.delete(done)
            resolve(open === 0)
          }
          const timer = setTimeout(done, timeoutMs)
          waiting.add(done)
        })
      },
    }),
    'open',
    { get: () => open },
  ) as Drain
}
