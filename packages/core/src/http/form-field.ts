import type { IncomingMessage } from 'node:http'
import { TollgateError } from '../errors.js'
import { encodedBody, isEncoded, tooLarge } from './body.js'
import { bodyReader } from './body-reader.js'
import { type FileSpool, fileSpool } from './file-spool.js'
import { type FormPiece, formScanner, malformed } from './form-scanner.js'

export interface FormFieldOptions {
  readonly name: string
  /** A header that says it too, for forms that have it behind a file. It then holds, and nothing is read beforehand. */
  readonly header: string
  /** Bytes in which the field has to come, unless there is a `spoolFolder`. */
  readonly maxHeldBytes: number
  /** Where what comes before the field waits beyond that, in a file without a name. Absent: it is refused. */
  readonly spoolFolder: string | undefined
  /** Short fields that are wanted too, as far as they come before the files; for them the form waits until the first file begins. Default none. */
  readonly notes?: readonly string[]
  /** Bytes of the whole form. */
  readonly maxBytes: number
  /** Milliseconds for the field to come, or for the beginning that is held; from there on to wait for the next piece. */
  readonly timeoutMs: number
}

/** A form that is still arriving, and one of its fields. */
export interface FormField {
  /** `undefined`: the form has none. */
  readonly value: string | undefined
  /** Those of `notes` that came. */
  readonly noted: ReadonlyMap<string, string>
  /** With its boundary, in one way of writing: whatever else the caller's says of it is not handed on. */
  readonly contentType: string
  /**
   * The whole form with this value in the field's place, all other bytes as they are. It can be had once: nothing is kept.
   *
   * @throws TollgateError while it is read: `invalid_request`, `payload_too_large`, `client_closed`
   */
  send(value: string): { readonly bytes: AsyncIterable<Buffer>; readonly length: number | undefined }
  /** Lets go of what is held. Call it when the form is sent, or never will be. */
  close(): Promise<void>
}

/** Is this `Content-Type` a multipart form? */
export function isFormType(contentType: string | undefined): contentType is string {
  return /^[ \t]*multipart\/form-data[ \t]*(?:;|$)/i.test(contentType ?? '')
}

/**
 * Finds one field of a multipart form while the rest is still on its way. What comes before it is held, in memory within `maxHeldBytes`; the files behind it are never.
 *
 * Leaves the field in `req.body`, as a parser of forms would.
 *
 * @throws TollgateError `invalid_request` for a form that is malformed or has the field too late; `unsupported_media_type`, `payload_too_large`, `request_timeout`, `client_closed`
 */
export async function formField(req: IncomingMessage, options: FormFieldOptions): Promise<FormField> {
  const { name, header, maxHeldBytes, spoolFolder, maxBytes, timeoutMs, notes = [] } = options
  const { 'content-type': contentType = '', 'content-length': given } = req.headers
  const boundary = boundaryOf(contentType)
  if (isEncoded(req)) throw encodedBody()
  if (Number(given ?? 0) > maxBytes) throw tooLarge(maxBytes)
  const reader = bodyReader(req)
  const scanner = formScanner(boundary, name, notes)
  let received = 0
  /** What is decided of the next bytes; `undefined` at the end. */
  const next = async (): Promise<FormPiece[] | undefined> => {
    const late = () => new TollgateError('request_timeout', `No more of the form arrived within ${timeoutMs} ms.`)
    const timer = setTimeout(() => reader.fail(late()), timeoutMs).unref()
    const chunk = await reader.read().finally(() => clearTimeout(timer))
    if (chunk === undefined) {
      if (!scanner.isComplete()) throw malformed('it ends before its last boundary')
      return undefined
    }
    received += chunk.length
    if (received > maxBytes) throw tooLarge(maxBytes)
    return scanner.push(chunk)
  }

  const named = req.headers[header]
  const held: FormPiece[] = []
  let found: Exclude<FormPiece, Buffer> | undefined
  let spool: FileSpool | undefined
  const close = async () => {
    held.length = 0
    await spool?.close()
    spool = undefined
  }
  /** Until the field is found, or the form is over. */
  const search = async (): Promise<void> => {
    const late = () => {
      const what = found === undefined ? `The field ${name}` : 'What a form has before its files'
      return new TollgateError('request_timeout', `${what} did not arrive within ${timeoutMs} ms.`)
    }
    const timer = setTimeout(() => reader.fail(late()), timeoutMs).unref()
    try {
      for (let pieces = await next(); pieces !== undefined; pieces = await next()) {
        held.push(...pieces)
        found ??= pieces.find((piece): piece is Exclude<FormPiece, Buffer> => !Buffer.isBuffer(piece))
        if (found !== undefined && (notes.length === 0 || scanner.hasFile())) return
        if (received <= maxHeldBytes) continue
        if (found !== undefined) return
        if (spoolFolder === undefined) throw tooLate(options)
        timer.refresh()
        spool ??= await fileSpool(spoolFolder)
        for (const piece of held.splice(0)) if (Buffer.isBuffer(piece)) await spool.write(piece)
      }
    } catch (error) {
      await close()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }
  if (typeof named !== 'string') await search()
  const value = typeof named === 'string' ? named : found?.value?.toString('utf8')
  if (value !== undefined) (req as { body?: unknown }).body = { [name]: value }
  const sending: Sending = { held, next, spool: () => spool, isSent: false }

  return {
    value,
    noted: scanner.noted(),
    contentType: `multipart/form-data; boundary=${/^[\w'+.-]+$/.test(boundary) ? boundary : `"${boundary}"`}`,
    close,
    send(own) {
      const written = Buffer.from(own)
      // Of a field that is yet to come nobody knows what it changes.
      const length =
        given === undefined || found?.value === undefined
          ? undefined
          : Number(given) + written.length - found.value.length
      return { bytes: bytesOf(sending, written), length }
    },
  }
}

interface Sending {
  /** What came before the field, and the field, as far as it is not in the spool. */
  readonly held: FormPiece[]
  next(): Promise<FormPiece[] | undefined>
  spool(): FileSpool | undefined
  isSent: boolean
}

/** One function for all forms: a generator function made for each would keep its request until the next full collection. */
async function* bytesOf(sending: Sending, written: Buffer): AsyncGenerator<Buffer> {
  if (sending.isSent) throw new TollgateError('internal', 'A form was to be sent twice; nothing of it is kept.')
  sending.isSent = true
  const put = (piece: FormPiece) => (Buffer.isBuffer(piece) ? piece : written)
  const spool = sending.spool()
  if (spool !== undefined) yield* spool.read()
  // The last bytes go out when the form is known to be whole: with its length told, they would make a request of one that is not.
  let last = sending.held.splice(0)
  for (let pieces = await sending.next(); pieces !== undefined; pieces = await sending.next()) {
    yield* last.map(put)
    last = pieces
  }
  yield* last.map(put)
}

/** RFC 2046, 5.1.1, with what clients have besides; given twice, it may be read in two ways, and so may one that ends in a blank. */
function boundaryOf(contentType: string): string {
  const [match, second] = [
    ...contentType.matchAll(/;[ \t]*boundary=(?:"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,200})"|([^\s";,]{1,200}))/gi),
  ]
  const boundary = match?.[1] ?? match?.[2]
  if (boundary === undefined || second !== undefined) {
    throw malformed('its Content-Type names no boundary, or several')
  }
  if (!/^[\x20-\x7e]*[\x21-\x7e]$/.test(boundary)) throw malformed('its boundary has characters that none may have')
  return boundary
}

function tooLate({ name, header, maxHeldBytes }: FormFieldOptions): TollgateError {
  const errors = [{ path: name, message: `must come within the first ${maxHeldBytes} bytes of the form` }]
  return new TollgateError(
    'invalid_request',
    `The field ${name} does not come within the first ${maxHeldBytes} bytes of the form. Put it before the files, or name it in the header ${header} too.`,
    { errors },
  )
}
