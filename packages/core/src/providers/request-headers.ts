import { configInvalid } from '../errors.js'

/** Of the connection or the body: what stands in them is not the configuration's to say. */
const reserved = new Set(['connection', 'content-length', 'expect', 'keep-alive', 'transfer-encoding', 'upgrade'])

/** RFC 9110, 5.5, with the bytes beyond ASCII that it calls obsolete. */
const sendable = /^[\t\x20-\x7e\x80-\xff]*$/

/**
 * Header fields that are sent with every request, names and values in turn.
 *
 * @throws TollgateError `config_invalid` for those that cannot be sent; the value is not repeated
 */
export function checkedHeaders(upstream: string, headers: Readonly<Record<string, string>> = {}): string[] {
  for (const [field, value] of Object.entries(headers)) {
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(field)) throw configInvalid(`${upstream}: headers: '${field}' is no name of one.`)
    if (reserved.has(field.toLowerCase())) throw configInvalid(`${upstream}: headers: ${field} cannot be set.`)
    if (!sendable.test(value)) {
      throw configInvalid(`${upstream}: headers: ${field} has characters that none may have; is there a line break?`)
    }
  }
  return Object.entries(headers).flat()
}

/** Can all of these be sent? The client of HTTP throws for others, and never again uses the connection that they were meant for. */
export function areSendable(values: readonly string[]): boolean {
  return values.every((value) => sendable.test(value))
}
