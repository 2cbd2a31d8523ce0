import type { IncomingMessage, ServerResponse } from 'node:http'

/** What is read and thrown away after an early answer, at most: bytes and milliseconds. */
export const lingerLimits = Object.freeze({ maxBytes: 16_777_216, maxMs: 5_000 })

const lingerKey = Symbol.for('tollgate.linger')

interface Lingering extends IncomingMessage {
  [lingerKey]?: true
}

/**
 * For an answer that goes out while the caller still uploads: closes the connection after it so that the caller sees the answer. Closing
 * at once would reset the connection, because unread bytes are waiting, and a reset throws away what the caller has not read yet
 * (RFC 9112, 9.6). So the end of the answer is sent, and what still arrives is thrown away, within {@link lingerLimits}.
 *
 * Call it before the answer is written. From here on nobody gets more of the body: whoever reads it is told by the request's `close`
 * (and `error`, given as `reason`) when the connection is over. Does nothing where the body is complete or HTTP is not version 1.
 */
export function lingerForBody(req: IncomingMessage, res: ServerResponse, reason?: Error): void {
  const lingering = req as Lingering
  if (lingering[lingerKey] || req.complete || req.httpVersionMajor !== 1 || req.destroyed) return
  lingering[lingerKey] = true
  const { socket } = req
  if (!res.headersSent) res.setHeader('connection', 'close')

  let thrownAway = 0
  let bodyEnded = false
  let answerSent = false
  let timer: NodeJS.Timeout | undefined

  // Node's own prototype methods, shadowed on this request and this socket only, and only until `finish`.
  const { push, destroy } = req
  const { destroySoon } = socket
  const finish = () => {
    clearTimeout(timer)
    socket.off('close', finish)
    req.push = push
    req.destroy = destroy
    socket.destroySoon = destroySoon
    socket.destroySoon()
    // The request left the server's list when its answer was finished, so nobody else tells its readers.
    if (!req.destroyed) req.destroy(reason)
  }
  req.push = (chunk: unknown) => {
    if (chunk === null) {
      bodyEnded = true
      if (answerSent) finish()
      return false
    }
    thrownAway += (chunk as Buffer).length
    if (answerSent && thrownAway > lingerLimits.maxBytes) finish()
    return true
  }
  // A reader that fails destroys its source (`pipeline`, `for await`), and that would reset the connection.
  req.destroy = () => req
  // Node calls this when an answer with `Connection: close` is written.
  socket.destroySoon = () => {
    answerSent = true
    if (bodyEnded || thrownAway > lingerLimits.maxBytes) {
      finish()
      return
    }
    socket.end()
    timer = setTimeout(finish, lingerLimits.maxMs).unref()
  }
  socket.once('close', finish)
  // Whoever read it may have paused it.
  req.resume()
  socket.resume()
}

/** Is a body on its way that is not known to be small? Those are not worth waiting for after a refusal. */
export function largeBodyPending(req: IncomingMessage): boolean {
  if (req.complete) return false
  if (req.headers['transfer-encoding'] !== undefined) return true
  return Number(req.headers['content-length'] ?? 0) > smallBodyBytes
}

const smallBodyBytes = 65_536
