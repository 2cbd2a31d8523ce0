import { LRUCache } from 'lru-cache'
import type { Model } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import { firstStored } from '../inference/registry.js'
import type { Task } from '../inference/task.js'
import { type BreakerOptions, withBreaker } from '../wrappers/breaker.js'
import { type BulkheadOptions, bulkhead as placesOf } from '../wrappers/bulkhead.js'
import type { Guard } from '../wrappers/guard.js'
import { guarded } from '../wrappers/guarded.js'
import { type RetryOptions, withRetry } from '../wrappers/retry.js'
import { routed } from '../wrappers/routed.js'
import { type TimeoutsOptions, withTimeouts } from '../wrappers/timeouts.js'

/** What stands between every caller and every model of a provider. What is not given is not there. */
export interface Resilience {
  readonly timeouts?: TimeoutsOptions | undefined
  readonly retry?: RetryOptions | undefined
  readonly breaker?: BreakerOptions | undefined
  readonly bulkhead?: BulkheadOptions | undefined
  readonly guards?: readonly Guard[]
}

/** Models whose state is kept: names may be the callers' words. */
const mostModels = 1_000

/**
 * One provider of several that differ in their keys alone: calls go where the fewest are under way, and turn to another key where one is refused, throttled or sick. Each model is limited, tried
 * again and left alone by itself.
 */
export function resilientProvider(name: string, providers: readonly Provider[], resilience: Resilience): Provider {
  const { timeouts, retry, breaker, bulkhead, guards = [] } = resilience
  const [first] = providers as readonly [Provider]
  const known = new LRUCache<string, { readonly model: Model }>({ max: mostModels })

  const resilient = (model: Model, places: ReturnType<typeof placesOf> | undefined): Model => {
    let made = model
    if (timeouts !== undefined) made = withTimeouts(made, timeouts)
    if (places !== undefined) made = places(made)
    if (retry !== undefined) made = withRetry(made, retry)
    return breaker === undefined ? made : withBreaker(made, breaker)
  }
  const whole = (task: Task, id: string, version: string | undefined): Model | undefined => {
    const models = providers.flatMap((provider) => provider.model(task, id, version) ?? []) as Model[]
    const [only] = models
    if (only === undefined) return undefined
    // All keys of a model share its places.
    const places = bulkhead === undefined ? undefined : placesOf(bulkhead)
    if (models.length === 1) return resilient(only, places)
    return routed<Task>({
      targets: models.map((model) => ({ model: resilient(model, places) })),
      strategy: 'least-busy',
      // Another key changes nothing about the prompt, or about what we allow.
      fallbackOn: ['sick', 'throttled', 'credential'],
    })
  }

  /** Guards stand before all attempts: what is read once goes to each. */
  const make = (task: Task, id: string, version: string | undefined): Model | undefined => {
    // They read texts: what they cannot read does not pass them by.
    if (guards.length > 0 && task !== 'generate' && task !== 'embed') return undefined
    const model = whole(task, id, version)
    return model === undefined || guards.length === 0 ? model : guarded(model, { guards })
  }

  return {
    name,
    ...(first.anyName === undefined ? {} : { anyName: first.anyName }),
    model: <T extends Task>(task: T, id: string, version?: string) => {
      const key = JSON.stringify([task, id, version])
      const before = known.get(key)
      if (before !== undefined) return before.model as Model as Model<T>
      const model = make(task, id, version)
      if (model !== undefined) known.set(key, { model })
      return model as Model | undefined as Model<T> | undefined
    },
    ...(first.list === undefined ? {} : { list: () => first.list?.() ?? Promise.resolve([]) }),
    stored: (...given) => firstStored(providers, given),
    ready: async () => {
      await Promise.all(providers.map((provider) => provider.ready?.()))
    },
    close: async () => {
      await Promise.all(providers.map((provider) => provider.close?.()))
    },
  }
}
