import { AsyncLocalStorage } from 'node:async_hooks'
import type { Branch, RecordedCall } from '../http/record-usage.js'
import { liveList } from '../live-list.js'
import { isPromise } from '../stores/awaitable.js'
import type { Target } from '../target.js'
import type { LimitEstimate } from './limit-estimate.js'
import type { LimitSubject } from './limit-rules.js'
import type { Taken } from './limit-taking.js'

/** Attempts of a request that follow one another; others may go on beside them. */
export interface Lane {
  /** What was taken for the model that is called, beside what was taken at the arrival. */
  ofModel: readonly Taken[]
  dispatched: Target | undefined
  /** What the model that was dispatched last is known to have used. */
  own: RecordedCall | undefined
  /** The last model was refused. */
  refused: boolean
  /** What is taken from now on is given back. */
  over: boolean
}

/** A request that is not over. */
export interface Running {
  readonly subject: LimitSubject
  readonly estimate: LimitEstimate | undefined
  /** All of the estimate was asked for at the arrival. */
  readonly isWhole: boolean
  /** What was taken at the arrival. */
  readonly taken: readonly Taken[]
  readonly lanes: Map<Branch, Lane>
  /** Units that are settled already, by the name of a rule over all models. */
  readonly settled: Map<string, number>
}

/** Renews what running requests hold, every so often, with one timer that ends when it finds nothing that runs. */
export function runningRequests(everyMs: number) {
  const running = liveList<Running>()
  // A timer that is made within a request would keep all of that request's context alive.
  const outside = AsyncLocalStorage.snapshot()
  let timer: NodeJS.Timeout | undefined

  const renew = (): void => {
    if (running.isEmpty) {
      stop()
      return
    }
    for (const { taken, lanes, subject } of running) {
      const ofModels = [...lanes.values()].flatMap(({ ofModel }) => ofModel)
      for (const { store, reservation, entries } of [...taken, ...ofModels]) {
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
    /** Returns what takes it out again. */
    add(run: Running): () => void {
      timer ??= outside(() => setInterval(renew, everyMs).unref())
      return running.add(run)
    },
    close: stop,
  }
}
