import type { Principal } from '../principal.js'
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
}

/** One version of one model, for one task. */
export interface Model<T extends Task = Task> {
  readonly task: T
  /** Name of the provider, for prices and metrics. */
  readonly provider: string
  /** The name the provider knows it by. */
  readonly id: string
  readonly version?: string
  /**
   * @throws TollgateError `invalid_request` (naming the field), `upstream_*`, `timeout`, `client_closed`, `overloaded`
   */
  run(input: Tasks[T]['input'], call: Call): Promise<Result<T>>
  /** Yields at least the end part. Returning early (`break`) stops the work. Absent where the task has no streams. */
  stream?(input: Tasks[T]['input'], call: Call): AsyncIterable<Part<T>>
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
}
