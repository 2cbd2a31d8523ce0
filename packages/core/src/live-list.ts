/** What is under way, in the order in which it came. */
export interface LiveList<T> extends Iterable<T> {
  readonly isEmpty: boolean
  /** Puts it at the end; returns what takes it out again, for which asking twice does nothing. */
  add(value: T): () => void
  /** Takes all out. */
  clear(): void
}

interface Link<T> {
  readonly value: T | undefined
  before: Link<T> | undefined
  after: Link<T> | undefined
}

/**
 * A list for what comes and goes with every request, as a `Set` that lives as long as the process must not be used for it: V8 gives a `Set` or `Map` a new table after some
 * dozen deletions, and once the table is in the old space the ones that it leaves behind are too. They keep what they held alive, 32 requests each, until the next full collection: a
 * scavenge that took 1 ms then takes 15.
 *
 * While it is gone through, the value that is shown may be taken out; others must stay.
 */
export function liveList<T>(): LiveList<T> {
  const ends: Link<T> = { value: undefined, before: undefined, after: undefined }
  ends.before = ends
  ends.after = ends

  const takeOut = (link: Link<T>): void => {
    const { before, after } = link
    if (before === undefined || after === undefined) return
    before.after = after
    after.before = before
    // One that has grown old would keep those alive that came after it.
    link.before = undefined
    link.after = undefined
  }

  return {
    get isEmpty() {
      return ends.after === ends
    },
    add(value) {
      const before = ends.before as Link<T>
      const link: Link<T> = { value, before, after: ends }
      before.after = link
      ends.before = link
      return () => takeOut(link)
    },
    clear() {
      for (let link = ends.after; link !== undefined && link !== ends; link = ends.after) takeOut(link)
    },
    *[Symbol.iterator]() {
      for (let link = ends.after; link !== undefined && link !== ends; ) {
        const { after } = link
        yield link.value as T
        link = after
      }
    },
  }
}
