import { z } from 'zod'
import type { Model, ModelInfo } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import type { Task } from '../inference/task.js'
import { checkedOptions, objectOption } from '../options.js'

export interface NamedModelsOptions {
  /** Default `routes`. The models keep the providers that they have: those are priced and measured. */
  readonly name?: string
  /** The models by the names that callers use: routes, models with retries, or any other. One of each task for a name. */
  readonly models: Readonly<Record<string, Model | readonly Model[]>>
  /** Sentences for people, by name. */
  readonly descriptions?: Readonly<Record<string, string>>
}

const model = objectOption<Model>('a model', 'run')
const schema = z.strictObject({
  name: z.string().min(1).max(64).default('routes'),
  models: z.record(z.string().min(1), z.union([model, z.array(model).min(1)])),
  descriptions: z.record(z.string(), z.string()).default({}),
})

/**
 * A provider of models that were made by wrappers, under names of their own. The providers behind them are not closed with it: give them to the service too, or close them yourself.
 *
 * @throws TollgateError `config_invalid`
 * @example inferenceService({ providers: [namedModels({ models: { smart: routed({ targets }) } }), openai, anthropic] })
 */
export function namedModels(options: NamedModelsOptions): Provider {
  const { name, descriptions } = checkedOptions('namedModels', schema, options)
  const models = new Map(Object.entries(options.models).map(([id, given]) => [id, [given].flat() as Model[]]))
  return {
    name,
    model: <T extends Task>(task: T, id: string, version?: string) => {
      if (version !== undefined) return undefined
      return models.get(id)?.find((each) => each.task === task) as Model | undefined as Model<T> | undefined
    },
    list: () =>
      Promise.resolve(
        [...models].flatMap(([id, all]) =>
          all.map(({ task }): ModelInfo => {
            const description = Object.hasOwn(descriptions, id) ? descriptions[id] : undefined
            return { id, task, ...(description === undefined ? undefined : { description }) }
          }),
        ),
      ),
  }
}
