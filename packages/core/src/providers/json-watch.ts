import { parsedJson } from './parsed-json.js'

/** Watches the bytes of a JSON object pass, however large, and keeps a few of its fields. */
export interface JsonWatch {
  push(bytes: Buffer): void
  /** The value of a wanted field that has passed. */
  field(name: string): unknown
  /** How many objects have begun in the list of that name. */
  items(): number
}

/** Bytes that are kept of one field. */
const maxFieldBytes = 65_536
/** Beyond it a field's name is none that is wanted. */
const maxNameBytes = 256
const [quote, backslash, comma, colon, open, close, openList, closeList] = Buffer.from('"\\,:{}[]')

/**
 * For objects of OpenAI's: bytes are looked at once, and texts (base64 of pictures, for the most part) are skipped from quote to quote.
 *
 * @param wanted fields of the object itself, none within others
 * @param list a field whose objects are counted
 */
export function jsonWatch(wanted: ReadonlySet<string>, list: string): JsonWatch {
  const fields = new Map<string, unknown>()
  let depth = 0
  let isText = false
  /** Backslashes that the last bytes were. */
  let slashes = 0
  let isKey = false
  let name = ''
  /** The value of a wanted field so far. */
  let kept: string | undefined
  let items = 0

  const keep = (bytes: Buffer, from: number, to: number) => {
    if (kept !== undefined && kept.length <= maxFieldBytes) kept += bytes.toString('latin1', from, to)
  }
  const endValue = () => {
    if (kept !== undefined && kept.length <= maxFieldBytes) {
      fields.set(name, parsedJson(Buffer.from(kept, 'latin1').toString('utf8')))
    }
    kept = undefined
  }
  /** Just behind the text's last quote, or the end of these bytes. */
  const endOfText = (bytes: Buffer, from: number): number => {
    for (let at = from; at < bytes.length; ) {
      const found = bytes.indexOf(quote as number, at)
      const end = found === -1 ? bytes.length : found
      let before = end
      while (before > at && bytes[before - 1] === backslash) before -= 1
      slashes = end - before + (before === at ? slashes : 0)
      const isEscaped = slashes % 2 === 1
      if (found === -1) break
      slashes = 0
      if (!isEscaped) {
        isText = false
        return end + 1
      }
      at = end + 1
    }
    return bytes.length
  }

  return {
    push(bytes) {
      for (let at = 0; at < bytes.length; ) {
        if (isText) {
          const end = endOfText(bytes, at)
          if (!isKey) keep(bytes, at, end)
          else if (name.length < maxNameBytes) name += bytes.toString('latin1', at, isText ? end : end - 1)
          at = end
          continue
        }
        const byte = bytes[at] as number
        at += 1
        if (byte === quote) {
          isText = true
          slashes = 0
          if (isKey) name = ''
        } else if (byte === open || byte === openList) {
          depth += 1
          if (depth === 1) {
            isKey = byte === open
            continue
          }
          if (depth === 3 && byte === open && name === list) items += 1
        } else if (byte === close || byte === closeList) {
          depth -= 1
          if (depth === 0) endValue()
        } else if (depth === 1 && byte === comma) {
          endValue()
          isKey = true
          continue
        } else if (depth === 1 && byte === colon && isKey) {
          isKey = false
          kept = wanted.has(name) ? '' : undefined
          continue
        }
        if (!isKey) keep(bytes, at - 1, at)
      }
    },
    field: (wantedName) => fields.get(wantedName),
    items: () => items,
  }
}
