import { TollgateError } from '../errors.js'
import type { Model } from '../inference/model.js'
import type { EmbedInput, EmbedOutput } from '../inference/task.js'
import type { Tokenizer } from '../tokenizer.js'
import { type OpenAiUsage, usageFromOpenAi } from '../wire/openai-usage.js'
import { estimatedInputs } from './count-tokens.js'
import type { Upstream } from './http-kit.js'
import { jsonAnswer } from './openai-answer.js'
import { cutAnswer, paid } from './paid-answer.js'
import { requestJson } from './request-json.js'

export interface EmbedModelOptions {
  readonly upstream: Upstream
  readonly id: string
  readonly tokenizer: Tokenizer
}

/** A model behind `POST /embeddings`. */
export function embedModel({ upstream, id, tokenizer }: EmbedModelOptions): Model<'embed'> {
  const estimate = (input: EmbedInput) => estimatedInputs(input, tokenizer)
  return {
    task: 'embed',
    provider: upstream.name,
    id,
    async run(input, call) {
      const body = requestJson(upstream.patched(embedBody(input, id)))
      const request = { model: id, method: 'POST', path: '/embeddings', accept: 'application/json', body } as const
      const response = await upstream.send(request, call)
      const { bytes, json } = await jsonAnswer(
        upstream,
        response,
        cutAnswer(call, () => estimate(input)),
      )
      const usage = usageFromOpenAi((json as { usage?: OpenAiUsage | null }).usage) ?? estimate(input)
      const encoded = paid(call, usage, () => encodedVectors(upstream.name, json, input.inputs.length))
      const wanted = input.native?.body['encoding_format'] === 'base64' ? 'string' : 'object'
      const relayed = input.native !== undefined && encoded.every((vector) => typeof vector === wanted)
      return { output: new Embeddings(upstream.name, encoded, relayed ? bytes : undefined), usage }
    },
    inputUsage: estimate,
  }
}

/**
 * Most callers take the bytes as they are: nothing is decoded unless somebody looks. (A class, so that the getter is shared: one in an object
 * literal makes a hidden class for every answer.)
 */
class Embeddings implements EmbedOutput {
  declare readonly native?: NonNullable<EmbedOutput['native']>
  readonly #upstream: string
  readonly #encoded: readonly EncodedVector[]

  constructor(upstream: string, encoded: readonly EncodedVector[], bytes: Buffer | undefined) {
    this.#upstream = upstream
    this.#encoded = encoded
    if (bytes !== undefined) this.native = { dialect: 'openai-embeddings', bytes }
  }

  get vectors(): ReadonlyArray<Float32Array> {
    return this.#encoded.map((vector) => decodeVector(this.#upstream, vector))
  }
}

/** Base64 is a third of the bytes of decimal numbers, and exact; servers that do not know it answer in numbers. */
function embedBody({ native, inputs, dimensions }: EmbedInput, model: string): Record<string, unknown> {
  if (native !== undefined) return { ...native.body, model }
  return { model, input: inputs, encoding_format: 'base64', ...(dimensions === undefined ? {} : { dimensions }) }
}

type EncodedVector = string | readonly number[]

/** In the order of the inputs. */
function encodedVectors(upstream: string, json: object, count: number): readonly EncodedVector[] {
  const { data } = json as { data?: unknown }
  const vectors = new Array<EncodedVector | undefined>(count).fill(undefined)
  for (const [position, item] of (Array.isArray(data) ? data : []).entries()) {
    const { index = position, embedding } = (item ?? {}) as { index?: number; embedding?: unknown }
    if (Number.isInteger(index) && index >= 0 && index < count && isEncoded(embedding)) vectors[index] = embedding
  }
  if (!vectors.every((vector) => vector !== undefined)) {
    throw new TollgateError(
      'upstream_invalid',
      `The upstream ${upstream} did not answer with an embedding for each input.`,
    )
  }
  return vectors
}

function isEncoded(embedding: unknown): embedding is EncodedVector {
  if (typeof embedding === 'string') return embedding.length > 0
  return Array.isArray(embedding) && embedding.length > 0 && embedding.every((number) => typeof number === 'number')
}

function decodeVector(upstream: string, encoded: EncodedVector): Float32Array {
  if (typeof encoded !== 'string') return Float32Array.from(encoded)
  const bytes = Buffer.from(encoded, 'base64')
  if (bytes.length === 0 || bytes.length % 4 !== 0) {
    throw new TollgateError(
      'upstream_invalid',
      `The upstream ${upstream} sent an embedding that is not base64 of float32.`,
    )
  }
  const vector = new Float32Array(bytes.length / 4)
  for (let index = 0; index < vector.length; index += 1) vector[index] = bytes.readFloatLE(index * 4)
  return vector
}
