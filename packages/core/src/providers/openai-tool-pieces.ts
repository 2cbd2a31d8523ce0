/** A piece of a call, as an event of a stream has it. Everything in it is the upstream's word. */
export interface ToolPiece {
  index?: unknown
  id?: unknown
  function?: { name?: unknown; arguments?: unknown } | null
}

/**
 * Tells to which call of an answer each piece belongs, counted from 0 in the order in which they begin. By its `index`; but some servers leave that out, and some give it to every call. A call begins with its
 * name, so that one with another id is another call. A new id alone is none: some give each piece one.
 */
export function callNumbers(): (piece: ToolPiece) => number {
  const begun = new Map<number | undefined, { readonly number: number; readonly id: unknown }>()
  let count = 0
  return ({ index, id, function: called }) => {
    const place = typeof index === 'number' ? index : undefined
    const known = begun.get(place)
    const isNamed = typeof called?.name === 'string' && called.name !== ''
    const isOther = isNamed && (place === undefined || typeof id === 'string') && (id ?? {}) !== known?.id
    if (known !== undefined && !isOther) return known.number
    const number = count
    count += 1
    begun.set(place, { number, id })
    return number
  }
}
