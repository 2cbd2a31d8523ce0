import type { IncomingMessage, ServerResponse } from 'node:http'
import { z } from 'zod'
import { tooLarge } from '../http/body.js'
import type { RequestContext } from '../http/context.js'
import { type Handler, middleware } from '../http/handler.js'
import { lingerForBody } from '../http/linger.js'
import { checkedOptions } from '../options.js'
import { writeErrorInstead } from './error-handler.js'

/** Options of {@link bodyLimit}. */
export interface BodyLimitOptions {
  /** The most bytes a body may have, as it is sent (before any decompression). */
  readonly maxBytes: number
}

const optionsSchema = z.strictObject({ maxBytes: z.int().min(0) })

/**
 * Refuses bodies that are too large, whoever reads them: by `Content-Length` before a byte is read, and a chunked body as soon as it passes
 * the limit, under any parser, pipe or loop downstream. Where several are mounted, the smallest limit holds.
 *
 * Writes the slot `maxBodyBytes`, which `jsonBody` and `readBody` obey.
 *
 * @example app.use(bodyLimit({ maxBytes: 1_048_576 }))
 * @throws TollgateError `payload_too_large`; `config_invalid` for wrong options
 */
export function bodyLimit(options: BodyLimitOptions): Handler {
  const { maxBytes } = checkedOptions('bodyLimit', optionsSchema, options)
  return middleware('bodyLimit', (context, req, res) => {
    const counted = context.maxBodyBytes !== undefined
    if (context.maxBodyBytes === undefined || maxBytes < context.maxBodyBytes) context.maxBodyBytes = maxBytes
    // Node's parser lets no more bytes through than Content-Length says; only a chunked body has to be counted.
    const length = req.headers['content-length']
    if (length !== undefined && Number(length) > maxBytes) throw tooLarge(maxBytes)
    if (req.headers['transfer-encoding'] !== undefined && !counted) countBody(context, req, res)
  })
}

// `push` is how Node's parser hands a chunk to the request stream: the one place that every way of reading shares.
function countBody(context: RequestContext, req: IncomingMessage, res: ServerResponse): void {
  const { push } = req
  let received = req.readableLength
  let refused = false
  req.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (refused) return true
    if (chunk !== null) {
      received += (chunk as Buffer).length
      const { maxBodyBytes = Number.POSITIVE_INFINITY } = context
      if (received > maxBodyBytes) {
        refused = true
        refuse(maxBodyBytes, req, res)
        return true
      }
    }
    return push.call(req, chunk, encoding)
  }
}

function refuse(maxBytes: number, req: IncomingMessage, res: ServerResponse): void {
  const error = tooLarge(maxBytes)
  lingerForBody(req, res, error)
  // A reader that listens passes the error on, so that the host's own error handler answers. A bare pipe does not: then it is answered here.
  if (req.listenerCount('error') > 0) req.emit('error', error)
  setImmediate(() => {
    if (!res.writableEnded) writeErrorInstead(error, req, res)
  })
}
