import { TollgateError } from '../errors.js'
import { abortError } from '../inference/call.js'
import type { AttemptBeside, Call } from '../inference/model.js'
import type { Target } from '../target.js'
import type { Usage } from '../usage.js'
import type { withAttempts } from './failure.js'

type BoundedCall = ReturnType<typeof withAttempts>

/** What became of an attempt beside the first: `won` answers, `outrun` was stopped because another did, `left` because the caller left or the deadline passed. */
export type HedgeEnd = 'won' | 'outrun' | 'failed' | 'left'

/** One of the attempts that race for an answer. */
export interface Racer {
  /** For its model: with a signal, and money, of its own. */
  readonly call: Call & { readonly progress: { sent: boolean } }
  readonly isHedge: boolean
  /** What it has used, asked once when it is stopped or has failed. */
  used: (isStopped: boolean) => Usage | undefined
  /** Lets go of its answer. */
  close: () => void
  /** It is over: the caller's leaving is no longer told to it. */
  done(): void
}

interface Runner extends Racer {
  readonly beside: AttemptBeside | undefined
  failure: { readonly error: unknown } | undefined
  /** Pays for what it has used, once. */
  pay(isStopped: boolean): void
  /** From then on it may not be sent, and says nothing. */
  stop(reason: unknown): void
  /** Once, of a hedge alone. */
  tellEnd(end: HedgeEnd): void
  tellOutrun(): void
  tellFailed(): void
}

export interface RaceOptions<Value> {
  readonly call: BoundedCall
  readonly afterMs: number
  readonly maxHedges: number
  /** May another attempt begin now? */
  mayHedge(): boolean
  admit(racer: Racer): Promise<void>
  /** Resolves with the first output. */
  begin(racer: Racer): Promise<Value>
  /** Called as soon as one has it, when the others are stopped. */
  won(value: Value, racer: Racer): void
  /** Called once for each hedge. `target`: whom it was sent to last, if it was. */
  hedgeEnded(end: HedgeEnd, target: Target | undefined): void
}

/** The first output of several attempts; with the error of the first attempt where none has one. */
export function race<Value>(options: RaceOptions<Value>): Promise<Value> {
  const { call, afterMs, maxHedges, mayHedge, admit, begin, won, hedgeEnded } = options
  const { signal } = call
  if (signal.aborted) return Promise.reject(abortError(signal))
  return new Promise((resolve, reject) => {
    const runners: Runner[] = []
    let isOver = false
    let timer: NodeJS.Timeout | undefined

    const end = (work: () => Value): void => {
      if (isOver) return
      isOver = true
      clearTimeout(timer)
      signal.removeEventListener('abort', leave)
      try {
        resolve(work())
      } catch (error) {
        for (const runner of runners) {
          runner.stop(error)
          runner.tellEnd('failed')
        }
        reject(error)
      }
    }
    const leave = (): void =>
      end(() => {
        for (const runner of runners) {
          runner.pay(true)
          runner.stop(signal.reason)
          runner.tellEnd('left')
        }
        throw abortError(signal)
      })
    const finish = (winner: Runner, value: Value): Value => {
      const outrun = new TollgateError('client_closed', 'Another attempt has answered.')
      for (const runner of runners) {
        if (runner === winner) continue
        if (runner.failure === undefined) {
          runner.pay(true)
          runner.stop(outrun)
          runner.tellEnd('outrun')
          runner.tellOutrun()
          runner.beside?.end(false)
        } else if (!runner.isHedge) runner.tellFailed()
      }
      winner.tellEnd('won')
      winner.beside?.end(true)
      won(value, winner)
      return value
    }
    const lose = (runner: Runner, error: unknown): void => {
      if (isOver) return
      try {
        runner.failure = { error }
        runner.pay(false)
        runner.stop(error)
        if (runner.isHedge) {
          runner.tellEnd('failed')
          runner.tellFailed()
          runner.beside?.end(false)
        }
      } catch (settling) {
        end(() => {
          throw settling
        })
      }
      if (runners.some(({ failure }) => failure === undefined)) return
      end(() => {
        throw runners[0]?.failure?.error
      })
    }
    const run = async (runner: Runner): Promise<Value> => {
      await admit(runner)
      if (runner.call.signal.aborted) throw abortError(runner.call.signal)
      if (!runner.isHedge) wait()
      return begin(runner)
    }
    const enter = (isHedge: boolean): void => {
      const runner = runnerOf(call, isHedge ? call.beside?.() : undefined, isHedge ? hedgeEnded : undefined)
      runners.push(runner)
      run(runner).then(
        (value) => end(() => finish(runner, value)),
        (error: unknown) => lose(runner, error),
      )
    }
    const wait = (): void => {
      timer = setTimeout(() => {
        if (!mayHedge()) return
        enter(true)
        if (runners.length <= maxHedges) wait()
      }, afterMs)
    }

    // Before those of the attempts: what they have used is counted while they still run.
    signal.addEventListener('abort', leave)
    enter(false)
  })
}

function runnerOf(
  call: BoundedCall,
  beside: AttemptBeside | undefined,
  hedgeEnded: RaceOptions<unknown>['hedgeEnded'] | undefined,
): Runner {
  const controller = new AbortController()
  const { attempts } = call
  const own = beside?.call ?? call
  const leave = () => controller.abort(call.signal.reason)
  call.signal.addEventListener('abort', leave)
  let target: Target | undefined
  let isPaid = false
  let isOver = false
  let isTold = false
  const done = () => call.signal.removeEventListener('abort', leave)
  const runner: Runner = {
    isHedge: hedgeEnded !== undefined,
    beside,
    failure: undefined,
    used: () => undefined,
    close: () => {},
    done,
    call: {
      ...call,
      ...beside?.call,
      signal: controller.signal,
      progress: { sent: false },
      // Whom it was sent to last is its own; how often it may be is not.
      attempts: {
        get left() {
          return attempts.left
        },
        set left(left) {
          attempts.left = left
        },
      },
      dispatching(next) {
        if (isOver) throw abortError(controller.signal)
        target = next
        isPaid = false
        return own.dispatching?.(next)
      },
      spent(usage) {
        if (isOver) return
        isPaid = true
        own.spent?.(usage)
      },
    },
    pay(isStopped) {
      if (isOver || isPaid) return
      const usage = runner.used(isStopped)
      isPaid = true
      if (usage !== undefined) own.spent?.(usage)
    },
    stop(reason) {
      done()
      // What has races of its own within pays for them now.
      controller.abort(reason)
      isOver = true
      runner.close()
    },
    tellEnd(end) {
      if (isTold) return
      isTold = true
      hedgeEnded?.(end, target)
    },
    tellOutrun() {
      if (target !== undefined) own.outrun?.(target)
    },
    tellFailed() {
      if (target !== undefined) own.failed?.(target, runner.failure?.error)
    },
  }
  return runner
}
