import type { EmbedInput, GenerateInput } from '../inference/task.js'
import { countChatTokens, type Tokenizer } from '../tokenizer.js'

/** For providers that were given no tokenizer: about right for English, and never nothing for something. */
export const byteTokenizer: Tokenizer = {
  name: 'utf8-bytes/4',
  count: (text) => Math.ceil(Buffer.byteLength(text) / 4),
}

/** Characters that one estimate may really count. Odd text takes a tokenizer milliseconds a thousand; prose is far faster. */
const countedCharacters = 32_768
const sliceCharacters = 2_048

/**
 * A tokenizer for one estimate: exact for the first 32,768 characters it is given; of a longer text it counts slices from all over it, and for
 * what comes after them it takes what the counted text came to. So no prompt, however long or strange, can hold the process up.
 */
export function estimator({ name, count }: Tokenizer): Tokenizer {
  let left = countedCharacters
  let characters = 0
  let tokens = 0
  const counted = (text: string): number => {
    const found = count(text)
    left -= text.length
    characters += text.length
    tokens += found
    return found
  }
  return {
    name,
    count(text) {
      if (text.length <= left) return counted(text)
      const slices = Math.floor(left / sliceCharacters)
      let sampled = 0
      for (let slice = 0; slice < slices; slice += 1) {
        const start = Math.floor(((text.length - sliceCharacters) * slice) / Math.max(1, slices - 1))
        sampled += counted(text.slice(start, start + sliceCharacters))
      }
      if (slices > 0) return Math.ceil((sampled / (slices * sliceCharacters)) * text.length)
      return Math.ceil((tokens / characters) * text.length)
    },
  }
}

/** The tokens of a prompt as a chat model sees it: messages and the definitions of tools. An estimate. */
export function countPrompt({ native, messages }: GenerateInput, tokenizer: Tokenizer): number {
  const { tools, functions, response_format: format } = native?.body ?? {}
  const definitions = [tools, functions, format].flat().filter((each) => each !== undefined && each !== null)
  return countChatTokens(estimator(tokenizer), messages, definitions)
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
