import type { Usage } from './usage.js'

/** Counts the tokens of a text. The name goes into logs, so that an estimate says what made it. */
export interface Tokenizer {
  readonly name: string
  count(text: string): number
}

/** Characters that one estimate may really count. Odd text takes a tokenizer milliseconds a thousand; prose is far faster. */
export const countedCharacters = 32_768
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

/** As much of a chat message as counting needs: ours and OpenAI's both fit. */
export interface CountableMessage {
  readonly role: string
  readonly content?: string | readonly unknown[] | null | undefined
  readonly name?: string | undefined
  readonly toolCalls?: readonly unknown[] | undefined
  readonly tool_calls?: readonly unknown[] | null | undefined
}

/** OpenAI's documented frame of a chat: tokens around each message, for a name, and to prime the answer. */
const perMessage = 3
const perName = 1
const priming = 3

/** GPT-4o's price of a picture: of low detail, and of high detail at 1024 × 1024, which stands for pictures whose size is not known. */
const lowDetailImage = 85
const highDetailImage = 765
/** Text has a space within so many characters. */
const longestWord = 1_024

/**
 * The prompt tokens of a chat, as OpenAI frames it: 3 per message, 1 per name, 3 to prime the answer, plus what the texts count. Tool calls
 * and tool definitions are counted as their JSON, pictures as GPT-4o's. An estimate: other vendors frame otherwise.
 *
 * @param tools the request's tool definitions
 * @example countChatTokens(gptTokenizer(), [{ role: 'user', content: 'Hello' }])
 */
export function countChatTokens(
  tokenizer: Tokenizer,
  messages: readonly CountableMessage[],
  tools: readonly unknown[] = [],
): number {
  let tokens = priming
  for (const { role, content, name, toolCalls, tool_calls } of messages) {
    tokens += perMessage + tokenizer.count(role)
    if (typeof content === 'string') tokens += tokenizer.count(content)
    else for (const part of content ?? []) tokens += countPart(tokenizer, part)
    if (name !== undefined) tokens += perName + tokenizer.count(name)
    for (const call of toolCalls ?? tool_calls ?? []) tokens += countJson(tokenizer, call)
  }
  for (const tool of tools) tokens += countJson(tokenizer, tool)
  return tokens
}

/** What a call used, for a provider that does not say. */
export interface Countable {
  readonly tokenizer: Tokenizer
  /** The text, or the messages of a chat. */
  readonly prompt: string | readonly CountableMessage[]
  /** What was written, as far as it came. */
  readonly completion?: string
}

/**
 * The usage of a call counted by us: `estimated` is true; of long texts slices are counted ({@link estimator}). For a handler that calls an SDK by hand and is told no usage; where the provider
 * tells it, that wins.
 *
 * @example
 * const usage = usageFromOpenAi(completion.usage) ?? countUsage({ tokenizer, prompt: messages, completion: text })
 * recordUsage(req, { model: completion.model, usage })
 */
export function countUsage({ tokenizer, prompt, completion = '' }: Countable): Usage {
  return {
    inputTokens:
      typeof prompt === 'string' ? estimator(tokenizer).count(prompt) : countChatTokens(estimator(tokenizer), prompt),
    outputTokens: estimator(tokenizer).count(completion),
    estimated: true,
  }
}

interface Part {
  readonly type?: unknown
  readonly text?: unknown
  readonly detail?: unknown
  readonly image_url?: { readonly detail?: unknown } | null
}

function countPart(tokenizer: Tokenizer, part: unknown): number {
  if (typeof part === 'string') return tokenizer.count(part)
  if (typeof part !== 'object' || part === null) return 0
  const { type, text, detail, image_url } = part as Part
  if (typeof text === 'string') return tokenizer.count(text)
  if (type !== 'image' && type !== 'image_url') return countTextIn(tokenizer, part)
  return (detail ?? image_url?.detail) === 'low' ? lowDetailImage : highDetailImage
}

/** What there is no word for here: all text that is in it. Base64 is counted as a picture. */
function countTextIn(tokenizer: Tokenizer, part: object): number {
  let tokens = 0
  // Not by recursion: how deep a body goes is the caller's choice.
  const waiting: unknown[] = [part]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (typeof next === 'string') {
      const isMedium = next.length > longestWord && !next.includes(' ')
      tokens += isMedium ? highDetailImage : tokenizer.count(next)
    } else if (typeof next === 'object' && next !== null) for (const inner of Object.values(next)) waiting.push(inner)
  }
  return tokens
}

function countJson(tokenizer: Tokenizer, value: unknown): number {
  try {
    return tokenizer.count(JSON.stringify(value) ?? '')
  } catch (cause) {
    // Nested deeper than it could be sent: whoever sends it refuses it.
    if (cause instanceof RangeError) return 0
    throw cause
  }
}
