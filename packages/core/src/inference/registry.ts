import { configInvalid, TollgateError } from '../errors.js'
import type { Model, ModelInfo } from './model.js'
import { modelNames, parseName } from './model-names.js'
import { type NameMap, nameMap } from './name-map.js'
import type { Provider } from './provider.js'
import type { AskStored } from './stored.js'
import { type Task, tasks } from './task.js'

/** A provider, or a provider with the names that callers may use of it. */
export type ProviderEntry =
  | Provider
  | {
      readonly provider: Provider
      /** The names it serves; as a record, the public name and the one the provider knows. A `*` stands for any text: `['claude-*']`, `{ 'anthropic/*': '*' }`. Default: all it has. */
      readonly models?: readonly string[] | Readonly<Record<string, string>>
    }

export interface RegistryOptions {
  /** Asked in this order; those that take any name come last. */
  readonly providers: readonly ProviderEntry[]
  /** Further names: `{ fast: 'gpt-4o-mini', iris: 'iris@2' }`. */
  readonly aliases?: Readonly<Record<string, string>>
}

/** A model as callers see it. */
export interface ListedModel extends ModelInfo {
  readonly provider: string
  /** The name that this one stands for. */
  readonly aliasOf?: string
}

/** All that is known of one name. */
export interface ModelDescription {
  readonly name: string
  readonly task: Task
  readonly provider: string
  readonly ownedBy: string
  readonly description?: string
  readonly versions: ReadonlyArray<ModelInfo & { readonly version: string; readonly latest: boolean }>
}

/** Names of models, and where they lead: `name` and `name@latest` to the newest version, `name@version` to that one. */
export interface Registry {
  find<T extends Task>(task: T, name: string): Model<T> | undefined
  /** Every model that is known by name. If no provider can say, the first one's error is thrown. */
  list(): Promise<readonly ListedModel[]>
  describe(name: string): Promise<ModelDescription | undefined>
  /** The error for a name that {@link Registry.find} did not find: says what there is. `invalid_request` for a model that does other tasks. */
  notFound(task: Task | undefined, name: string): Promise<TollgateError>
  readonly stored: AskStored
  ready(): Promise<void>
  close(): Promise<void>
}

interface Source {
  readonly provider: Provider
  /** Absent: all names, unchanged. */
  readonly names: NameMap | undefined
}

const namesInError = 20

/** @throws TollgateError `config_invalid` for two providers of one name and for aliases that lead in a circle */
export function registry(options: RegistryOptions): Registry {
  const sources = inOrder(options.providers.map(toSource))
  const { aliases, resolve } = modelNames(options.aliases ?? {})

  const list = async (): Promise<readonly ListedModel[]> => {
    const lists = await Promise.allSettled(sources.map(listSource))
    const listed = new Map<string, ListedModel>()
    for (const one of lists) {
      if (one.status === 'rejected') continue
      for (const model of one.value) {
        const key = JSON.stringify([model.task, model.id, model.version])
        if (!listed.has(key)) listed.set(key, model)
      }
    }
    const failed = lists.find((one) => one.status === 'rejected')
    if (listed.size === 0 && failed !== undefined) throw failed.reason
    const models = [...listed.values()]
    for (const [alias, target] of aliases) {
      const { id, version } = resolve(alias)
      const meant = models.filter(
        (model) =>
          model.aliasOf === undefined && model.id === id && (version === undefined || model.version === version),
      )
      models.push(...meant.map((model) => ({ ...model, id: alias, aliasOf: target })))
      // Of a provider that takes any name, the alias may be all that is known.
      const unlisted = meant.length > 0 ? undefined : firstModel(alias)
      if (unlisted !== undefined) {
        models.push({ id: alias, task: unlisted.task, provider: unlisted.provider, aliasOf: target })
      }
    }
    return models
  }

  const find = <T extends Task>(task: T, name: string): Model<T> | undefined => {
    // Half a character is no part of a name, and none of a path can be made of it.
    if (/\p{Surrogate}/u.test(name)) return undefined
    const { id, version } = resolve(name)
    for (const { provider, names } of sources) {
      const own = names === undefined ? id : names.own(id)
      if (own === undefined) continue
      const model = provider.model(task, own, version)
      if (model !== undefined) return model
    }
    return undefined
  }

  const firstModel = (name: string): Model | undefined => {
    for (const task of tasks) {
      const model = find(task, name)
      if (model !== undefined) return model as Model
    }
    return undefined
  }

  return {
    find,
    list,
    async describe(name) {
      const { id, version } = aliases.has(name) ? { id: name, version: undefined } : parseName(name)
      const models = (await list()).filter((model) => model.id === id)
      const first = models[0]
      if (first === undefined) return undefined
      const newest = find(first.task, id)?.version
      const description = (models.find((model) => model.version === newest) ?? first).description
      const versions = models
        .filter((model) => model.task === first.task && model.provider === first.provider)
        .map((model) => {
          const own = model.version ?? 'latest'
          return { ...model, version: own, latest: model.version === newest }
        })
        .filter((model) => version === undefined || model.version === version)
      if (versions.length === 0) return undefined
      return {
        name: id,
        task: first.task,
        provider: first.provider,
        ownedBy: first.ownedBy ?? first.provider,
        ...(description === undefined ? {} : { description }),
        versions,
      }
    },
    async notFound(task, name) {
      const shown = JSON.stringify(name.slice(0, 100))
      // A list that cannot be had must not turn "not found" into another error.
      const models = await list().catch(() => [])
      const { id } = resolve(name)
      const same = models.filter((model) => model.id === id)
      const forTask = same.filter((model) => task === undefined || model.task === task)
      if (forTask.length > 0) {
        const versions = forTask.flatMap((model) => (model.version === undefined ? [] : [model.version]))
        const there = versions.length === 0 ? 'it has no versions' : `it has: ${bounded(versions)}`
        return notFoundError(`The model ${shown} has no such version; ${there}.`)
      }
      const able = task === undefined ? [] : tasks.filter((each) => find(each, name) !== undefined)
      if (able.length > 0) {
        const message = `does not do ${task}; it does: ${able.join(', ')}`
        return new TollgateError('invalid_request', `The model ${shown} ${message}.`, {
          errors: [{ path: 'model', message }],
        })
      }
      const others = models.filter((model) => task === undefined || model.task === task).map((model) => model.id)
      const what = task === undefined ? '' : ` for ${task}`
      const there = others.length === 0 ? `No models${what} are known here.` : `Models${what}: ${bounded(others)}.`
      return notFoundError(`There is no model ${shown}${what}. ${there}`)
    },
    stored: (...given) => firstStored(new Set(sources.map(({ provider }) => provider)), given),
    async ready() {
      await Promise.all(sources.map(({ provider }) => provider.ready?.()))
    },
    async close() {
      const ends = await Promise.allSettled(sources.map(({ provider }) => provider.close?.()))
      for (const end of ends) if (end.status === 'rejected') throw end.reason
    },
  }
}

/** The answer of whichever provider has the account. */
export function firstStored(
  providers: Iterable<Pick<Provider, 'stored'>>,
  given: Parameters<AskStored>,
): ReturnType<AskStored> {
  for (const provider of providers) {
    const asked = provider.stored?.(...given)
    if (asked !== undefined) return asked
  }
  return undefined
}

function toSource(entry: ProviderEntry): Source {
  if (!('provider' in entry)) return { provider: entry, names: undefined }
  const { provider, models } = entry
  if (models === undefined) return { provider, names: undefined }
  return { provider, names: nameMap(models) }
}

function inOrder(sources: readonly Source[]): readonly Source[] {
  const providers = new Map<string, Provider>()
  for (const { provider } of sources) {
    const other = providers.get(provider.name)
    if (other !== undefined && other !== provider) {
      throw configInvalid(
        `inferenceService: two providers are named "${provider.name}"; give one another name, prices and metrics go by it.`,
      )
    }
    providers.set(provider.name, provider)
  }
  const isOpen = ({ provider, names }: Source) => provider.anyName === true && (names?.isOpen ?? true)
  return [...sources.filter((source) => !isOpen(source)), ...sources.filter(isOpen)]
}

async function listSource({ provider, names }: Source): Promise<ListedModel[]> {
  const infos = await provider.list?.()
  if (names === undefined) return (infos ?? []).map((info) => ({ ...info, provider: provider.name }))
  const models: ListedModel[] = []
  for (const info of infos ?? []) {
    for (const id of names.publicNames(info.id)) models.push({ ...info, id, provider: provider.name })
  }
  for (const [name, own] of names.exact) {
    if (models.some(({ id }) => id === name)) continue
    const task = tasks.find((each) => provider.model(each, own) !== undefined)
    if (task !== undefined) models.push({ id: name, task, provider: provider.name })
  }
  return models
}

function bounded(names: readonly string[]): string {
  const sorted = [...new Set(names)].sort()
  const more = sorted.length - namesInError
  return sorted.slice(0, namesInError).join(', ') + (more > 0 ? ` and ${more} more` : '')
}

function notFoundError(message: string): TollgateError {
  return new TollgateError('model_not_found', message)
}
