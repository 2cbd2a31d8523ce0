import { parsedJson } from '../providers/parsed-json.js'
import { splitEvents } from '../providers/sse-decoder.js'

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

const [quote, backslash, colon, comma, open, close, openList, closeList] = Buffer.from('"\\:,{}[]') as unknown as [
  ...Array<number>,
]

/** The same JSON with other ids; every other byte as it was. */
export function renamedIds(json: Buffer, rename: RenameId): Buffer {
  const pieces: Buffer[] = []
  let from = 0
  /** Names, and `*` for lists, that lead to where the reading is. */
  const path: string[] = []
  let depth = 0
  /** The text that was read last, which is a name if a colon follows. */
  let text = { from: 0, to: 0 }
  let isValue = false

  for (let at = 0; at < json.length; at += 1) {
    const byte = json[at]
    if (byte === quote) {
      text = { from: at, to: endOfText(json, at + 1) }
      at = text.to - 1
      if (isValue && depth <= deepest && places.has(path.slice(0, depth).join('.'))) {
        const id = parsedJson(json.toString('utf8', text.from, text.to))
        if (typeof id !== 'string' || id === '') continue
        pieces.push(json.subarray(from, text.from), Buffer.from(JSON.stringify(rename(id))))
        from = text.to
      }
    } else if (byte === colon) {
      isValue = true
      if (depth <= deepest) path[depth - 1] = String(parsedJson(json.toString('utf8', text.from, text.to)))
    } else if (byte === open || byte === openList) {
      if (depth < deepest) path[depth] = '*'
      depth += 1
      isValue = false
    } else if (byte === close || byte === closeList) {
      depth -= 1
    } else if (byte === comma) isValue = false
  }
  return pieces.length === 0 ? json : Buffer.concat([...pieces, json.subarray(from)])
}

/** Just behind the quote that ends a text. */
function endOfText(json: Buffer, from: number): number {
  for (let at = from; ; ) {
    const end = json.indexOf(quote as number, at)
    if (end === -1) return json.length
    let slashes = 0
    while (json[end - 1 - slashes] === backslash) slashes += 1
    at = end + 1
    if (slashes % 2 === 0) return at
  }
}

/** Whole events with other ids in them. */
export function renamedEvents(events: Buffer, rename: RenameId): Buffer {
  return Buffer.concat(splitEvents(events).map((event) => renamedEvent(event, rename)))
}

/** In Latin-1, a character for a byte. */
const dataLines = /^data: ?(.*)$/gm

function renamedEvent(event: Buffer, rename: RenameId): Buffer {
  const seen = event.toString('latin1')
  const lines = [...seen.matchAll(dataLines)].map(([, value = '']) => value)
  // Where an event's JSON stands on several lines, their ends are blank space of it.
  const json = Buffer.from(lines.join('\n'), 'latin1')
  const renamed = renamedIds(json, rename)
  if (renamed === json) return event
  const others = renamed.toString('latin1').split('\n').values()
  const written = seen.replace(dataLines, (line, value: string) => {
    return `${line.slice(0, line.length - value.length)}${others.next().value ?? ''}`
  })
  return Buffer.from(written, 'latin1')
}
