import { TollgateError } from '../errors.js'
import { isAnything, noUsage } from '../usage.js'
import { abortError, type CallScope, targetOf } from './call.js'
import type { Call, Model, ModelStream } from './model.js'
import type { GenerateInput, Part, Result, Task, Tasks } from './task.js'

export interface ServiceStreamOptions<T extends Task> {
  readonly input: Tasks[T]['input']
  readonly call: Call
  /** Finds the model, or rejects because there is none. */
  model(): Model<T> | Promise<never>
  scope(onAbort: (error: TollgateError) => void): CallScope
}

/**
 * A model's stream under a deadline. Written by hand instead of as an async generator: it costs one promise per part, and an abort ends a
 * pending `next()` at once, whatever the model makes of it.
 */
export function serviceStream<T extends Task>(options: ServiceStreamOptions<T>): ModelStream<T> {
  const { call, input } = options
  let inner: ModelStream<T> | undefined
  let parts: AsyncIterator<Part<T>> | undefined
  let scope: CallScope | undefined
  let state: 'new' | 'open' | 'ended' = 'new'
  let rejectPending: ((error: unknown) => void) | undefined
  let failure: { readonly error: unknown } | undefined

  /** The first of: the end part, a failure, an abort, `return()`. */
  const end = () => {
    state = 'ended'
    scope?.end()
    // Lets the model let go of what it holds. What that throws has nobody to go to.
    parts?.return?.()?.then(undefined, () => {})
  }
  const fail = (error: unknown) => {
    if (state === 'ended') return
    end()
    let reason = scope?.call.signal.aborted === true ? abortError(scope.call.signal) : error
    try {
      const usage = inner?.usageSoFar()
      if (usage !== undefined && isAnything(usage)) call.spent?.(usage)
    } catch (spentError) {
      reason = spentError
    }
    // Without a `next()` under way (its reader is slow), the next one tells.
    if (rejectPending === undefined) failure = { error: reason }
    else rejectPending(reason)
  }
  const start = async (): Promise<void> => {
    if (call.signal.aborted) throw abortError(call.signal)
    scope = options.scope(fail)
    const found = options.model()
    const model = found instanceof Promise ? await found : found
    const asked = model.dispatches === true ? undefined : call.dispatching?.(targetOf(model))
    if (asked !== undefined) await asked
    if (state === 'ended') return
    inner = streamOf(model, input, scope.call)
    parts = inner[Symbol.asyncIterator]()
  }
  const pull = (resolve: (result: IteratorResult<Part<T>>) => void) => {
    if (state === 'ended' || parts === undefined) return
    parts.next().then((result) => {
      if (state === 'ended') return
      if (result.done === true) fail(new TollgateError('upstream_invalid', 'The model stopped without an end.'))
      else {
        rejectPending = undefined
        if (result.value.type === 'end') end()
        resolve(result)
      }
    }, fail)
  }

  return {
    usageSoFar: () => inner?.usageSoFar() ?? noUsage,
    [Symbol.asyncIterator]: () => ({
      next: () => {
        if (failure !== undefined) {
          const { error } = failure
          failure = undefined
          return Promise.reject(error)
        }
        if (state === 'ended') return Promise.resolve({ done: true, value: undefined })
        return new Promise((resolve, reject) => {
          rejectPending = reject
          if (state === 'open') pull(resolve)
          else {
            state = 'open'
            start().then(() => pull(resolve), fail)
          }
        })
      },
      return: async () => {
        if (state === 'new') state = 'ended'
        else fail(undefined)
        failure = undefined
        return { done: true, value: undefined }
      },
    }),
  }
}

/** A model's stream; of one that cannot stream its answer, in one part. */
export function streamOf<T extends Task>(model: Model<T>, input: Tasks[T]['input'], call: Call): ModelStream<T> {
  return model.stream === undefined ? inOnePart(model, input, call) : model.stream(input, call)
}

function inOnePart<T extends Task>(model: Model<T>, input: Tasks[T]['input'], call: Call): ModelStream<T> {
  if (model.task !== 'generate') throw new TollgateError('invalid_request', `The task ${model.task} has no streams.`)
  const stream = wholeText(model as Model as Model<'generate'>, input as GenerateInput, call)
  return stream as ModelStream as ModelStream<T>
}

function wholeText(model: Model<'generate'>, input: GenerateInput, call: Call): ModelStream<'generate'> {
  let result: Result<'generate'> | undefined
  const answer = async () => {
    result = await model.run(inOurWords(input), call)
    return result
  }
  return {
    usageSoFar: () => result?.usage ?? model.inputUsage?.(input) ?? noUsage,
    [Symbol.asyncIterator]: () => partsOf(answer),
  }
}

async function* partsOf(answer: () => Promise<Result<'generate'>>): AsyncGenerator<Part<'generate'>> {
  const { output, usage } = await answer()
  const { text, toolCalls, finishReason } = output
  if (text !== '') yield { type: 'text', text }
  for (const [index, { id, name, arguments: json }] of toolCalls.entries()) {
    yield { type: 'tool-call', index, id, name, arguments: json }
  }
  yield { type: 'end', finishReason, usage }
}

/**
 * The input without the caller's own request. What it says in our words may be getters of a class, which a spread would lose.
 *
 * @throws TollgateError `invalid_request` for what cannot be said in our words
 */
export function inOurWords(input: GenerateInput): GenerateInput {
  const { native: _, ...own } = input
  const { messages, tools, toolChoice, parallelToolCalls, responseFormat, reasoning } = input
  return { ...own, messages, tools, toolChoice, parallelToolCalls, responseFormat, reasoning }
}
