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
  async function* parts(): AsyncGenerator<Part<T>> {
    const { first, rest } = await open(attempts)
    try {
      for (let part = first; part.done !== true; part = await rest.next()) yield part.value
    } finally {
      await rest.return?.()
    }
  }
  return { usageSoFar: () => current?.usageSoFar() ?? noUsage, [Symbol.asyncIterator]: parts }
}
