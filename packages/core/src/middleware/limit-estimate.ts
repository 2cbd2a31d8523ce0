import { LRUCache } from 'lru-cache'

/** What a request is going to use, as far as it can be told beforehand. */
export interface LimitEstimate {
  /** The model that it names. */
  readonly model?: string | undefined
  readonly inputTokens: number
  /** What the caller has bounded the output to; `undefined`: it has not. */
  readonly maxOutputTokens?: number | undefined
}

/** Bytes of a token, at the least that text of common languages has. */
const bytesPerToken = 3
/** A picture or a sound in a request: what vendors take for a large one. */
const tokensPerMedium = 1_500
const mostDepth = 16
const textFields = ['messages', 'input', 'prompt', 'system', 'instructions', 'tools', 'text', 'inputs', 'instances']
/** No model writes more in one answer, and no price of as many passes what can be counted. */
const mostTokens = 1_000_000_000

/**
 * Reads a JSON body of OpenAI's or Anthropic's: `model`, the text in `messages`, `input`, `prompt`, `system`, `tools`, and `max_tokens` (`max_completion_tokens`, `max_output_tokens`) times `n`. Text is counted
 * at three bytes a token unless `count` does better; pictures and sounds by the piece. `undefined` for a body that is none of these.
 */
export function estimateFromBody(
  body: unknown,
  count?: (text: string, model: string | undefined) => number,
): LimitEstimate | undefined {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return undefined
  const fields = body as Record<string, unknown>
  const model = typeof fields['model'] === 'string' ? fields['model'] : undefined
  let bytes = 0
  let counted = 0
  let media = 0
  const read = (value: unknown, depth: number): void => {
    if (typeof value === 'string') {
      if (value.startsWith('data:')) media += 1
      else if (count === undefined) bytes += Buffer.byteLength(value)
      else counted += count(value, model)
    } else if (Array.isArray(value)) {
      if (depth < mostDepth) for (const inner of value) read(inner, depth + 1)
    } else if (depth < mostDepth && typeof value === 'object' && value !== null) {
      for (const name of Object.keys(value)) {
        // Anthropic's and OpenAI's pieces of media: base64 is not text.
        if (name === 'data' || name === 'image_url' || name === 'input_audio' || name === 'file_data') media += 1
        else read((value as Record<string, unknown>)[name], depth + 1)
      }
    } else if (typeof value === 'number') bytes += bytesPerToken
  }
  let isKnown = false
  for (const name of textFields) {
    const value = fields[name]
    if (value === undefined) continue
    isKnown = true
    read(value, 0)
  }
  if (!isKnown) return undefined
  const bound = [fields['max_completion_tokens'], fields['max_output_tokens'], fields['max_tokens']].find(isCount)
  const answers = isCount(fields['n']) ? Math.max(1, fields['n']) : 1
  return {
    model,
    inputTokens: counted + Math.ceil(bytes / bytesPerToken) + media * tokensPerMedium,
    ...(bound === undefined ? undefined : { maxOutputTokens: Math.min(mostTokens, bound * answers) }),
  }
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
