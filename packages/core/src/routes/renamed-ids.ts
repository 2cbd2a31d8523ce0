import { parsedJson } from '../providers/parsed-json.js'

/** Gives an id of the upstream's the form in which callers get it. */
export type RenameId = (id: string) => string

/** Where answers, lists and events of the Responses API have ids of what is stored. `*` is any place in a list. */
const places: ReadonlySet<string> = new Set([
  ...['id', 'previous_response_id', 'output.*.id', 'output.*.approval_request_id'],
  ...['response.id', 'response.previous_response_id', 'response.output.*.id', 'response.output.*.approval_request_id'],
  ...['item_id', 'item.id', 'item.approval_request_id'],
  ...['data.*.id', 'data.*.approval_request_id', 'first_id', 'last_id'],
])
const deepest = 4

const [quote, backslash, colon, comma, open, close, openList, closeList, lf, cr] = [...Buffer.from('"\\:,{}[]\n\r')]

/** The same JSON with other ids; every other byte as it was. */
export function renamedIds(json: Buffer, rename: RenameId): Buffer {
  return renamed(json, rename, false)
}

/** Whole events with other ids in them. */
export function renamedEvents(events: Buffer, rename: RenameId): Buffer {
  return renamed(events, rename, true)
}

/** Looks at each byte once, and decodes nothing but names and ids: all that an upstream streams goes through here. */
function renamed(bytes: Buffer, rename: RenameId, isStream: boolean): Buffer {
  const pieces: Buffer[] = []
  let from = 0
  /** Names, and `*` for lists, that lead to where the reading is. */
  const path: string[] = []
  let depth = 0
  /** The text that was read last, which is a name if a colon follows. */
  let text = { from: 0, to: 0 }
  let isValue = false

  for (let at = isStream ? nextData(bytes, 0) : 0; at < bytes.length; at += 1) {
    const byte = bytes[at]
    if (byte === quote) {
      text = { from: at, to: endOfText(bytes, at + 1) }
      at = text.to - 1
      if (!isValue || depth > deepest || !places.has(path.slice(0, depth).join('.'))) continue
      const id = textOf(bytes, text)
      if (id === '') continue
      pieces.push(bytes.subarray(from, text.from), Buffer.from(JSON.stringify(rename(id))))
      from = text.to
    } else if (byte === colon) {
      isValue = true
      if (depth > 0 && depth <= deepest) path[depth - 1] = textOf(bytes, text)
    } else if (byte === open || byte === openList) {
      if (depth < deepest) path[depth] = '*'
      depth += 1
      isValue = false
    } else if (byte === close || byte === closeList) depth = Math.max(0, depth - 1)
    else if (byte === comma) isValue = false
    // Where an event's JSON stands on several lines, their ends are blank space of it.
    else if (isStream && (byte === lf || byte === cr)) at = nextData(bytes, at + 1) - 1
  }
  return pieces.length === 0 ? bytes : Buffer.concat([...pieces, bytes.subarray(from)])
}

/** A text without its quotes; nothing for one that is none. */
function textOf(bytes: Buffer, { from, to }: { readonly from: number; readonly to: number }): string {
  const written = bytes.toString('utf8', from, to)
  if (written.includes('\\')) return String(parsedJson(written) ?? '')
  return written.length > 1 && written.endsWith('"') ? written.slice(1, -1) : ''
}

/** Just behind the quote that ends a text. */
function endOfText(bytes: Buffer, from: number): number {
  for (let at = from; ; ) {
    const end = bytes.indexOf(quote as number, at)
    if (end === -1) return bytes.length
    let slashes = 0
    while (bytes[end - 1 - slashes] === backslash) slashes += 1
    at = end + 1
    if (slashes % 2 === 0) return at
  }
}

const data = Buffer.from('data:')

/** Just behind the next `data:`, from where a line begins. */
function nextData(bytes: Buffer, from: number): number {
  for (let at = from; at < bytes.length; at += 1) {
    if (bytes[at] === data[0] && data.equals(bytes.subarray(at, at + data.length))) return at + data.length
    while (at < bytes.length && bytes[at] !== lf && bytes[at] !== cr) at += 1
  }
  return bytes.length
}
