import { z } from 'zod'
import { configInvalid, TollgateError } from '../errors.js'
import { targetOf } from '../inference/call.js'
import type { Call, Model } from '../inference/model.js'
import { reaches, storedElsewhere } from '../inference/stored.js'
import type { GenerateInput, Task, Tasks } from '../inference/task.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import { principalKey } from '../principal.js'
import type { Target } from '../target.js'
import { attemptedStream } from './begun-stream.js'
import { admit, attemptFailed, type FailureKind, failureOf, withAttempts } from './failure.js'
import {
  byAffinity,
  byBusyness,
  byCost,
  byLatency,
  byWeight,
  learnLatency,
  type Ordered,
  type TargetState,
} from './route-order.js'

/** One of the models that a route may turn to. */
export interface RouteTarget<T extends Task> {
  readonly model: Model<T>
  /** Its share of the calls, beside those of the others; 0: only where the others fail. Default 1. */
  readonly weight?: number
  /** `false`: not for this call. */
  readonly when?: (input: Tasks[T]['input'], call: Call) => boolean
}

export interface RouteOptions<T extends Task> {
  readonly targets: ReadonlyArray<RouteTarget<T>>
  /**
   * Who is first: `ordered`, as they are given; `weighted`, by lot and weight; `latency`, the faster of two drawn by weight; `least-busy`, with the fewest calls under way; `cheapest`, by `cost`. The
   * others follow where it fails. Default `ordered`.
   */
  readonly strategy?: 'ordered' | 'weighted' | 'latency' | 'least-busy' | 'cheapest'
  /** Instead of the lot of `weighted`, the same target for the same principal, the same beginning of a prompt (which is then in the provider's cache), or the same text of a function. */
  readonly affinity?: 'principal' | 'prompt' | ((input: Tasks[T]['input'], call: Call) => string | undefined)
  /** What of failures makes it turn to the next. Default all but `content` and `guard`. */
  readonly fallbackOn?: ReadonlyArray<Exclude<FailureKind, 'final'>>
  /** For `cheapest`: what a call would cost; `undefined` if that is not known. */
  readonly cost?: (target: Target, input: Tasks[T]['input']) => number | undefined
  /** How often a call is sent to a model at most, by this route and all within it. Default 6. */
  readonly maxAttempts?: number
  /** 0 to 1. Default `Math.random`. */
  readonly random?: () => number
  /** Milliseconds, never going back. Default `performance.now`. */
  readonly now?: () => number
}

const kinds = ['sick', 'throttled', 'credential', 'context', 'content', 'guard', 'refused'] as const

const target = z.strictObject({
  model: objectOption<Model>('a model of a provider', 'run'),
  weight: z.number().min(0).max(1_000_000).default(1),
  when: functionOption<(input: never, call: Call) => boolean>().optional(),
})

const schema = z.strictObject({
  targets: z.array(target).min(1),
  strategy: z.enum(['ordered', 'weighted', 'latency', 'least-busy', 'cheapest']).default('ordered'),
  affinity: z
    .union([z.enum(['principal', 'prompt']), functionOption<(input: never, call: Call) => string | undefined>()])
    .optional(),
  fallbackOn: z.array(z.enum(kinds)).default(kinds.filter((kind) => kind !== 'content' && kind !== 'guard')),
  cost: functionOption<(target: Target, input: never) => number | undefined>().optional(),
  maxAttempts: z.int().min(1).max(50).default(6),
  random: functionOption<() => number>().default(() => Math.random),
  now: functionOption<() => number>().default(() => () => performance.now()),
})

interface Candidate<T extends Task> extends Ordered {
  readonly name: string
  readonly model: Model<T>
  readonly when: ((input: Tasks[T]['input'], call: Call) => boolean) | undefined
}

/** A failure counts as so slow an answer, so that `latency` leaves who fails alone for a while. */
const failurePenaltyMs = 10_000

/**
 * One model that stands for several: chooses by a strategy, and turns to the next where one fails. A stream turns only before its first output; what comes after it is never answered twice. Every
 * model that is turned to is dispatched: authorised, priced and paid for. Routes may stand in routes.
 *
 * @throws TollgateError `config_invalid`; its runs what the last target threw, `invalid_request` if no target is for the call
 * @example routed({ targets: [{ model: openai.model('generate', 'gpt-4o') }, { model: anthropic.model('generate', 'claude-sonnet-4-5') }] })
 */
export function routed<T extends Task>(options: RouteOptions<T>): Model<T> {
  const checked = checkedOptions('routed', schema, options)
  const { strategy, fallbackOn, maxAttempts, random, now } = checked
  const affinity = options.affinity
  if (strategy === 'cheapest' && options.cost === undefined) {
    throw configInvalid('routed: the strategy cheapest needs cost, which tells what a call of a target costs.')
  }
  const candidates = options.targets.map(({ model, weight = 1, when }, index): Candidate<T> => {
    const { provider, model: id, version = '' } = targetOf(model)
    return {
      name: `${index} ${provider}/${id}@${version}`,
      model,
      weight,
      when,
      state: { busy: 0, latencyMs: undefined, learntAt: 0 } satisfies TargetState,
    }
  })
  const [first] = candidates as [Candidate<T>]
  if (candidates.some(({ model }) => model.task !== first.model.task)) {
    throw configInvalid('routed: all targets must do the same task.')
  }

  const order = (input: Tasks[T]['input'], call: Call): Candidate<T>[] => {
    const fitting = candidates.filter(
      ({ when, model }) => (when === undefined || when(input, call)) && reaches(model, input),
    )
    if (affinity !== undefined) {
      const text = affinityOf(affinity, input, call)
      if (text !== undefined) return byAffinity(fitting, text)
    }
    switch (strategy) {
      case 'weighted':
        return byWeight(fitting, random)
      case 'latency':
        return byLatency(fitting, random, now())
      case 'least-busy':
        return byBusyness(fitting, random)
      case 'cheapest':
        return byCost(fitting, ({ model }) => options.cost?.(targetOf(model), input))
      default:
        return fitting
    }
  }

  /** Counts a call as under way until `done` is called. */
  const occupy = ({ state }: Candidate<T>) => {
    const begunAt = now()
    let isOver = false
    state.busy += 1
    return {
      answered: () => learnLatency(state, now() - begunAt, now()),
      failed: () => learnLatency(state, Math.max(failurePenaltyMs, now() - begunAt), now()),
      done: () => {
        if (!isOver) state.busy -= 1
        isOver = true
      },
    }
  }

  const tried = async <Value>(
    input: Tasks[T]['input'],
    given: Call,
    once: (candidate: Candidate<T>, call: Call, place: ReturnType<typeof occupy>) => Promise<Value>,
    settle: (call: Call) => void,
  ): Promise<Value> => {
    const call = withAttempts(given, maxAttempts)
    const wanted = order(input, call)
    let last: { readonly candidate: Candidate<T>; readonly error: unknown } | undefined
    for (const candidate of wanted) {
      if (last !== undefined) {
        settle(call)
        attemptFailed(last.candidate.model, call, last.error)
      }
      const place = occupy(candidate)
      try {
        await admit(candidate.model, call)
        return await once(candidate, call, place)
      } catch (error) {
        place.done()
        const kind = failureOf(error, call)
        if (kind === 'sick' || kind === 'throttled') place.failed()
        if (kind === 'final' || !fallbackOn.includes(kind) || call.attempts.left <= 0) throw error
        last = { candidate, error }
      }
    }
    if (last !== undefined) throw last.error
    if (!candidates.some(({ model }) => reaches(model, input))) throw storedElsewhere()
    throw new TollgateError('invalid_request', 'None of the models behind this name is for such a request.', {
      errors: [{ path: 'model', message: 'has no target for this request' }],
    })
  }

  const inner = first.model
  return {
    accounts: candidates.flatMap(({ model }) => model.accounts ?? []),
    task: inner.task,
    provider: inner.provider,
    id: inner.id,
    ...(inner.version === undefined ? undefined : { version: inner.version }),
    dispatches: true,
    run: (input, call) =>
      tried(
        input,
        call,
        async ({ model }, attempt, place) => {
          const result = await model.run(input, attempt)
          place.answered()
          place.done()
          return result
        },
        () => {},
      ),
    stream: (input, call) =>
      attemptedStream(({ begin, settle }) =>
        tried(
          input,
          call,
          async ({ model }, attempt, place) => {
            const { first: part, rest } = await begin(model, input, attempt)
            place.answered()
            return { first: part, rest: untilDone(rest, place.done) }
          },
          settle,
        ),
      ),
    ...(inner.inputUsage === undefined ? undefined : { inputUsage: inner.inputUsage }),
    ...(inner.countTokens === undefined ? undefined : { countTokens: inner.countTokens }),
  }
}

/** The same parts; `done` is called when they are over, however. */
function untilDone<Value>(rest: AsyncIterator<Value>, done: () => void): AsyncIterator<Value> {
  return {
    async next() {
      try {
        const part = await rest.next()
        if (part.done === true) done()
        return part
      } catch (error) {
        done()
        throw error
      }
    },
    async return() {
      done()
      await rest.return?.()
      return { done: true, value: undefined }
    },
  }
}

/** So much of a prompt's beginning counts: what providers cache begins at a thousand tokens. */
const affinityCharacters = 4_096

function affinityOf<T extends Task>(
  affinity: NonNullable<RouteOptions<T>['affinity']>,
  input: Tasks[T]['input'],
  call: Call,
): string | undefined {
  if (typeof affinity === 'function') return affinity(input, call)
  if (affinity === 'principal') return call.principal === undefined ? undefined : principalKey(call.principal)
  const { messages } = input as Partial<GenerateInput>
  if (messages === undefined) return undefined
  // The tenant with it: nobody else's cache helps.
  let text = `${call.principal?.tenant ?? ''}\n`
  for (const { role, content } of messages) {
    if (text.length >= affinityCharacters) break
    const said =
      typeof content === 'string' ? content : content.map((part) => (part.type === 'text' ? part.text : '')).join('')
    text += `${role} ${said}\n`
  }
  return text.slice(0, affinityCharacters)
}
