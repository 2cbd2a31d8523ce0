import type { Call, Model } from '../src/inference/model.js'
import type { GenerateInput, GenerateOutput, Part } from '../src/inference/task.js'
import type { Usage } from '../src/usage.js'
import type { Edit, Guard, OutputGuard } from '../src/wrappers/guard.js'
import { hello, recordedCall } from './fake-model.js'

const usage: Usage = { inputTokens: 3, outputTokens: 2, estimated: false }
export const end = { type: 'end', finishReason: 'stop', usage } as const

/** A model that answers with these parts, and writes down what it was asked. */
export function scripted(parts: ReadonlyArray<Part<'generate'>>, output: Partial<GenerateOutput> = {}) {
  const asked: GenerateInput[] = []
  const model: Model<'generate'> = {
    task: 'generate',
    provider: 'fake',
    id: 'm',
    async run(input) {
      asked.push(input)
      return { output: { text: '', toolCalls: [], finishReason: 'stop', ...output }, usage }
    },
    stream(input) {
      asked.push(input)
      return {
        usageSoFar: () => usage,
        async *[Symbol.asyncIterator]() {
          yield* [...parts, end]
        },
      }
    },
    countTokens: async (input) => {
      asked.push(input)
      return 7
    },
  }
  return { model, asked }
}

/** What came of a stream, and the error that it ended in, if it did. */
export async function partsOf(model: Model<'generate'>, call: Call = recordedCall().call, input = hello) {
  const parts: Array<Part<'generate'>> = []
  let error: unknown
  try {
    for await (const part of model.stream?.(input, call) ?? []) parts.push(part)
  } catch (each) {
    error = each
  }
  return { parts, error }
}

export const joined = (parts: ReadonlyArray<Part<'generate'>>, type: 'text' | 'reasoning') =>
  parts.map((part) => (part.type === type ? part.text : '')).join('')
export const argumentsOf = (parts: ReadonlyArray<Part<'generate'>>, index: number) =>
  parts.map((part) => (part.type === 'tool-call' && part.index === index ? part.arguments : '')).join('')

/** Puts stars in the place of `secret`, and of numbers of up to six digits. */
export const stars = (more: Partial<OutputGuard> = {}): OutputGuard => ({
  window: 8,
  check(text, { before }) {
    const edits: Edit[] = []
    for (const { index, 0: match } of text.matchAll(/secret|\d{1,6}/g)) {
      // `asecret` is another word.
      if (index === 0 && before.endsWith('a') && match === 'secret') continue
      if (text[index - 1] === 'a' && match === 'secret') continue
      edits.push({ start: index, end: index + match.length, text: '*' })
    }
    return { change: edits }
  },
  ...more,
})

export const only = (guard: Partial<Guard>): Guard => ({ name: 'g', ...guard })
