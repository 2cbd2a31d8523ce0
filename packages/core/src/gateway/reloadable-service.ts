import type { ModelStream } from '../inference/model.js'
import type { InferenceService } from '../inference/service.js'
import { endedAnswer } from '../inference/stored.js'
import type { Part, Task } from '../inference/task.js'
import { noUsage } from '../usage.js'

/** A service whose models can be changed while it runs. */
export interface ReloadableService extends InferenceService {
  /**
   * Puts another service in its place: calls that come from now on are the new one's, those under way end with the old one, which is closed then, or after `drainMs`.
   *
   * @returns when the old one is closed
   */
  replace(next: InferenceService): Promise<void>
}

interface Running {
  readonly service: InferenceService
  calls: number
  idle: (() => void) | undefined
}

/**
 * @param drainMs the longest that calls under way may take after a change, milliseconds; what is still open then is cut. Default 600,000
 * @example const service = reloadableService(gatewayService(config)); await service.replace(gatewayService(newConfig))
 */
export function reloadableService(first: InferenceService, drainMs = 600_000): ReloadableService {
  let current: Running = { service: first, calls: 0, idle: undefined }
  /** Those that end with what is under way, and when they are closed. */
  const draining = new Map<Running, Promise<void>>()

  const begin = (): Running => {
    current.calls += 1
    return current
  }
  const end = (running: Running): void => {
    running.calls -= 1
    if (running.calls === 0) running.idle?.()
  }

  return {
    async run(task, name, input, call) {
      const running = begin()
      try {
        return await running.service.run(task, name, input, call)
      } finally {
        end(running)
      }
    },
    stream(task, name, input, call) {
      // Nothing happens before the first part is asked for: it is then that the service is chosen.
      let stream: ModelStream<typeof task> | undefined
      let running: Running | undefined
      const open = () => {
        running = begin()
        stream = running.service.stream(task, name, input, call)
        return stream[Symbol.asyncIterator]()
      }
      const over = () => {
        if (running !== undefined) end(running)
        running = undefined
      }
      return { usageSoFar: () => stream?.usageSoFar() ?? noUsage, [Symbol.asyncIterator]: () => counted(open, over) }
    },
    async stored(...given) {
      const running = begin()
      const over = () => end(running)
      try {
        return endedAnswer(await running.service.stored(...given), over)
      } catch (error) {
        over()
        throw error
      }
    },
    async resolve(task, name, version) {
      const of = current
      const model = await of.service.resolve(task, name, version)
      const { countTokens } = model
      if (countTokens === undefined) return model
      return {
        ...model,
        async countTokens(...given) {
          of.calls += 1
          try {
            return await countTokens(...given)
          } finally {
            end(of)
          }
        },
      }
    },
    list: () => current.service.list(),
    describe: (name) => current.service.describe(name),
    ready: () => current.service.ready(),
    async close() {
      for (const old of draining.keys()) old.idle?.()
      await Promise.all([...draining.values(), current.service.close()])
    },
    replace(next) {
      const old = current
      current = { service: next, calls: 0, idle: undefined }
      const closed = drained(old).finally(() => draining.delete(old))
      draining.set(old, closed)
      return closed
    },
  }

  async function drained(old: Running): Promise<void> {
    if (old.calls > 0) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        old.idle = resolve
        timer = setTimeout(resolve, drainMs).unref()
      })
      clearTimeout(timer)
    }
    await old.service.close()
  }
}

function counted<T extends Task>(open: () => AsyncIterator<Part<T>>, over: () => void): AsyncIterator<Part<T>> {
  let parts: AsyncIterator<Part<T>> | undefined
  return {
    async next() {
      try {
        parts ??= open()
        const part = await parts.next()
        if (part.done === true || part.value.type === 'end') over()
        return part
      } catch (error) {
        over()
        throw error
      }
    },
    async return() {
      over()
      await parts?.return?.()
      return { done: true, value: undefined }
    },
  }
}
