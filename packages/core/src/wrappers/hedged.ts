import { z } from 'zod'
import { configInvalid } from '../errors.js'
import { targetOf } from '../inference/call.js'
import type { Call, Model, ModelStream } from '../inference/model.js'
import { streamOf } from '../inference/service-stream.js'
import { reaches } from '../inference/stored.js'
import type { Task, Tasks } from '../inference/task.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import type { Target } from '../target.js'
import { isAnything, noUsage, type Usage } from '../usage.js'
import { begunParts } from './begun-stream.js'
import { admit, withAttempts } from './failure.js'
import { type HedgeEnd, type Racer, race } from './hedge-race.js'
import { type LearnedDelay, learnedDelay } from './learned-delay.js'
import { passesOnce } from './passes-once.js'

/** What became of a hedge, or that there was none: `withheld`, because the budget of hedges was used up. */
export interface HedgeResult {
  readonly outcome: HedgeEnd | 'withheld'
  /** Whom it was sent to last, or would have been. */
  readonly target: Target
}

export interface HedgeOptions<T extends Task> {
  /** Without a first output for so long, another attempt goes beside the one under way; and another after as long again. Milliseconds. */
  readonly afterMs: number
  /** `p95`: later than `afterMs` where one call in twenty takes longer than that, by what was seen of the last 100. Default: always `afterMs`. */
  readonly after?: 'p95'
  /** Attempts beside the first. Default 1. */
  readonly maxHedges?: number
  /** Whom the others are sent to. Default: the same model. */
  readonly target?: Model<T>
  /** Hedges for each call, on average: so that an upstream that is slow for all does not get twice the load. Default 0.1. */
  readonly budgetRatio?: number
  /** Hedges that may be saved up. Default 10. */
  readonly budgetBurst?: number
  /** How often a call is sent to a model at most, by all wrappers within this one. Default 6. */
  readonly maxAttempts?: number
  /** Told what became of each hedge. */
  readonly onHedge?: (result: HedgeResult) => void
  /** Milliseconds, never going back. Default `performance.now`. */
  readonly now?: () => number
}

/** What of it can be written as data. */
export const hedgeSettings = z.strictObject({
  afterMs: z
    .number()
    .min(0)
    .max(3_600_000)
    .describe(
      'Milliseconds without a first output, after which another attempt goes beside the one under way; and another after as long again.',
    ),
  after: z
    .literal('p95')
    .optional()
    .describe('`p95`: later than `afterMs`, where one call in twenty takes longer than that (of the last 100).'),
  maxHedges: z.int().min(1).max(5).default(1).describe('Attempts beside the first.'),
  budgetRatio: z
    .number()
    .min(0)
    .max(5)
    .default(0.1)
    .describe('Hedges for each call, on average: an upstream that is slow for all does not get twice the load.'),
  budgetBurst: z.number().min(0).max(10_000).default(10).describe('Hedges that may be saved up.'),
})
const schema = hedgeSettings.extend({
  target: objectOption<Model>('a model of a provider', 'run').optional(),
  maxAttempts: z.int().min(1).max(50).default(6),
  onHedge: functionOption<(result: HedgeResult) => void>().optional(),
  now: functionOption<() => number>().default(() => () => performance.now()),
})

/**
 * Asks again while the first is still silent, and takes the answer that begins first; the others are stopped, and what they have used is paid for. Of a stream its first part counts, of a run the whole
 * answer. Each attempt is dispatched, and is of the attempts and the deadline of the whole call; how many calls are hedged is bounded.
 *
 * @throws TollgateError `config_invalid`; its models what the first attempt threw, when none is left
 * @example hedged(openai.model('generate', 'gpt-4o'), { afterMs: 2_000, target: azure.model('generate', 'gpt-4o') })
 */
export function hedged<T extends Task>(model: Model<T>, options: HedgeOptions<T>): Model<T> {
  const checked = checkedOptions('hedged', schema, options)
  const { afterMs, after, maxHedges, budgetRatio, budgetBurst, maxAttempts, onHedge, now } = checked
  const { target = model } = options
  if (target.task !== model.task) throw configInvalid('hedged: target must do the same task.')
  let saved = budgetBurst
  const tell = (outcome: HedgeResult['outcome'], to: Target = targetOf(target)): void => {
    try {
      onHedge?.({ outcome, target: to })
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error))
    }
  }
  // A whole answer takes longer than the first word of one.
  const delays = { run: learnedDelay(afterMs), stream: learnedDelay(afterMs) }

  const raced = <Value>(
    input: Tasks[T]['input'],
    given: Call,
    delay: LearnedDelay,
    begin: (model: Model<T>, racer: Racer) => Promise<Value>,
    won: (value: Value, racer: Racer) => void,
  ): Promise<Value> => {
    saved = Math.min(budgetBurst, saved + budgetRatio)
    const call = withAttempts(given, maxAttempts)
    // What goes on from something stored is for whoever has it.
    const first = reaches(model, input) ? model : target
    const other = reaches(target, input) ? target : first
    const modelOf = ({ isHedge }: Racer) => (isHedge ? other : first)
    let begunAt = 0
    return race<Value>({
      call,
      maxHedges,
      afterMs: delay.ms(),
      mayHedge() {
        if (call.attempts.left <= 0 || passesOnce(input)) return false
        if (saved < 1) {
          tell('withheld')
          return false
        }
        saved -= 1
        return true
      },
      admit: (racer) => admit(modelOf(racer), racer.call),
      begin(racer) {
        if (!racer.isHedge) begunAt = now()
        return begin(modelOf(racer), racer)
      },
      won(value, racer) {
        // Where a hedge has won, the first would have taken longer still.
        if (after === 'p95') delay.learn(now() - begunAt)
        won(value, racer)
      },
      hedgeEnded: tell,
    })
  }

  return {
    ...model,
    accounts: [...(model.accounts ?? []), ...(target.accounts ?? [])],
    dispatches: true,
    run: (input, call) =>
      raced(
        input,
        call,
        delays.run,
        (racing, racer) => {
          racer.used = (isStopped) => (isStopped && racer.call.progress.sent ? racing.inputUsage?.(input) : undefined)
          return racing.run(input, racer.call)
        },
        (_result, racer) => {
          // Who leaves from here on has it all the same.
          if (call.progress !== undefined) call.progress.sent = true
          racer.done()
        },
      ),
    stream(input, call) {
      let current: ModelStream<T> | undefined
      let winner: Racer | undefined
      const open = () =>
        raced(
          input,
          call,
          delays.stream,
          async (racing, racer) => {
            const stream = streamOf(racing, input, racer.call)
            const iterator = stream[Symbol.asyncIterator]()
            racer.used = () => used(stream)
            racer.close = () => void iterator.return?.()?.then(undefined, () => {})
            return { stream, first: await iterator.next(), rest: iterator }
          },
          ({ stream }, racer) => {
            current = stream
            winner = racer
          },
        )
      return {
        usageSoFar: () => current?.usageSoFar() ?? noUsage,
        [Symbol.asyncIterator]: () => begunParts<T>(open, () => winner?.done()),
      }
    },
  }
}

function used(stream: ModelStream): Usage | undefined {
  const usage = stream.usageSoFar()
  return isAnything(usage) ? usage : undefined
}
