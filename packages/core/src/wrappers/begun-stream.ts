import type { Call, Model, ModelStream } from '../inference/model.js'
import { streamOf } from '../inference/service-stream.js'
import type { Part, Task, Tasks } from '../inference/task.js'
import { isAnything, noUsage, type Usage } from '../usage.js'

/** A stream whose first part has come: from here on nobody can answer in its place. */
export interface BegunStream<T extends Task> {
  readonly first: IteratorResult<Part<T>>
  readonly rest: AsyncIterator<Part<T>>
}

/** A stream that is made by attempts: how much was used so far is that of the one under way. */
export interface Attempts<T extends Task> {
  /** Begins a stream of a model, up to its first part. */
  begin(model: Model<T>, input: Tasks[T]['input'], call: Call): Promise<BegunStream<T>>
  /** Tells what the attempt that failed has used, before the next one. */
  settle(call: Call): void
}

/** A stream of which `open` says how it comes to its first part. */
export function attemptedStream<T extends Task>(
  open: (attempts: Attempts<T>) => Promise<BegunStream<T>>,
): ModelStream<T> {
  let current: ModelStream<T> | undefined
  const attempts: Attempts<T> = {
    async begin(model, input, call) {
      const stream = streamOf(model, input, call)
      current = stream
      const rest = stream[Symbol.asyncIterator]()
      return { first: await rest.next(), rest }
    },
    settle(call) {
      const usage: Usage = current?.usageSoFar() ?? noUsage
      current = undefined
      if (isAnything(usage)) call.spent?.(usage)
    },
  }
  return {
    usageSoFar: () => current?.usageSoFar() ?? noUsage,
    [Symbol.asyncIterator]: () => begunParts(() => open(attempts)),
  }
}

/**
 * The parts of a stream that `open` begins; `end` is called behind them, however they end. One function for all streams, here and wherever parts are made: a generator function that is made for each and run has
 * a hidden class of its own in V8's old space, which keeps it, and the request with it, until the next full collection.
 */
export async function* begunParts<T extends Task>(
  open: () => Promise<BegunStream<T>>,
  end?: () => void,
): AsyncGenerator<Part<T>> {
  const { first, rest } = await open()
  try {
    for (let part = first; part.done !== true; part = await rest.next()) yield part.value
  } finally {
    end?.()
    await rest.return?.()
  }
}
