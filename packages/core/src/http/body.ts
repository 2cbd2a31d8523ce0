import type { IncomingMessage } from 'node:http'
import { isTollgateError, TollgateError } from '../errors.js'
import { existingContext } from './context.js'

/** What a body may weigh when nobody said otherwise: 1 MiB. */
export const defaultMaxBodyBytes = 1_048_576

export interface BodyOptions {
  /** Bytes. Default: what `bodyLimit` set, else 1 MiB. */
  readonly maxBytes?: number
  /** Milliseconds for the whole body to arrive. Default 30,000. */
  readonly timeoutMs?: number
}

/** What Express's and Connect's parsers leave on a request. */
interface ParsedRequest extends IncomingMessage {
  body?: unknown
  _body?: boolean
  /** Why it could not be read: it is gone, and whoever asks again is told the same. */
  [failedKey]?: unknown
}

const failedKey = Symbol.for('tollgate.body-failed')

/**
 * The request's JSON body. Takes `req.body` if a parser of the host has been here; else reads and parses it, and leaves it in `req.body`
 * for whoever comes later (with `_body`, so that Express's `json()` knows).
 *
 * @throws TollgateError `unsupported_media_type`, `payload_too_large`, `invalid_json`, `request_timeout`
 */
export async function jsonBody(req: IncomingMessage, options: BodyOptions = {}): Promise<unknown> {
  const parsed = req as ParsedRequest
  if (parsed.body !== undefined) return parsed.body
  if (parsed[failedKey] !== undefined) throw parsed[failedKey]
  const contentType = req.headers['content-type']
  if (!isJsonType(contentType)) {
    throw new TollgateError(
      'unsupported_media_type',
      `Send the body as application/json${contentType === undefined ? ' (there was no Content-Type header)' : ''}.`,
    )
  }
  try {
    const body = parseJson(await readBody(req, options))
    parsed.body = body
    parsed._body = true
    return body
  } catch (error) {
    parsed[failedKey] = error
    throw error
  }
}

/**
 * The request's bytes, read once.
 *
 * @throws TollgateError `payload_too_large` (as soon as that is known), `unsupported_media_type` for a Content-Encoding,
 * `request_timeout`, `client_closed`
 */
export function readBody(req: IncomingMessage, options: BodyOptions = {}): Promise<Buffer> {
  const maxBytes = options.maxBytes ?? existingContext(req).maxBodyBytes ?? defaultMaxBodyBytes
  const timeoutMs = options.timeoutMs ?? 30_000
  if (isEncoded(req)) return Promise.reject(encodedBody())
  if (Number(req.headers['content-length'] ?? 0) > maxBytes) return Promise.reject(tooLarge(maxBytes))
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let length = 0
    const timer = setTimeout(
      () => finish(new TollgateError('request_timeout', `The body did not arrive within ${timeoutMs} ms.`)),
      timeoutMs,
    )
    timer.unref()
    const finish = (error?: Error) => {
      clearTimeout(timer)
      req.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose)
      if (error !== undefined) reject(error)
      else resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, length))
    }
    const onData = (chunk: Buffer) => {
      length += chunk.length
      if (length > maxBytes) {
        // Stop reading; the error's answer closes the connection instead of swallowing the rest.
        req.pause()
        finish(tooLarge(maxBytes))
      } else chunks.push(chunk)
    }
    const onEnd = () => finish()
    // `bodyLimit` refuses a chunked body through the stream.
    const onError = (cause: Error) => finish(isTollgateError(cause) ? cause : leftEarly(cause))
    const onClose = () => finish(leftEarly())
    req.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose)
  })
}

/** Is the body compressed, which nobody here undoes? */
export function isEncoded({ headers }: IncomingMessage): boolean {
  const encoding = headers['content-encoding']
  return encoding !== undefined && encoding !== 'identity'
}

/** The 415 for such a body. */
export function encodedBody(): TollgateError {
  return new TollgateError('unsupported_media_type', 'Send the body without a Content-Encoding.', {
    headers: { 'accept-encoding': 'identity' },
  })
}

/** Parses bytes as JSON; the error says what and where, without repeating the body. */
export function parseJson(bytes: Buffer): unknown {
  if (bytes.length === 0) throw new TollgateError('invalid_json', 'The body is empty; send a JSON value.')
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    throw new TollgateError('invalid_json', `The body is not valid JSON: ${whereItBreaks(String(cause))}.`)
  }
}

// V8's message quotes the body, which may hold a secret: only the position goes out, or the one character that was not expected.
function whereItBreaks(message: string): string {
  const position = /position (\d+)(?: \(line (\d+) column (\d+)\))?/.exec(message)
  if (position !== null) return `at line ${position[2] ?? 1}, column ${position[3] ?? Number(position[1]) + 1}`
  const token = /Unexpected token '(.)'/u.exec(message)
  return token === null ? 'it ends too early' : `unexpected '${token[1]}'`
}

/** The 413 of every reader of bodies. Closes the connection, so that the rest need not be read. */
export function tooLarge(maxBytes: number): TollgateError {
  return new TollgateError('payload_too_large', `The body is over the limit of ${maxBytes} bytes.`, {
    headers: { connection: 'close' },
  })
}

/** Of a caller that is gone before its body is whole. */
export function leftEarly(cause?: Error): TollgateError {
  return new TollgateError('client_closed', 'The caller left before the body was complete.', { cause })
}

const jsonType = /^[ \t]*application\/(?:[\w.!#$&^+-]+\+)?json[ \t]*(?:;|$)/i

/** Is this `Content-Type` JSON, or a format made of it (`application/problem+json`)? */
export function isJsonType(contentType: unknown): boolean {
  return typeof contentType === 'string' && jsonType.test(contentType)
}
