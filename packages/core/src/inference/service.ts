import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { checkedOptions, functionOption } from '../options.js'
import { abortError, openScope, targetOf } from './call.js'
import { deadlines as makeDeadlines } from './deadlines.js'
import type { Call, Model, ModelStream } from './model.js'
import type { Provider } from './provider.js'
import { type ListedModel, type ModelDescription, type RegistryOptions, registry } from './registry.js'
import { serviceStream } from './service-stream.js'
import { endedAnswer, notStored, type StoredAnswer, type StoredRequest } from './stored.js'
import type { Result, Task, Tasks } from './task.js'

export interface InferenceServiceOptions extends RegistryOptions {
  /** The model of a task for callers that name none. */
  readonly defaultModels?: Readonly<Partial<Record<Task, string>>>
  /** The longest a call may take, streams included, in milliseconds. A call's own earlier deadline wins. Default 600,000 (10 minutes). */
  readonly timeoutMs?: number
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

/** Models by name, run with a deadline and a way to stop them. */
export interface InferenceService {
  /**
   * Runs a model to its end. `name` may carry a version (`iris@2`, `iris@latest`); `undefined` is the task's default model.
   *
   * @throws TollgateError `model_not_found`, `timeout`, `client_closed`, and what the model throws
   */
  run<T extends Task>(task: T, name: string | undefined, input: Tasks[T]['input'], call: Call): Promise<Result<T>>
  /**
   * Runs a model as a stream. Nothing happens, and nothing is thrown, before the first part is asked for. A model that cannot stream
   * sends its whole answer as one part. The stream always ends in an end part or throws.
   */
  stream<T extends Task>(task: T, name: string | undefined, input: Tasks[T]['input'], call: Call): ModelStream<T>
  /**
   * Asks an account at an upstream for something that it has stored. Nobody is asked whether the caller may: that is for whoever knows whose it is.
   *
   * @throws TollgateError `not_found` also for an account that is no provider's, `upstream_*`, `timeout`, `client_closed`
   */
  stored(account: string, request: StoredRequest, call: Call): Promise<StoredAnswer>
  /** @throws TollgateError `model_not_found`, saying what there is; `invalid_request` if there is neither a name nor a default */
  resolve<T extends Task>(task: T, name: string | undefined, version?: string): Promise<Model<T>>
  list(): Promise<readonly ListedModel[]>
  /** @throws TollgateError `model_not_found` */
  describe(name: string): Promise<ModelDescription>
  /** Resolves when every provider can serve. */
  ready(): Promise<void>
  /** Closes the providers. */
  close(): Promise<void>
}

const isProvider = (value: unknown): value is Provider =>
  typeof value === 'object' && value !== null && 'name' in value && 'model' in value

const optionsSchema = z.strictObject({
  providers: z
    .array(
      z.union([
        z.custom<Provider>(isProvider, 'must be a provider, or { provider, models }'),
        z.strictObject({
          provider: z.custom<Provider>(isProvider, 'must be a provider'),
          models: z.union([z.array(z.string().min(1)), z.record(z.string().min(1), z.string().min(1))]).optional(),
        }),
      ]),
    )
    .min(1, 'must name at least one provider'),
  aliases: z.record(z.string().min(1), z.string().min(1)).optional(),
  defaultModels: z
    .strictObject({
      generate: z.string().optional(),
      embed: z.string().optional(),
      predict: z.string().optional(),
      media: z.string().optional(),
    })
    .optional(),
  timeoutMs: z.int().min(1).optional(),
  now: functionOption<() => number>().optional(),
})

/**
 * The inference service: the models of some providers behind one door. Knows nothing of HTTP; `routes/` puts it on the wire, or call it
 * from code of your own.
 *
 * @throws TollgateError `config_invalid`
 * @example
 * const service = inferenceService({ providers: [openAiCompatible({ name: 'openai', baseUrl: 'https://api.openai.com/v1', apiKey })] })
 * const { output, usage } = await service.run('generate', 'gpt-4o-mini', { messages }, { signal, requestId })
 */
export function inferenceService(options: InferenceServiceOptions): InferenceService {
  const {
    defaultModels = {},
    timeoutMs = 600_000,
    now = Date.now,
  } = checkedOptions('inferenceService', optionsSchema, options)
  const models = registry(options)
  const waiting = makeDeadlines(now)

  const find = <T extends Task>(task: T, name: string | undefined): Model<T> | undefined => {
    const wanted = name ?? defaultModels[task]
    return wanted === undefined ? undefined : models.find(task, wanted)
  }
  const notFound = (task: Task, name: string | undefined): Promise<TollgateError> => {
    const wanted = name ?? defaultModels[task]
    if (wanted !== undefined) return models.notFound(task, wanted)
    const errors = [{ path: 'model', message: `is required: there is no default model for ${task}` }]
    return Promise.resolve(new TollgateError('invalid_request', 'Name a model.', { errors }))
  }
  const endsAt = (call: Call): number => {
    const latest = now() + timeoutMs
    return call.deadline === undefined || call.deadline > latest ? latest : call.deadline
  }

  return {
    async run(task, name, input, call) {
      const model = find(task, name)
      if (model === undefined) throw await notFound(task, name)
      if (call.signal.aborted) throw abortError(call.signal)
      let stop: (error: TollgateError) => void = () => {}
      const stopped = new Promise<never>((_resolve, reject) => {
        stop = reject
      })
      const scope = openScope(call, endsAt(call), waiting, stop)
      const progress = { sent: false }
      try {
        const asked = model.dispatches === true ? undefined : call.dispatching?.(targetOf(model))
        if (asked !== undefined) await Promise.race([asked, stopped])
        // Wrappers that choose a model say so themselves.
        progress.sent = model.dispatches !== true
        // The race: a model that does not heed the signal must not keep its caller past the deadline.
        return await Promise.race([model.run(input, { ...scope.call, progress }), stopped])
      } catch (error) {
        if (!scope.call.signal.aborted) throw error
        if (progress.sent && model.inputUsage !== undefined) call.spent?.(model.inputUsage(input))
        throw abortError(scope.call.signal)
      } finally {
        scope.end()
      }
    },
    stream(task, name, input, call) {
      return serviceStream({
        input,
        call,
        model: () => find(task, name) ?? notFound(task, name).then((error) => Promise.reject(error)),
        scope: (onAbort) => openScope(call, endsAt(call), waiting, onAbort),
      })
    },
    async stored(account, request, call) {
      const scope = openScope(call, endsAt(call), waiting, () => {})
      try {
        const asked = models.stored(account, request, scope.call)
        if (asked === undefined) throw notStored()
        return endedAnswer(await asked, scope.end)
      } catch (error) {
        scope.end()
        throw error
      }
    },
    async resolve(task, name, version) {
      const wanted = name !== undefined && version !== undefined ? `${name}@${version}` : name
      const model = find(task, wanted)
      if (model === undefined) throw await notFound(task, wanted)
      return model
    },
    list: models.list,
    async describe(name) {
      const description = await models.describe(name)
      if (description === undefined) throw await models.notFound(undefined, name)
      return description
    },
    ready: models.ready,
    async close() {
      waiting.close()
      await models.close()
    },
  }
}
