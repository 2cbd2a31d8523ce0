import type { Model, ModelInfo } from './model.js'
import type { AskStored } from './stored.js'
import type { Task } from './task.js'

/**
 * A source of models: a vendor's API, a local runtime. Quirks of one live in its own file.
 *
 * Conformance: `@tollgate/core/testing/provider`.
 */
export interface Provider {
  readonly name: string
  /** It takes any model name (its upstream decides), so it is asked after all the others. */
  readonly anyName?: boolean
  /** The model of that name for that task, or `undefined`. `version` names one of several; absent: the provider's newest. */
  model<T extends Task>(task: T, id: string, version?: string): Model<T> | undefined
  /** What it has, where that is known. */
  list?(): Promise<readonly ModelInfo[]>
  /** Resolves when it can serve (models loaded); rejects if it never will. Absent: always ready. */
  ready?(): Promise<void>
  /** For upstreams that store answers; of an account of its own. @throws TollgateError `not_found`, `upstream_*`, `timeout`, `client_closed` */
  readonly stored?: AskStored
  close?(): Promise<void>
}
