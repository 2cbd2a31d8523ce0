import { AsyncLocalStorage } from 'node:async_hooks'
import type { EarlierCalls } from '../http/record-usage.js'
import { isPromise } from '../stores/awaitable.js'
import type { Target } from '../target.js'
import type { Usage } from '../usage.js'
import type { LimitEstimate } from './limit-estimate.js'
import type { LimitSubject } from './limit-rules.js'
import type { Taken } from './limit-taking.js'

/** A request that is not over. */
export interface Running {
  readonly subject: LimitSubject
  readonly estimate: LimitEstimate | undefined
  /** What was taken at the arrival. */
  readonly taken: readonly Taken[]
  /** What was taken for the model that is called, beside that. */
  ofModel: readonly Taken[]
  dispatched: Target | undefined
  /** What the model that was dispatched last is known to have used. */
  own: Usage | undefined
  /** What attempts before that came to. */
  earlier: EarlierCalls | undefined
  /** Refused after it was let in: nothing of it counts. */
  refused: boolean
}

/** Renews what running requests hold, every so often, with one timer that is there only while something runs. */
export function runningRequests(everyMs: number) {
  const running = new Set<Running>()
  // A timer that is made within a request would keep all of that request's context alive.
  const outside = AsyncLocalStorage.snapshot()
  let timer: NodeJS.Timeout | undefined

  const renew = (): void => {
    for (const { taken, ofModel, subject } of running) {
      for (const { store, reservation, entries } of [...taken, ...ofModel]) {
        if (!entries.some(({ claim }) => claim.kind !== 'bucket')) continue
        const log = (error: unknown) =>
          subject.context.log?.warn({ err: error }, 'what a request holds was not renewed')
        try {
          const done = store.renew(reservation)
          if (isPromise(done)) done.then(undefined, log)
        } catch (error) {
          log(error)
        }
      }
    }
  }
  const stop = (): void => {
    clearInterval(timer)
    timer = undefined
  }

  return {
    add(run: Running): void {
      running.add(run)
      timer ??= outside(() => setInterval(renew, everyMs).unref())
    },
    delete(run: Running): void {
      running.delete(run)
      if (running.size === 0) stop()
    },
    close: stop,
  }
}
