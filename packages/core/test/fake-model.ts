import { TollgateError } from '../src/errors.js'
import { abortError } from '../src/inference/call.js'
import type { Call, Model, ModelStream } from '../src/inference/model.js'
import type { GenerateInput, Part, Result } from '../src/inference/task.js'
import type { Target } from '../src/target.js'
import type { Usage } from '../src/usage.js'

/** What an attempt comes to: an answer, or an error; of a stream before or after its first part. Functions are asked when it runs. */
export type Outcome = 'ok' | 'hang' | 'hang-later' | TollgateError | { readonly after: TollgateError } | (() => Outcome)

const used: Usage = { inputTokens: 3, outputTokens: 2, estimated: false }
const begun: Usage = { inputTokens: 3, outputTokens: 0, estimated: true }

/** A model whose attempts come to these outcomes, one after the other; the last for ever. */
export function fakeModel(id: string, outcomes: readonly Outcome[] = ['ok']) {
  const state = { runs: 0, running: 0, most: 0 }
  const next = (): Exclude<Outcome, () => Outcome> => {
    const outcome = outcomes[Math.min(state.runs, outcomes.length - 1)] ?? 'ok'
    state.runs += 1
    const made = typeof outcome === 'function' ? outcome() : outcome
    return made as Exclude<Outcome, () => Outcome>
  }
  const occupied = async <Value>(work: () => Promise<Value>): Promise<Value> => {
    state.running += 1
    state.most = Math.max(state.most, state.running)
    try {
      return await work()
    } finally {
      state.running -= 1
    }
  }
  const hang = ({ signal }: Call) =>
    new Promise<never>((_resolve, reject) => {
      if (signal.aborted) reject(abortError(signal))
      signal.addEventListener('abort', () => reject(abortError(signal)), { once: true })
    })
  const model: Model<'generate'> = {
    task: 'generate',
    provider: 'fake',
    id,
    run: (_input, call): Promise<Result<'generate'>> =>
      occupied(async () => {
        const outcome = next()
        await new Promise((resolve) => setImmediate(resolve))
        if (outcome === 'hang' || outcome === 'hang-later') return hang(call)
        if (outcome instanceof TollgateError) throw outcome
        if (typeof outcome === 'object') throw outcome.after
        return { output: { text: id, toolCalls: [], finishReason: 'stop' }, usage: used }
      }),
    stream(_input, call): ModelStream<'generate'> {
      let usage: Usage = { inputTokens: 0, outputTokens: 0, estimated: false }
      async function* parts(): AsyncGenerator<Part<'generate'>> {
        state.running += 1
        state.most = Math.max(state.most, state.running)
        try {
          const outcome = next()
          await new Promise((resolve) => setImmediate(resolve))
          usage = begun
          if (outcome === 'hang') await hang(call)
          if (outcome instanceof TollgateError) throw outcome
          yield { type: 'text', text: id }
          if (outcome === 'hang-later') await hang(call)
          if (typeof outcome === 'object') throw outcome.after
          usage = used
          yield { type: 'end', finishReason: 'stop', usage }
        } finally {
          state.running -= 1
        }
      }
      return { usageSoFar: () => usage, [Symbol.asyncIterator]: parts }
    },
    inputUsage: () => begun,
  }
  return { model, state }
}

export const hello: GenerateInput = { messages: [{ role: 'user', content: 'hello' }] }

/** A call that writes down what it is told. */
export function recordedCall(more: Partial<Call> = {}) {
  const told = {
    dispatched: [] as string[],
    failed: [] as string[],
    spent: [] as Usage[],
    outrun: [] as string[],
    /** Of attempts beside another: which of them has won. */
    beside: [] as boolean[],
  }
  const own = {
    dispatching: ({ model }: Target) => void told.dispatched.push(model),
    failed: ({ model }: Target, error: unknown) => void told.failed.push(`${model} ${(error as TollgateError).code}`),
    spent: (usage: Usage) => void told.spent.push(usage),
    outrun: ({ model }: Target) => void told.outrun.push(model),
    ...more,
  }
  const call: Call = {
    signal: new AbortController().signal,
    requestId: 'r',
    beside: () => ({ call: own, end: (won) => void told.beside.push(won) }),
    ...own,
  }
  return { call, told }
}

/** The text of a model's answer, whole or streamed. */
export async function textOf(model: Model<'generate'>, call: Call, how: 'run' | 'stream'): Promise<string> {
  if (how === 'run') return (await model.run(hello, call)).output.text
  let text = ''
  for await (const part of model.stream?.(hello, call) ?? []) if (part.type === 'text') text += part.text
  return text
}

export const sick = () => new TollgateError('upstream_failed', 'sick')
export const throttled = (retryAfterMs?: number) =>
  new TollgateError('rate_limited', 'slow', retryAfterMs === undefined ? {} : { retryAfterMs })
export const wrong = () => new TollgateError('invalid_request', 'wrong')
