import type { EmbedInput, GenerateInput } from '../inference/task.js'
import { countChatTokens, estimator, type Tokenizer } from '../tokenizer.js'
import type { Usage } from '../usage.js'

/** For providers that were given no tokenizer: about right for English, and never nothing for something. */
export const byteTokenizer: Tokenizer = {
  name: 'utf8-bytes/4',
  count: (text) => Math.ceil(Buffer.byteLength(text) / 4),
}

/** The tokens of a prompt as a chat model sees it: messages, the definitions of tools, and what is stored before them; of completions also token ids, and what comes after. An estimate. */
export function countPrompt({ native, messages }: GenerateInput, tokenizer: Tokenizer): number {
  const { tools, functions, response_format: format, suffix, prediction, documents } = native?.body ?? {}
  const others = [tools, functions, format, suffix, prediction, documents].flat()
  const definitions = others.filter((each) => each !== undefined && each !== null)
  return countChatTokens(estimator(tokenizer), messages, definitions) + tokenIdsIn(native) + (native?.storedTokens ?? 0)
}

/** Prompts of completions may be tokens already. */
function tokenIdsIn(native: GenerateInput['native']): number {
  const prompt = native?.dialect === 'openai-completions' ? native.body['prompt'] : undefined
  return Array.isArray(prompt) ? prompt.flat().filter((each) => typeof each === 'number').length : 0
}

/** The tokens of several texts together. An estimate. */
export function countTexts(texts: readonly string[], tokenizer: Tokenizer): number {
  const { count } = estimator(tokenizer)
  return texts.reduce((tokens, text) => tokens + count(text), 0)
}

/** The tokens of what is to be embedded; exact for inputs that are tokens already. */
export function countInputs({ inputs }: EmbedInput, tokenizer: Tokenizer): number {
  return inputs.reduce(
    (tokens, input) => tokens + (typeof input === 'string' ? tokenizer.count(input) : input.length),
    0,
  )
}

/** What embedding them uses, where the upstream does not say it. */
export function estimatedInputs(input: EmbedInput, tokenizer: Tokenizer): Usage {
  return { inputTokens: countInputs(input, estimator(tokenizer)), outputTokens: 0, estimated: true }
}
