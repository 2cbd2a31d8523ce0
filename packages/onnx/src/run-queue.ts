import { TollgateError } from '@tollgate/core/errors'

/** What waits for the worker. */
export interface Queued {
  /** Larger is sooner. */
  readonly priority: number
  readonly rows: number
}

export interface RunQueueLimits {
  readonly maxQueuedRequests: number
  readonly maxQueuedRows: number
}

/** A bounded queue: by priority, and within one priority first come, first served. */
export interface RunQueue<Item extends Queued> {
  readonly requests: number
  readonly rows: number
  /** @throws TollgateError `overloaded` when the item would go over a limit */
  push(item: Item): void
  /** Takes the next one. */
  shift(): Item | undefined
  /** Takes out one that nobody waits for any more. */
  remove(item: Item): void
}

export function runQueue<Item extends Queued>({ maxQueuedRequests, maxQueuedRows }: RunQueueLimits): RunQueue<Item> {
  const items: Item[] = []
  let rows = 0
  return {
    get requests() {
      return items.length
    },
    get rows() {
      return rows
    },
    push(item) {
      if (items.length + 1 > maxQueuedRequests || rows + item.rows > maxQueuedRows) {
        const message = `The model's queue is full (${items.length} calls, ${rows} rows). Try again shortly.`
        throw new TollgateError('overloaded', message, { retryAfterMs: 1000 })
      }
      let at = items.length
      while (at > 0 && (items[at - 1] as Item).priority < item.priority) at -= 1
      items.splice(at, 0, item)
      rows += item.rows
    },
    shift() {
      const item = items.shift()
      if (item !== undefined) rows -= item.rows
      return item
    },
    remove(item) {
      const at = items.indexOf(item)
      if (at === -1) return
      items.splice(at, 1)
      rows -= item.rows
    },
  }
}
