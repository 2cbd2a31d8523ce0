import { z } from 'zod'
import { TollgateError } from '../errors.js'
import type { Call, Model, ModelInfo } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import type { EmbedInput, GenerateInput, Task } from '../inference/task.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import type { Tokenizer } from '../tokenizer.js'
import { byteTokenizer, estimatedInputs } from './count-tokens.js'
import { contentBody } from './gemini-request.js'
import { geminiWire } from './gemini-wire.js'
import { generateModel } from './generate-model.js'
import { type HttpOptions, httpOptionsShape, type Upstream, upstream } from './http-kit.js'
import { headerCredentials } from './key-credentials.js'
import { jsonAnswer } from './openai-answer.js'
import { cutAnswer } from './paid-answer.js'
import { requestJson } from './request-json.js'
import { textInputs } from './text-inputs.js'

export interface GeminiOptions extends Omit<HttpOptions, 'baseUrl'> {
  /** Sent as `x-goog-api-key`. A function is asked for every request. */
  readonly apiKey?: string | (() => string | Promise<string>)
  /** Instead: an OAuth access token, sent as `Authorization: Bearer`, as Vertex AI wants it. A function is asked for every request. */
  readonly accessToken?: string | (() => string | Promise<string>)
  /** Name of the upstream in prices, metrics and errors. Default `google`. */
  readonly name?: string
  /** Default `https://generativelanguage.googleapis.com/v1beta`. For Vertex AI: `https://{region}-aiplatform.googleapis.com/v1/projects/{project}/locations/{region}/publishers/google`. */
  readonly baseUrl?: string
  /** The models it serves. Default: any name is passed on, and the upstream says whether it knows it. */
  readonly models?: readonly string[]
  /** Counts tokens where the upstream does not say, and in streams that are left. Default: a quarter of the bytes. */
  readonly tokenizer?: Tokenizer
  /** Bytes of one event of a stream. Default 16,777,216 (16 MiB): pictures come in one. */
  readonly maxEventBytes?: number
}

const key = z
  .union([
    z.string().regex(/^[\x21-\x7e]+$/, 'must be visible ASCII; is there a line break at its end?'),
    functionOption<() => string | Promise<string>>(),
  ])
  .optional()

const schema = z
  .strictObject({
    ...httpOptionsShape,
    baseUrl: z.string().default('https://generativelanguage.googleapis.com/v1beta'),
    name: z.string().min(1).max(64).default('google'),
    apiKey: key,
    accessToken: key,
    models: z.array(z.string().min(1)).optional(),
    tokenizer: objectOption<Tokenizer>('a Tokenizer, for example gptTokenizer()', 'count').optional(),
    maxEventBytes: z.int().min(1024).default(16_777_216),
  })
  .refine(({ apiKey, accessToken }) => apiKey === undefined || accessToken === undefined, 'give apiKey or accessToken')

/**
 * Google's Gemini API, and Vertex AI, which speaks the same. Text, tools, structured output, pictures, thoughts with their signatures, and embeddings.
 *
 * @throws TollgateError `config_invalid`
 * @example geminiProvider({ apiKey: process.env.GEMINI_API_KEY })
 */
export function geminiProvider(options: GeminiOptions): Provider {
  const checked = checkedOptions('geminiProvider', schema, options)
  const { name, baseUrl, models, tokenizer = byteTokenizer, maxEventBytes } = checked
  const credentials =
    headerCredentials('authorization', options.accessToken, 'Bearer ') ??
    headerCredentials('x-goog-api-key', options.apiKey)
  const api = upstream(name, { ...options, baseUrl }, credentials)
  const known = models === undefined ? undefined : new Set(models)

  const generate = (id: string): Model<'generate'> => ({
    ...generateModel({ upstream: api, id, tokenizer, wire: geminiWire, maxEventBytes }),
    async countTokens(input: GenerateInput, call: Call) {
      const generateContentRequest = { model: `models/${id}`, ...contentBody(input) }
      const path = `/models/${encodeURIComponent(id)}:countTokens`
      const body = requestJson({ generateContentRequest })
      const response = await api.send({ method: 'POST', path, accept: 'application/json', body }, call)
      const { totalTokens } = (await jsonAnswer(api, response)).json as { totalTokens?: unknown }
      return typeof totalTokens === 'number' ? totalTokens : undefined
    },
  })
  const make = (task: Task, id: string): Model | undefined => {
    if (known?.has(id) === false) return undefined
    if (task === 'generate') return generate(id)
    return task === 'embed' ? geminiEmbed(api, id, tokenizer) : undefined
  }

  return {
    name,
    anyName: known === undefined,
    // It has no versions besides its names.
    model: <T extends Task>(task: T, id: string, suffix?: string) =>
      make(task, suffix === undefined ? id : `${id}@${suffix}`) as Model as Model<T> | undefined,
    list: () =>
      Promise.resolve((models ?? []).map((id): ModelInfo => ({ id, task: /embed/i.test(id) ? 'embed' : 'generate' }))),
    close: () => api.close(),
  }
}

/** `batchEmbedContents`: no usage is told, so it is counted. */
function geminiEmbed(api: Upstream, id: string, tokenizer: Tokenizer): Model<'embed'> {
  const estimate = (input: EmbedInput) => estimatedInputs(input, tokenizer)
  return {
    task: 'embed',
    provider: api.name,
    id,
    inputUsage: estimate,
    async run(input, call) {
      const { dimensions } = input
      const requests = textInputs(input).map((text) => ({
        model: `models/${id}`,
        content: { parts: [{ text }] },
        ...(dimensions === undefined ? undefined : { outputDimensionality: dimensions }),
      }))
      const path = `/models/${encodeURIComponent(id)}:batchEmbedContents`
      const sent = {
        method: 'POST',
        path,
        accept: 'application/json',
        body: requestJson(api.patched({ requests })),
      } as const
      const response = await api.send(sent, call)
      const { json } = await jsonAnswer(
        api,
        response,
        cutAnswer(call, () => estimate(input)),
      )
      const usage = estimate(input)
      const vectors = vectorsOf(json, input.inputs.length)
      if (vectors === undefined) {
        call.spent?.(usage)
        throw new TollgateError(
          'upstream_invalid',
          `The upstream ${api.name} did not answer with an embedding for each input.`,
        )
      }
      return { output: { vectors }, usage }
    },
  }
}

function vectorsOf(answer: object, count: number): Float32Array[] | undefined {
  const { embeddings } = answer as { embeddings?: unknown }
  if (!Array.isArray(embeddings) || embeddings.length !== count) return undefined
  const vectors = embeddings.map((each: { values?: unknown } | null) => each?.values)
  const areNumbers = vectors.every(
    (values) => Array.isArray(values) && values.every((value) => typeof value === 'number'),
  )
  return areNumbers ? vectors.map((values) => Float32Array.from(values as number[])) : undefined
}
