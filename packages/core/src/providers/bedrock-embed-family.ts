import { TollgateError } from '../errors.js'
import type { EmbedInput } from '../inference/task.js'

type Json = Record<string, unknown>

/** How a family of models is asked for embeddings by `InvokeModel`, which is not the same for any two. */
export interface BedrockEmbedFamily {
  /** Texts of one call. */
  readonly mostTexts: number
  /** @throws TollgateError `invalid_request` for what cannot be said to it */
  body(texts: readonly string[], input: EmbedInput): Json
  /** What is, if the answer is what it should be, a list of numbers for each text. */
  vectors(answer: Json): readonly unknown[]
  /** Where the answer tells it, tokens. */
  inputTokens(answer: Json): unknown
}

/** The family of a model's id: `amazon.titan-embed-text-v2:0`, with the regions of a profile before it, or an ARN that ends with such. `undefined`: it embeds nothing, as far as is known. */
export function embedFamilyOf(id: string): BedrockEmbedFamily | undefined {
  const name = id.toLowerCase()
  if (/(?:^|[./])amazon\.titan-embed-text-v2/.test(name)) return titan(true)
  if (/(?:^|[./])amazon\.titan-embed-(?:text|g1-text)-/.test(name)) return titan(false)
  const [, version] = /(?:^|[./])cohere\.embed-(v\d+|[a-z]+(?:-[a-z]+)*-v3)/.exec(name) ?? []
  return version === undefined ? undefined : cohere(version !== 'v4')
}

/** One text a call. */
function titan(hasDimensions: boolean): BedrockEmbedFamily {
  return {
    mostTexts: 1,
    body([inputText], { dimensions }) {
      if (dimensions === undefined) return { inputText }
      if (!hasDimensions) throw fixedDimensions()
      return { inputText, dimensions }
    },
    vectors: ({ embedding }) => [embedding],
    inputTokens: ({ inputTextTokenCount }) => inputTextTokenCount,
  }
}

const inputTypes = ['search_document', 'search_query', 'classification', 'clustering']
const truncations = ['NONE', 'START', 'END']

/** `input_type` is Cohere's own, and has to be said: a caller who says nothing has documents. `truncate` is too. */
function cohere(hasFixedDimensions: boolean): BedrockEmbedFamily {
  return {
    mostTexts: 96,
    body(texts, { dimensions, native }) {
      const { input_type: inputType = 'search_document', truncate } = native?.body ?? {}
      requireOneOf('input_type', inputType, inputTypes)
      if (truncate !== undefined) requireOneOf('truncate', truncate, truncations)
      if (dimensions !== undefined && hasFixedDimensions) throw fixedDimensions()
      return {
        texts,
        input_type: inputType,
        ...(truncate === undefined ? undefined : { truncate }),
        ...(dimensions === undefined ? undefined : { output_dimension: dimensions }),
      }
    },
    vectors({ embeddings }) {
      // By their type, where several could be asked for.
      const floats = (embeddings as { float?: unknown } | null | undefined)?.float ?? embeddings
      return Array.isArray(floats) ? floats : []
    },
    // A head of the answer alone tells it.
    inputTokens: () => undefined,
  }
}

function requireOneOf(path: string, value: unknown, known: readonly string[]): void {
  if (known.some((each) => each === value)) return
  throw unsaid(path, `must be one of ${known.join(', ')} for the model that answers`)
}

function fixedDimensions(): TollgateError {
  return unsaid('dimensions', 'cannot be chosen of the model that answers')
}

function unsaid(path: string, message: string): TollgateError {
  return new TollgateError('invalid_request', `${path} ${message}.`, { errors: [{ path, message }] })
}
