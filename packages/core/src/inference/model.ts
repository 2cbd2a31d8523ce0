import type { Principal } from '../principal.js'
import type { Target } from '../target.js'
import type { Usage } from '../usage.js'
import type { Part, Result, Task, Tasks } from './task.js'

/** What goes with every call: who, until when, and how to stop it. */
export interface Call {
  /** Aborts the work: upstream sockets close, queued rows are unlinked. */
  readonly signal: AbortSignal
  /** The latest end, in milliseconds since the epoch. */
  readonly deadline?: number
  readonly principal?: Principal
  /** Larger is sooner. Default 0. */
  readonly priority?: number
  readonly requestId: string
  /**
   * Asked before each model the call is sent to; throw to refuse that model (no price, not allowed). Called by the service for the model
   * it found, and by a wrapper that turns to another one.
   */
  readonly dispatching?: (target: Target) => void | Promise<void>
  /**
   * Told what was used when an attempt ends without a result (the caller left, the deadline passed, the upstream broke off), so that such an
   * attempt is paid for too. Called by the service, by a model whose upstream answered with nothing to hand on, or by a wrapper that turns to another model; at most once an attempt, before the
   * next one is dispatched. What it is told adds up.
   */
  readonly spent?: (usage: Usage) => void
  /** Told of each attempt that failed and is followed by another. */
  readonly failed?: (target: Target, error: unknown) => void
  /** Told of each attempt that was stopped because another had answered. */
  readonly outrun?: (target: Target) => void
  /** Begins an attempt beside the one under way, with money of its own: for wrappers that send a call twice at once. */
  readonly beside?: () => AttemptBeside
  /** Told of what a guard found in the request or the answer, at any time until it is over. */
  readonly flagged?: (guard: string, labels: readonly string[]) => void
  /** How often the call may still be sent to a model, by all wrappers together. Made by the outermost one. */
  readonly attempts?: { left: number; last?: Target }
  /** Is a request on its way? Kept by the service and by wrappers that wait before a model or between attempts: who leaves then has nothing to pay for. */
  readonly progress?: { sent: boolean }
}

/** An attempt that goes on beside another one of the same call. */
export interface AttemptBeside {
  /** To be told of this attempt instead of the call's own. */
  readonly call: Pick<Call, 'dispatching' | 'spent' | 'failed' | 'outrun' | 'beside'>
  /** It is over, and what it used was told. `won`: it answers, the other one is over, and what the call itself is told from now on is of this one. */
  end(won: boolean): void
}

/** The parts of one answer. To be iterated once. */
export interface ModelStream<T extends Task = Task> extends AsyncIterable<Part<T>> {
  /** What is known to be used by now: the upstream's own count if it has come, else counted and marked `estimated`. At any time. */
  usageSoFar(): Usage
}

/** One version of one model, for one task. */
export interface Model<T extends Task = Task> {
  readonly task: T
  /** Name of the provider, for prices and metrics. */
  readonly provider: string
  /** The name the provider knows it by. */
  readonly id: string
  readonly version?: string
  /** It stands for other models, and asks `call.dispatching` itself before each of them. */
  readonly dispatches?: boolean
  /** The accounts at upstreams that it may be sent to and that store answers. Absent: none does. */
  readonly accounts?: readonly string[]
  /**
   * @throws TollgateError `invalid_request` (naming the field), `upstream_*`, `timeout`, `client_closed`, `overloaded`
   */
  run(input: Tasks[T]['input'], call: Call): Promise<Result<T>>
  /** Yields at least the end part. Returning early (`break`) stops the work. Absent where the task has no streams. */
  stream?(input: Tasks[T]['input'], call: Call): ModelStream<T>
  /** The input's tokens as the provider counts them. Absent, or `undefined`: only an estimate can be had. Generating models only. */
  countTokens?(input: Tasks[T]['input'], call: Call): Promise<number | undefined>
  /** What the input alone uses, for a run that was stopped before its result. Absent: nothing. */
  inputUsage?(input: Tasks[T]['input']): Usage
}

/** What is known of a model besides how to run it. All of it may be shown to callers. */
export interface ModelInfo {
  readonly id: string
  readonly task: Task
  readonly version?: string
  /** Milliseconds since the epoch. */
  readonly loadedAt?: number
  /** JSON Schema of one input row, for `predict`. */
  readonly inputSchema?: Readonly<Record<string, unknown>>
  /** A sentence for people, for example that this model is for development only. */
  readonly description?: string
  /** `owned_by` in lists of models. Default: the provider's name. */
  readonly ownedBy?: string
}
