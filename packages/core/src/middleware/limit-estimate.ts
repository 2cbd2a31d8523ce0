import { LRUCache } from 'lru-cache'
import { mostTokens } from '../wire/token-count.js'

/** What a request is going to use, as far as it can be told beforehand. */
export interface LimitEstimate {
  /** The model that it names. */
  readonly model?: string | undefined
  readonly inputTokens: number
  /** Sound in the input, tokens; not within `inputTokens`. Default 0. */
  readonly inputAudioTokens?: number | undefined
  /** The input is to be kept by the upstream, which costs more to write: for five minutes, or an hour. Default: it is not. */
  readonly keptFor?: '5m' | '1h' | undefined
  /** What the caller has bounded the output to, of all answers together; `undefined`: it has not. */
  readonly maxOutputTokens?: number | undefined
  /** Answers that are asked for at once. Default 1. */
  readonly answers?: number | undefined
  /** The output may be sound, which costs more than text. Default `false`. */
  readonly speaks?: boolean | undefined
}

/** Bytes of a token, at the least that text of common languages has. */
const bytesPerToken = 3
/** A picture or a sound in a request: what vendors take for a large one. */
const tokensPerMedium = 1_500

/** Fields with what a model reads. */
const readFields = [
  ...['messages', 'input', 'prompt', 'system', 'instructions', 'inputs', 'instances'],
  ...['suffix', 'prediction', 'documents'],
] as const
/** Fields with schemas, of which a model reads the names too. */
const definitionFields = ['tools', 'functions', 'response_format', 'text'] as const
/** Without one of these it is no request to a model. */
const tellingFields = ['messages', 'input', 'prompt', 'inputs', 'instances', 'system', 'instructions', 'tools', 'text']

/** By what an API bounds the output. A field of another one is passed over by its upstream, and so it is here. */
const bounds = [
  ['messages', ['max_completion_tokens', 'max_tokens']],
  ['prompt', ['max_tokens']],
  ['input', ['max_output_tokens']],
] as const

/** Where OpenAI's and Anthropic's APIs have pictures, sounds and files. */
const mediumFields: ReadonlySet<string> = new Set(['data', 'image_url', 'input_audio', 'file_data'])

type Fields = Readonly<Record<string, unknown>>

/**
 * Reads a JSON body of OpenAI's or Anthropic's: `model`, the text in `messages`, `input`, `prompt`, `system`, `tools` and what else a model is given, and the bound of the output as the API has it (`max_tokens`, `max_completion_tokens`,
 * `max_output_tokens`; the largest, where there are several) times the answers that are asked for (`n`, `best_of`, prompts). Text is counted
 * at three bytes a token unless `count` does better; pictures and sounds by the piece. `undefined` for a body that is none of these.
 */
export function estimateFromBody(
  body: unknown,
  count?: (text: string, model: string | undefined) => number,
): LimitEstimate | undefined {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return undefined
  const fields = body as Fields
  if (!tellingFields.some((name) => fields[name] !== undefined)) return undefined
  const model = typeof fields['model'] === 'string' ? fields['model'] : undefined
  let bytes = 0
  let counted = 0
  let media = 0
  let sounds = 0
  let keptFor: LimitEstimate['keptFor']
  const readKept = (control: unknown): void => {
    if (typeof control !== 'object' || control === null) return
    keptFor = (control as Fields)['ttl'] === '1h' ? '1h' : (keptFor ?? '5m')
  }
  const countText = (text: string): void => {
    if (count === undefined) bytes += Buffer.byteLength(text)
    else counted += count(text, model)
  }
  const read = (root: unknown, isDefinition: boolean): void => {
    // Not by recursion: how deep a body goes is the caller's choice.
    const waiting: object[] = []
    const readValue = (value: unknown, name?: string): void => {
      const isMedium = !isDefinition && name !== undefined && mediumFields.has(name)
      if (typeof value === 'string') {
        if (!isDefinition && (isMedium || value.startsWith('data:')) && isOpaque(value)) media += 1
        else countText(value)
      } else if (typeof value === 'number') bytes += bytesPerToken
      else if (typeof value !== 'object' || value === null) return
      else if (!isMedium) waiting.push(value)
      else {
        if (name === 'input_audio') sounds += 1
        else media += 1
        for (const inner of Object.values(value)) if (typeof inner !== 'string' || !isOpaque(inner)) readValue(inner)
      }
    }
    readValue(root)
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      if (Array.isArray(next)) for (const each of next) readValue(each)
      else
        for (const [name, value] of Object.entries(next)) {
          if (name === 'cache_control') readKept(value)
          if (isDefinition) countText(name)
          readValue(value, name)
        }
    }
  }
  readKept(fields['cache_control'])
  for (const name of readFields) if (fields[name] !== undefined) read(fields[name], false)
  for (const name of definitionFields) if (fields[name] !== undefined) read(fields[name], true)
  const answers = answersOf(fields)
  const bound = boundOf(fields)
  return {
    model,
    inputTokens: counted + Math.ceil(bytes / bytesPerToken) + media * tokensPerMedium,
    ...(bound === undefined ? undefined : { maxOutputTokens: Math.min(mostTokens, bound * answers) }),
    ...(sounds === 0 ? undefined : { inputAudioTokens: sounds * tokensPerMedium }),
    ...(keptFor === undefined ? undefined : { keptFor }),
    ...(answers === 1 ? undefined : { answers }),
    ...(speaks(fields) ? { speaks: true } : undefined),
  }
}

function speaks({ modalities }: Fields): boolean {
  return Array.isArray(modalities) && modalities.includes('audio')
}

/** The base64 of a medium or its address: in text there are spaces, or letters beyond ASCII. */
function isOpaque(text: string): boolean {
  return !text.includes(' ') && Buffer.byteLength(text) === text.length
}

/** `undefined` if one of the APIs that a body may be for has no bound in it. */
function boundOf(fields: Fields): number | undefined {
  const asked = bounds.filter(([name]) => typeof fields[name] === 'string' || Array.isArray(fields[name]))
  const each = asked.map(([, names]) => Math.max(...names.map((name) => fields[name]).filter(isCount), -1))
  return each.length === 0 || each.includes(-1) ? undefined : Math.max(...each)
}

function answersOf({ n, best_of: bestOf, prompt }: Fields): number {
  const prompts = Array.isArray(prompt) && typeof prompt[0] !== 'number' ? prompt.length : 1
  return Math.min(mostTokens, Math.max(1, timesOf(n), timesOf(bestOf)) * Math.max(1, prompts))
}

/** Some servers take a number in quotes too. */
function timesOf(value: unknown): number {
  const number = typeof value === 'string' ? Number(value) : value
  return isCount(number) ? number : 1
}

/** What a form with a picture or a sound is taken for: it is not read. */
export const estimateOfForm: LimitEstimate = Object.freeze({ inputTokens: tokensPerMedium })

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/** What callers have had of a model, for what cannot be told beforehand. */
export interface Learned {
  /** What is not expected to be passed. */
  expect(caller: string, of: string): number
  learn(caller: string, of: string, amount: number): void
}

interface Seen {
  mean: number
  deviation: number
}

/** A moving mean and deviation for each caller and model (or what else it is learnt of), 10,000 of them; `initial` until something is known. */
export function learned(initial: number): Learned {
  const seen = new LRUCache<string, Seen>({ max: 10_000 })
  const weight = 0.1
  return {
    expect(caller, of) {
      const known = seen.get(`${of}\n${caller}`)
      return known === undefined ? initial : known.mean + 3 * known.deviation
    },
    learn(caller, of, amount) {
      const key = `${of}\n${caller}`
      const known = seen.get(key)
      if (known === undefined) {
        seen.set(key, { mean: amount, deviation: Math.max(amount, initial) / 3 })
        return
      }
      known.deviation += weight * (Math.abs(amount - known.mean) - known.deviation)
      known.mean += weight * (amount - known.mean)
    },
  }
}
