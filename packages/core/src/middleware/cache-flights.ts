import type { RequestContext } from '../http/context.js'
import type { CacheEntry } from '../stores/cache-store.js'

/** The request whose answer the others with the same key wait for. Each is told of once; what comes later is ignored. */
export interface Leader {
  /** Here is the answer: everyone who waits gets it. Also from a leader whose caller has left. */
  landed(entry: CacheEntry): void
  /** The answer is good, but not to be shared: everyone who waits runs at once. */
  unshareable(): void
  /** No answer to share (an error, or the caller left half way): the first who waits leads now, the others wait on. */
  failed(): void
}

/** What waiting came to: the answer, the lead, or neither in time. */
export type Landing = { readonly entry: CacheEntry } | { readonly leader: Leader } | 'alone'

export interface Flights {
  /**
   * Leads, waits, or (too many wait already) goes alone. The promise rejects with the reason of `context.signal`.
   */
  join(key: string, context: RequestContext): Leader | Promise<Landing> | 'alone'
}

interface Waiter {
  settle(landing: Landing): void
}

interface Flight {
  readonly waiters: Set<Waiter>
  leader: Leader | undefined
  startedAt: number
}

/**
 * One run for identical requests in flight, within this process. After an error they take the lead one at a time, so that a failing
 * upstream is not met by all of them at once; each waits `maxWaitMs` at most.
 */
export function flights(maxWaiters: number, maxWaitMs: number): Flights {
  const byKey = new Map<string, Flight>()

  const close = (key: string, flight: Flight, landing: Landing) => {
    if (byKey.get(key) === flight) byKey.delete(key)
    for (const waiter of [...flight.waiters]) waiter.settle(landing)
  }

  const lead = (key: string, flight: Flight): Leader => {
    const leader: Leader = {
      landed: (entry) => close(key, flight, { entry }),
      unshareable() {
        if (flight.leader === leader) close(key, flight, 'alone')
      },
      failed() {
        if (flight.leader !== leader) return
        const [first] = flight.waiters
        if (first === undefined) close(key, flight, 'alone')
        else first.settle({ leader: lead(key, flight) })
      },
    }
    flight.leader = leader
    flight.startedAt = performance.now()
    return leader
  }

  return {
    join(key, context) {
      const known = byKey.get(key)
      // A leader that takes longer than anyone waits has most likely hung: nobody joins it any more.
      if (known === undefined || performance.now() - known.startedAt > maxWaitMs) {
        const flight: Flight = { waiters: new Set(), leader: undefined, startedAt: 0 }
        byKey.set(key, flight)
        return lead(key, flight)
      }
      if (known.waiters.size >= maxWaiters) return 'alone'
      return wait(known, context.signal, maxWaitMs)
    },
  }
}

function wait(flight: Flight, signal: AbortSignal, maxWaitMs: number): Promise<Landing> {
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', leave)
      flight.waiters.delete(waiter)
    }
    const waiter: Waiter = {
      settle(landing) {
        done()
        resolve(landing)
      },
    }
    const leave = () => {
      done()
      reject(signal.reason)
    }
    const timer = setTimeout(() => waiter.settle('alone'), maxWaitMs).unref()
    flight.waiters.add(waiter)
    if (signal.aborted) leave()
    else signal.addEventListener('abort', leave)
  })
}
