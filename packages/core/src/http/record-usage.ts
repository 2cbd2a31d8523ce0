import type { IncomingMessage } from 'node:http'
import { type FieldError, TollgateError } from '../errors.js'
import type { Target } from '../target.js'
import { addUsage, isUsage, type Usage } from '../usage.js'
import { existingContext, type RequestContext } from './context.js'

/** What a handler tells of a call it made. */
export interface RecordedUsage {
  /** Whom it was sent to. `provider` may be left out where the model's name is enough to price it. */
  readonly model: string
  readonly provider?: string
  readonly version?: string
  readonly usage: Usage
  /** Milliseconds spent waiting for the model. */
  readonly upstreamMs?: number
  /** Where several attempts go on beside each other: the one that used it. */
  readonly branch?: Branch
}

/** One of the attempts of a request that go on beside each other, with those that follow it; `undefined` is the first. */
export type Branch = symbol | undefined

type UsageListener = (context: RequestContext, call: RecordedCall) => void
type DispatchListener = (context: RequestContext, target: Target, branch: Branch) => void | Promise<void>
type BranchListener = (context: RequestContext, branch: Branch) => void

const usageKey = Symbol.for('tollgate.usage-listeners')
const dispatchKey = Symbol.for('tollgate.dispatch-listeners')
const branchKey = Symbol.for('tollgate.branch-listeners')

/** One call of a model, and what it used. */
export interface RecordedCall {
  readonly target: Target
  readonly usage: Usage
  readonly branch: Branch
  /** What it alone cost: known when all listeners have been told; `undefined` if it is not. */
  readonly costNanoUsd: number | undefined
}

/** What attempts before this one came to: all of them are paid for. */
export interface EarlierCalls {
  readonly usage: Usage
  /** `undefined`: not known. */
  readonly costNanoUsd: number | undefined
}

const earlierKey = Symbol.for('tollgate.earlier-calls')

interface Listening extends RequestContext {
  [earlierKey]?: EarlierCalls
  [usageKey]?: UsageListener[]
  [dispatchKey]?: DispatchListener[]
  [branchKey]?: BranchListener[]
}

/**
 * Tells the gate what a request used, once, as soon as it is known and before the answer ends. Cost is computed at once, so
 * `context.costNanoUsd` can go into the answer. For a handler that calls an SDK by hand:
 *
 * @example
 * const completion = await openai.chat.completions.create({ model, messages })
 * recordUsage(req, { model: completion.model, usage: usageFromOpenAi(completion.usage) })
 * A caller may leave before the call is over: hold the end of the request until then (`const release = holdEnd(req, res)`, from `http/observe`),
 * or what is recorded comes too late to be billed.
 *
 * @throws TollgateError `config_invalid` if no middleware has seen the request, `internal` if a count is not a whole number ≥ 0
 */
export function recordUsage(req: IncomingMessage, recorded: RecordedUsage): void {
  const context = existingContext(req) as Listening
  if (!isUsage(recorded.usage)) {
    const errors: FieldError[] = [{ path: 'usage', message: 'every count must be a whole number, 0 or more' }]
    throw new TollgateError('internal', 'The recorded usage is not a usage.', { errors })
  }
  const target = {
    provider: recorded.provider ?? '',
    model: recorded.model,
    ...(recorded.version === undefined ? {} : { version: recorded.version }),
  }
  const { usage } = recorded
  const earlier = context[earlierKey]
  context.target = target
  context.usage = earlier === undefined ? usage : addUsage(earlier.usage, usage)
  if (recorded.upstreamMs !== undefined) context.upstreamMs = recorded.upstreamMs
  const call = { target, usage, branch: recorded.branch, costNanoUsd: undefined as number | undefined }
  for (const listener of context[usageKey] ?? []) listener(context, call)
  const before = earlier === undefined ? 0 : earlier.costNanoUsd
  const all = context.costNanoUsd
  call.costNanoUsd = all === undefined || before === undefined ? undefined : all - before
}

/**
 * {@link recordUsage} for an attempt that did not answer but is paid for: what is recorded after it is added to it.
 */
export function recordAttempt(req: IncomingMessage, recorded: RecordedUsage): void {
  recordUsage(req, recorded)
  const context = existingContext(req) as Listening
  context[earlierKey] = { usage: context.usage ?? recorded.usage, costNanoUsd: context.costNanoUsd }
}

/** For middlewares: what was recorded of attempts before. */
export function earlierCalls(context: RequestContext): EarlierCalls | undefined {
  return (context as Listening)[earlierKey]
}

/** For middlewares: called whenever usage is recorded, with the call it is of; `context.usage` is the sum of all. */
export function onUsage(context: RequestContext, listener: UsageListener): void {
  const listening = context as Listening
  const listeners = listening[usageKey]
  if (listeners === undefined) listening[usageKey] = [listener]
  else listeners.push(listener)
}

/**
 * Asks everyone who has a say before a request is sent to a model: routes do it for every target that is really dispatched, fallbacks
 * included; a handler that calls an SDK by hand may. Throws what a listener throws (`price_unknown`, for one).
 * Synchronous unless a listener is not.
 */
export function dispatching(context: RequestContext, target: Target, branch?: Branch): void | Promise<void> {
  context.target = target
  const listeners = (context as Listening)[dispatchKey]
  if (listeners === undefined) return
  let pending: Promise<void> | undefined
  for (const listener of listeners) {
    if (pending !== undefined) pending = pending.then(() => listener(context, target, branch))
    else {
      const result = listener(context, target, branch)
      if (result !== undefined) pending = result
    }
  }
  return pending
}

/** For middlewares: called with every target before it is dispatched; throw to refuse it. */
export function onDispatch(context: RequestContext, listener: DispatchListener): void {
  const listening = context as Listening
  const listeners = listening[dispatchKey]
  if (listeners === undefined) listening[dispatchKey] = [listener]
  else listeners.push(listener)
}

/** One of the attempts that went on beside each other is over, after what it used was recorded; another one answers. */
export function endBranch(context: RequestContext, branch: Branch): void {
  for (const listener of (context as Listening)[branchKey] ?? []) listener(context, branch)
}

/** For middlewares: called when an attempt beside others is over. */
export function onBranchEnd(context: RequestContext, listener: BranchListener): void {
  const listening = context as Listening
  const listeners = listening[branchKey]
  if (listeners === undefined) listening[branchKey] = [listener]
  else listeners.push(listener)
}
