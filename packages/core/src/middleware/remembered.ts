import { LRUCache } from 'lru-cache'
import { answerWithin } from '../stores/answer-within.js'
import { type Awaitable, isPromise } from '../stores/awaitable.js'
import { identityUnavailable } from './auth-challenge.js'

/** An answer of a source, as long as it is believed. The same object as long as the answer is the same. */
export interface Answer<Value> {
  readonly value: Value | undefined
  /** When it must be asked for again. */
  freshUntil: number
}

interface RememberedOptions<Value> {
  /** Asks the source. */
  readonly ask: (id: string) => Awaitable<Value | undefined>
  readonly freshMs: number
  /** How much longer an answer serves while the source is down. */
  readonly staleIfErrorMs: number
  readonly timeoutMs: number
  readonly cacheSize: number
  readonly now: () => number
}

/** Lookups by id that are remembered for a while. */
export interface Remembered<Value> {
  /** Throws or rejects with `identity_unavailable` when nobody can tell. */
  get(id: string): Awaitable<Answer<Value>>
  forget(id: string): void
  /** Forgets those that the test is true for, and every miss. */
  forgetWhere(test: (value: Value) => boolean): void
}

/** After a failure the source is left alone for this long. */
const pauseMs = 1_000

/**
 * A source that answers at once is asked every time. The answers of another are remembered, hits apart from misses, so that guessing ids does not push
 * out the real ones; an id that is being asked for is not asked for again. Past half its time a hit is renewed in the background. While the source
 * fails, hits go on for `staleIfErrorMs`.
 */
export function remembered<Value>(options: RememberedOptions<Value>): Remembered<Value> {
  const { ask, freshMs, staleIfErrorMs, timeoutMs, cacheSize, now } = options
  const hits = new LRUCache<string, Answer<Value>>({ max: cacheSize })
  const misses = new LRUCache<string, Answer<Value>>({ max: cacheSize })
  const lookups = new Map<string, Promise<Answer<Value>>>()
  let asynchronous = false
  let failure: unknown
  let pausedUntil = Number.NEGATIVE_INFINITY

  const lookUp = (id: string, answer: PromiseLike<Value | undefined>): Promise<Answer<Value>> => {
    asynchronous = true
    const askedAt = now()
    const lookup: Promise<Answer<Value>> = answerWithin(answer, timeoutMs).then(
      (found) => {
        const value = found ?? undefined
        const known = { value, freshUntil: askedAt + freshMs }
        // What was forgotten while it was asked for may be older than the change: it serves those who waited, and is not kept.
        if (lookups.get(id) === lookup) {
          lookups.delete(id)
          const [into, outOf] = value === undefined ? [misses, hits] : [hits, misses]
          outOf.delete(id)
          if (freshMs > 0) into.set(id, known)
        }
        return known
      },
      (cause: unknown) => {
        if (lookups.get(id) === lookup) lookups.delete(id)
        failure = cause
        pausedUntil = now() + pauseMs
        const stale = hits.get(id)
        if (stale !== undefined && now() < stale.freshUntil + staleIfErrorMs) return stale
        throw identityUnavailable(cause)
      },
    )
    lookups.set(id, lookup)
    return lookup
  }

  const begin = (id: string): Awaitable<Answer<Value>> => {
    let answer: Awaitable<Value | undefined>
    try {
      answer = ask(id)
    } catch (cause) {
      if (!asynchronous) throw identityUnavailable(cause)
      return lookUp(id, Promise.reject(cause))
    }
    // `null`, for sources that are not held by our types.
    if (!isPromise(answer)) return { value: answer ?? undefined, freshUntil: Number.POSITIVE_INFINITY }
    return lookUp(id, answer)
  }

  return {
    get(id) {
      if (!asynchronous) return begin(id)
      const known = hits.get(id) ?? misses.get(id)
      const left = known === undefined ? -1 : known.freshUntil - now()
      const running = lookups.get(id)
      const paused = now() < pausedUntil
      // More left than an answer ever has: the clock was set back.
      if (known !== undefined && left > 0 && left <= freshMs) {
        if (left < freshMs / 2 && known.value !== undefined && running === undefined && !paused) renew(begin(id))
        return known
      }
      if (running !== undefined) return running
      if (paused) {
        if (known?.value !== undefined && left > -staleIfErrorMs) return known
        throw identityUnavailable(failure, Math.max(1, pausedUntil - now()))
      }
      return begin(id)
    },
    forget(id) {
      hits.delete(id)
      misses.delete(id)
      lookups.delete(id)
    },
    forgetWhere(test) {
      for (const [id, { value }] of hits.entries()) if (value !== undefined && test(value)) hits.delete(id)
      misses.clear()
      lookups.clear()
    },
  }
}

/** Whoever needs the answer will hear of a failure; nobody waits for this one. */
function renew(answer: Awaitable<unknown>): void {
  if (isPromise(answer)) answer.catch(() => {})
}
