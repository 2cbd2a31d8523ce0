import { hash } from 'node:crypto'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { abortError } from '../inference/call.js'
import type { Call, Model, ModelInfo, ModelStream } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import type { EmbedInput, GenerateInput, GenerateOutput, Part, Task } from '../inference/task.js'
import { checkedOptions, objectOption } from '../options.js'
import { countedCharacters, estimator, type Tokenizer } from '../tokenizer.js'
import { noUsage, type Usage } from '../usage.js'
import { countInputs } from './count-tokens.js'

export interface EchoProviderOptions {
  /** Its name in prices and metrics. Default `echo`. */
  readonly name?: string
  /** Counts the tokens it answers for: what it reports is its own true count. */
  readonly tokenizer: Tokenizer
  /** Milliseconds before each word of a stream, to see it stream. Default 0. */
  readonly wordDelayMs?: number
  /** Numbers in an embedding, unless the caller asks for another count. Default 256. */
  readonly dimensions?: number
}

const optionsSchema = z.strictObject({
  name: z.string().min(1).max(64).default('echo'),
  tokenizer: objectOption<Tokenizer>('a Tokenizer, for example gptTokenizer()', 'count'),
  wordDelayMs: z.int().min(0).max(60_000).optional(),
  dimensions: z.int().min(1).max(100_000).optional(),
})

const maxDimensions = 100_000
/** In all vectors of an answer together: a short request must not be able to ask for gigabytes. */
const maxNumbers = 1_048_576
/** Without a delay, so many words go out before others get their turn. */
const wordsPerTurn = 32

const info = {
  id: 'echo',
  ownedBy: 'tollgate-development',
  description: 'For development only: no AI. Generation repeats the last user message; embeddings are hashed words.',
} as const

/**
 * The development provider: one model, `echo`, that needs no key and no network. It streams the last user message back word by word,
 * with true token counts and the most tokens to write respected, so that everything around a model can be built and tested. Its
 * embeddings are hashed bags of words: texts that share words are near each other, and that is all. It never calls tools.
 *
 * @throws TollgateError `config_invalid`; its models `invalid_request` for more than one answer (`n`)
 * @example echoProvider({ tokenizer: gptTokenizer() })
 */
export function echoProvider(options: EchoProviderOptions): Provider {
  const { name, tokenizer, wordDelayMs = 0, dimensions = 256 } = checkedOptions('echoProvider', optionsSchema, options)
  const generate = echoGenerate(name, tokenizer, wordDelayMs)
  const embed = echoEmbed(name, tokenizer, dimensions)
  return {
    name,
    model: <T extends Task>(task: T, id: string, version?: string) => {
      if (id !== info.id || version !== undefined) return undefined
      const model: Model | undefined = task === 'generate' ? generate : task === 'embed' ? embed : undefined
      return model as Model as Model<T> | undefined
    },
    list: () =>
      Promise.resolve<ModelInfo[]>([
        { ...info, task: 'generate' },
        { ...info, task: 'embed' },
      ]),
  }
}

function echoGenerate(provider: string, tokenizer: Tokenizer, wordDelayMs: number): Model<'generate'> {
  /** Exact for what a person types; of more, slices are counted. */
  const usageOf = (input: GenerateInput, answered: string): Usage => {
    const prompts = input.messages.map(({ content }) => textOf(content))
    const prompt = estimator(tokenizer)
    const characters = prompts.reduce((sum, text) => sum + text.length, 0)
    return {
      inputTokens: prompts.reduce((tokens, text) => tokens + prompt.count(text), 0),
      outputTokens: estimator(tokenizer).count(answered),
      estimated: Math.max(characters, answered.length) > countedCharacters,
    }
  }
  const promptUsage = (input: GenerateInput): Usage => usageOf(input, '')
  const answer = async (input: GenerateInput): Promise<Omit<GenerateOutput, 'toolCalls'>> => {
    const n = input.native?.body['n']
    if (typeof n === 'number' && n > 1) {
      const errors = [{ path: 'n', message: 'must be 1: the model echo gives one answer' }]
      throw new TollgateError('invalid_request', 'The model echo gives one answer: leave n out.', { errors })
    }
    const said = input.messages.findLast(({ role }) => role === 'user')
    const whole = said === undefined ? '' : textOf(said.content)
    const text = await firstTokens(whole, input.maxOutputTokens, tokenizer)
    return { text, finishReason: text.length < whole.length ? 'length' : 'stop' }
  }

  return {
    task: 'generate',
    provider,
    id: info.id,
    async run(input, call) {
      if (call.signal.aborted) throw abortError(call.signal)
      const { text, finishReason } = await answer(input)
      const usage = usageOf(input, text)
      return { output: { text, toolCalls: [], finishReason }, usage }
    },
    stream(input, call): ModelStream<'generate'> {
      const echoing: Echoing = {
        call,
        wordDelayMs,
        answer: () => answer(input),
        usageSoFar: () => (echoing.begun ? usageOf(input, echoing.sent) : noUsage),
        begun: false,
        sent: '',
      }
      return { usageSoFar: echoing.usageSoFar, [Symbol.asyncIterator]: () => partsOf(echoing) }
    },
    inputUsage: promptUsage,
  }
}

interface Echoing {
  readonly call: Call
  readonly wordDelayMs: number
  answer(): Promise<Omit<GenerateOutput, 'toolCalls'>>
  usageSoFar(): Usage
  begun: boolean
  sent: string
}

/** One function for all streams, as of `generate-stream`: one made for each would keep its request until the next full collection. */
async function* partsOf(echoing: Echoing): AsyncGenerator<Part<'generate'>> {
  echoing.begun = true
  const { text, finishReason } = await echoing.answer()
  let words = 0
  for (const [word] of text.matchAll(/\S*\s*/g)) {
    if (word === '') break
    await turn(echoing.call, echoing.wordDelayMs, words)
    words += 1
    echoing.sent += word
    yield { type: 'text', text: word }
  }
  yield { type: 'end', finishReason, usage: echoing.usageSoFar() }
}

async function turn(call: Call, delayMs: number, words: number): Promise<void> {
  try {
    if (delayMs > 0) await setTimeout(delayMs, undefined, { signal: call.signal })
    else if (words % wordsPerTurn === wordsPerTurn - 1) await setImmediate()
  } catch {
    // The wait was aborted, which is told below.
  }
  if (call.signal.aborted) throw abortError(call.signal)
}

function textOf(content: GenerateInput['messages'][number]['content']): string {
  if (typeof content === 'string') return content
  return content.map((part) => (part.type === 'text' ? part.text : '')).join('')
}

/** Characters that are counted together; beyond, tokens that reach over a cut are counted as two. */
const sliceLength = 2048

/**
 * The longest beginning of a text that has no more than so many tokens, in whole characters. Counts each slice once, and searches in one; lets others have their turn between slices.
 */
async function firstTokens(text: string, most: number | undefined, tokenizer: Tokenizer): Promise<string> {
  if (most === undefined) return text
  let left = most
  for (let from = 0; from < text.length; ) {
    const last = text.charCodeAt(from + sliceLength - 1)
    const to = from + sliceLength + (last >= 0xd800 && last <= 0xdbff ? 1 : 0)
    const slice = text.slice(from, to)
    const tokens = tokenizer.count(slice)
    if (tokens > left) return text.slice(0, from) + longestFit(slice, left, tokenizer)
    left -= tokens
    from = to
    if (from < text.length) await setImmediate()
  }
  return text
}

function longestFit(text: string, most: number, tokenizer: Tokenizer): string {
  const characters = Array.from(text)
  let fits = 0
  let over = characters.length
  while (over - fits > 1) {
    const middle = (fits + over) >> 1
    if (tokenizer.count(characters.slice(0, middle).join('')) <= most) fits = middle
    else over = middle
  }
  return characters.slice(0, fits).join('')
}

function echoEmbed(provider: string, tokenizer: Tokenizer, defaultDimensions: number): Model<'embed'> {
  const usage = (input: EmbedInput): Usage => ({
    inputTokens: countInputs(input, tokenizer),
    outputTokens: 0,
    estimated: false,
  })
  return {
    task: 'embed',
    provider,
    id: info.id,
    async run(input) {
      const dimensions = Math.min(input.dimensions ?? defaultDimensions, maxDimensions)
      if (dimensions * input.inputs.length > maxNumbers) {
        const errors = [{ path: 'dimensions', message: `must be at most ${maxNumbers} over all inputs together` }]
        throw new TollgateError('invalid_request', 'The model echo does not make so many numbers at once.', { errors })
      }
      return { output: { vectors: input.inputs.map((each) => hashedWords(each, dimensions)) }, usage: usage(input) }
    },
    inputUsage: usage,
  }
}

/** Feature hashing: each word adds or takes one at a place that its hash gives; then to unit length. */
function hashedWords(input: string | readonly number[], dimensions: number): Float32Array {
  const vector = new Float32Array(dimensions)
  const words =
    typeof input === 'string' ? (input.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [input]) : input.map(String)
  for (const word of words) {
    const digest = hash('sha256', word, 'buffer')
    const place = digest.readUInt32LE(0) % dimensions
    vector[place] = (vector[place] ?? 0) + ((digest[4] ?? 0) % 2 === 0 ? 1 : -1)
  }
  const length = Math.sqrt(vector.reduce((sum, number) => sum + number * number, 0))
  // Words may cancel each other out; a unit vector is promised all the same.
  if (length === 0) vector[0] = 1
  else for (let index = 0; index < dimensions; index += 1) vector[index] = (vector[index] ?? 0) / length
  return vector
}
