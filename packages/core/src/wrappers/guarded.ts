import { z } from 'zod'
import { configInvalid, TollgateError } from '../errors.js'
import { abortError } from '../inference/call.js'
import type { Call, Model, ModelStream } from '../inference/model.js'
import { inOurWords, streamOf } from '../inference/service-stream.js'
import type { EmbedInput, GenerateInput, NativeEmbedRequest, NativeRequest, Part, Task } from '../inference/task.js'
import { checkedOptions } from '../options.js'
import { noUsage } from '../usage.js'
import { admit } from './failure.js'
import { ask, type Guard, guardSchema, type InputChange } from './guard.js'
import { type AnswerCheck, checkedOutput, checkedParts } from './guard-stream.js'
import { changedFields, changedTexts } from './guard-texts.js'

export type { AnswerPlace, Edit, Guard, InputChange, OutputGuard, Verdict } from './guard.js'
export { changedTexts, type TextChange, textsOf } from './guard-texts.js'

export interface GuardedOptions {
  /** Requests go through them in this order, answers in the other. */
  readonly guards: readonly Guard[]
}

const schema = z.strictObject({ guards: z.array(guardSchema).min(1) })

/**
 * Guards before and after a model: they read, change, refuse or label what goes to it and what comes from it. Where a guard looks at an answer, the upstream's bytes are not relayed: the answer is put together
 * from what the guard let through. A stream that is refused after its first output ends in an error. What was used is paid for, refused or not.
 *
 * Models that generate, and those that embed, whose texts are shown to guards as messages of a user.
 *
 * @throws TollgateError `config_invalid`; its models `guard_refused`, and `guard_failed` for a guard that could not say anything
 * @example guarded(openai.model('generate', 'gpt-4o'), { guards: [redactPii({ restore: true })] })
 */
export function guarded<T extends Task>(model: Model<T>, options: GuardedOptions): Model<T> {
  checkedOptions('guarded', schema, options)
  const { guards } = options
  const given = model as Model as unknown
  if (model.task === 'generate') return guardedGenerate(given as Model<'generate'>, guards) as Model as Model<T>
  if (model.task === 'embed') return guardedEmbed(given as Model<'embed'>, guards) as Model as Model<T>
  throw configInvalid(`guarded: guards are for models that generate or embed, not for the task ${model.task}.`)
}

/** A call of its own for each run: guards find by it what they remember. */
const ownCall = (call: Call): Call => ({ ...call })

function guardedGenerate(model: Model<'generate'>, guards: readonly Guard[]): Model<'generate'> {
  return {
    ...model,
    dispatches: true,
    async run(given, outer) {
      const call = ownCall(outer)
      const { input, checks } = await entered(guards, given, call)
      await admit(model, call)
      const result = await model.run(input, call)
      if (checks.length === 0) return result
      try {
        let { output } = result
        for (const check of checks) output = await checkedOutput(check, output)
        return { output, usage: result.usage }
      } catch (error) {
        call.spent?.(result.usage)
        throw error
      }
    },
    stream(given, outer) {
      let inner: ModelStream<'generate'> | undefined
      const open = async () => {
        const call = ownCall(outer)
        const { input, checks } = await entered(guards, given, call)
        await admit(model, call)
        inner = streamOf(model, input, call)
        let checked: AsyncIterable<Part<'generate'>> = inner
        for (const check of checks) checked = checkedParts(checked, check)
        return checked
      }
      return { usageSoFar: () => inner?.usageSoFar() ?? noUsage, [Symbol.asyncIterator]: () => openedParts(open) }
    },
    ...(model.countTokens === undefined
      ? undefined
      : {
          async countTokens(given: GenerateInput, outer: Call) {
            const call = ownCall(outer)
            return model.countTokens?.(await enter(guards, given, call), call)
          },
        }),
  }
}

async function* openedParts(open: () => Promise<AsyncIterable<Part<'generate'>>>): AsyncGenerator<Part<'generate'>> {
  yield* await open()
}

/** The request as the guards let it through, and who looks at its answer, the last guard first. */
async function entered(guards: readonly Guard[], given: GenerateInput, call: Call) {
  const input = await enter(guards, given, call)
  const checks = guards.flatMap((guard): AnswerCheck[] => {
    const output = typeof guard.output === 'function' ? guard.output(call) : guard.output
    return output === undefined ? [] : [{ guard, output, call }]
  })
  return { input: checks.length === 0 ? input : answeredInWords(input), checks: checks.reverse() }
}

function askInput<Made>(
  guard: Guard,
  input: GenerateInput,
  call: Call,
  make: (change: InputChange) => Made,
): Promise<Made | undefined> {
  const { input: hook } = guard
  if (hook === undefined) return Promise.resolve(undefined)
  return ask(guard, 'request', call, () => hook.call(guard, input, call), make)
}

async function enter(guards: readonly Guard[], given: GenerateInput, call: Call): Promise<GenerateInput> {
  let input = given
  for (const guard of guards) {
    const before = input
    const said = await askInput(guard, before, call, (change) => changed(before, change))
    if (call.signal.aborted) throw abortError(call.signal)
    input = said ?? input
  }
  return input
}

function changed(input: GenerateInput, change: InputChange): GenerateInput {
  if (typeof change === 'function') return changedTexts(input, change)
  const { native: _, ...fields } = change as Partial<GenerateInput>
  return { ...inOurWords(input), ...fields }
}

/** The same request; its answer is wanted in our words. @throws TollgateError `invalid_request` for what asks for an answer that we have no words for */
function answeredInWords(input: GenerateInput): GenerateInput {
  const { native } = input
  if (native === undefined) return input
  const words = inOurWords(input)
  return { ...words, native: { ...native, answer: 'typed' } }
}

function guardedEmbed(model: Model<'embed'>, guards: readonly Guard[]): Model<'embed'> {
  return {
    ...model,
    dispatches: true,
    async run(input, outer) {
      const call = ownCall(outer)
      const asked = await embedded(guards, input, call)
      await admit(model, call)
      return model.run(asked, call)
    },
  }
}

async function embedded(guards: readonly Guard[], given: EmbedInput, call: Call): Promise<EmbedInput> {
  let input = given
  for (const guard of guards) {
    const before = input
    const messages = before.inputs.map((text) => ({ role: 'user' as const, content: textOf(text) }))
    // The body goes on as it came: the rest of it, `user` for one, is read as well. To guards all words are the same.
    const native = before.native as NativeRequest | NativeEmbedRequest | undefined as NativeRequest | undefined
    const shown = native === undefined ? { messages } : { messages, native }
    const said = await askInput(guard, shown, call, (change) => embeddedAnew(before, messages, change))
    if (call.signal.aborted) throw abortError(call.signal)
    input = said ?? input
  }
  return input
}

function embeddedAnew(
  { native, inputs, ...rest }: EmbedInput,
  messages: ReadonlyArray<{ readonly content: string }>,
  change: InputChange,
): EmbedInput {
  if (typeof change === 'function') {
    const body = native === undefined ? undefined : changedFields(native.body, change)
    return {
      ...rest,
      inputs: messages.map(({ content }) => change(content)),
      ...(native === undefined ? undefined : { native: { ...native, body: body as typeof native.body } }),
    }
  }
  const texts = (change.messages ?? messages).flatMap(({ content }) => (typeof content === 'string' ? [content] : []))
  if (texts.length !== inputs.length) throw new RangeError('A guard must leave as many texts as there were.')
  return { ...rest, inputs: texts }
}

function textOf(text: string | readonly number[]): string {
  if (typeof text === 'string') return text
  const errors = [{ path: 'input', message: 'must be text: token ids cannot be read by the guards of this model' }]
  throw new TollgateError('invalid_request', 'Guards of this model cannot read token ids.', { errors })
}
