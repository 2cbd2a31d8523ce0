import type { IncomingMessage } from 'node:http'
import { readBody } from '../http/body.js'

/** Fields of a form, or what is wrong with it in words that are safe to send. */
export type Form = ReadonlyMap<string, string> | string

/**
 * Reads `application/x-www-form-urlencoded` as RFC 6749 wants it (3.2): UTF-8, no field twice, an empty field the same as none. Takes what a
 * parser of the host's has left in `req.body`.
 *
 * @throws TollgateError of `readBody`
 */
export async function tokenForm(req: IncomingMessage, maxBytes: number): Promise<Form> {
  const type = req.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase()
  if (type !== 'application/x-www-form-urlencoded') return 'Send the parameters as application/x-www-form-urlencoded.'
  const { body } = req as IncomingMessage & { body?: unknown }
  if (body === undefined) return parseForm(await readBody(req, { maxBytes }))
  if (typeof body === 'string') return parseForm(Buffer.from(body))
  if (body instanceof Uint8Array) return parseForm(body)
  return ofParsed(body)
}

function parseForm(bytes: Uint8Array): Form {
  const fields = new Map<string, string>()
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    for (const pair of text.split('&')) {
      const equals = pair.indexOf('=')
      const name = decode(equals === -1 ? pair : pair.slice(0, equals))
      const value = equals === -1 ? '' : decode(pair.slice(equals + 1))
      if (value === '') continue
      if (fields.has(name)) return repeated
      fields.set(name, value)
    }
  } catch {
    return 'The form is not valid UTF-8 in percent encoding.'
  }
  return fields
}

/** A parser of the host's makes an array (or an object, `a[b]=c`) of a field that is there twice. */
function ofParsed(body: unknown): Form {
  const fields = new Map<string, string>()
  if (typeof body !== 'object' || body === null) return fields
  for (const [name, value] of Object.entries(body)) {
    if (typeof value !== 'string') return repeated
    if (value !== '') fields.set(name, value)
  }
  return fields
}

const repeated = 'Every parameter may be there once only.'

function decode(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '))
}
