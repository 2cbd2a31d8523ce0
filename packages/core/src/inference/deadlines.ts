import { liveList } from '../live-list.js'

/** What is to be stopped when its time is over. */
export interface Deadlines {
  /** Calls `expire` at `at` (milliseconds since the epoch), unless the returned function is called first. */
  add(at: number, expire: () => void): () => void
  /** Forgets everything that waits. */
  close(): void
}

interface Waiting {
  readonly at: number
  readonly expire: () => void
  forget: () => void
}

/** The longest that `setTimeout` can wait. */
const longestTimerMs = 2_147_483_647

/**
 * Deadlines of many calls on one timer. The timer stands at the earliest deadline it has heard of; calls that end in time, as nearly all
 * do, only leave a list. So a call costs no timer, and a timer fires about once per timeout however many calls pass.
 */
export function deadlines(now: () => number = Date.now): Deadlines {
  const waiting = liveList<Waiting>()
  let timer: NodeJS.Timeout | undefined
  let timerAt = Number.POSITIVE_INFINITY

  const arm = (at: number) => {
    clearTimeout(timer)
    timerAt = at
    timer = setTimeout(fire, Math.min(Math.max(0, at - now()), longestTimerMs)).unref()
  }
  const fire = () => {
    timerAt = Number.POSITIVE_INFINITY
    const time = now()
    let earliest = Number.POSITIVE_INFINITY
    const expired: Waiting[] = []
    for (const entry of waiting) {
      if (entry.at <= time) expired.push(entry)
      else if (entry.at < earliest) earliest = entry.at
    }
    for (const { forget } of expired) forget()
    if (earliest !== Number.POSITIVE_INFINITY) arm(earliest)
    for (const { expire } of expired) expire()
  }

  return {
    add(at, expire) {
      const entry: Waiting = { at, expire, forget: () => {} }
      entry.forget = waiting.add(entry)
      if (at < timerAt) arm(at)
      return entry.forget
    },
    close() {
      clearTimeout(timer)
      timerAt = Number.POSITIVE_INFINITY
      waiting.clear()
    },
  }
}
