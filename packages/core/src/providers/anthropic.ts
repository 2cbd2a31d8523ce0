import { z } from 'zod'
import { configInvalid } from '../errors.js'
import type { Call, Model, ModelInfo } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import type { GenerateInput, Task } from '../inference/task.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import type { Tokenizer } from '../tokenizer.js'
import { messagesBody } from './anthropic-request.js'
import { anthropicWire } from './anthropic-wire.js'
import { byteTokenizer } from './count-tokens.js'
import { generateModel } from './generate-model.js'
import { type HttpOptions, httpOptionsShape, upstream } from './http-kit.js'
import { headerCredentials } from './key-credentials.js'
import { jsonAnswer } from './openai-answer.js'
import { requestJson } from './request-json.js'

export interface AnthropicOptions extends Omit<HttpOptions, 'baseUrl'> {
  /** Sent as `x-api-key`. A function is asked for every request: for keys that change. */
  readonly apiKey?: string | (() => string | Promise<string>)
  /** Name of the upstream in prices, metrics and errors. Default `anthropic`. */
  readonly name?: string
  /** Default `https://api.anthropic.com/v1`. */
  readonly baseUrl?: string
  /** The models it serves. Default: any name is passed on, and the upstream says whether it knows it. */
  readonly models?: readonly string[]
  /** Most tokens to write for callers of another API who set no bound, which this API wants. Default 8,192. */
  readonly defaultMaxTokens?: number
  /** Counts tokens where the upstream does not say, and in streams that are left. Default: a quarter of the bytes. */
  readonly tokenizer?: Tokenizer
  /** `anthropic-version` where the caller sends none. Default `2023-06-01`. */
  readonly version?: string
  /** Bytes of one event of a stream. Default 4,194,304 (4 MiB). */
  readonly maxEventBytes?: number
}

const schema = z.strictObject({
  ...httpOptionsShape,
  baseUrl: z.string().default('https://api.anthropic.com/v1'),
  name: z.string().min(1).max(64).default('anthropic'),
  apiKey: z
    .union([
      z.string().regex(/^[\x21-\x7e]+$/, 'must be visible ASCII; is there a line break at its end?'),
      functionOption<() => string | Promise<string>>(),
    ])
    .optional(),
  models: z.array(z.string().min(1)).optional(),
  defaultMaxTokens: z.int().min(1).default(8_192),
  tokenizer: objectOption<Tokenizer>('a Tokenizer, for example gptTokenizer()', 'count').optional(),
  version: z
    .string()
    .regex(/^[\w-]{1,64}$/)
    .default('2023-06-01'),
  maxEventBytes: z.int().min(1024).default(4_194_304),
})

/**
 * Anthropic's Messages API. Requests of callers who speak it go through untouched but for the model's name, `anthropic-beta` included, and the answer's bytes come back untouched; others are put
 * into its words.
 *
 * @throws TollgateError `config_invalid`
 * @example anthropicProvider({ apiKey: process.env.ANTHROPIC_API_KEY })
 */
export function anthropicProvider(options: AnthropicOptions): Provider {
  const checked = checkedOptions('anthropicProvider', schema, options)
  const { name, baseUrl, models, tokenizer = byteTokenizer, defaultMaxTokens, version, maxEventBytes } = checked
  const http = { ...options, baseUrl, headers: { 'anthropic-version': version, ...options.headers } }
  const api = upstream(name, http, headerCredentials('x-api-key', options.apiKey))
  const known = models === undefined ? undefined : new Set(models)
  if (known !== undefined && known.size !== models?.length) throw configInvalid(`${name}: a model is listed twice.`)
  const wire = anthropicWire(defaultMaxTokens)

  const make = (id: string): Model<'generate'> => ({
    ...generateModel({ upstream: api, id, tokenizer, wire, maxEventBytes }),
    async countTokens(input: GenerateInput, call: Call) {
      const { max_tokens: _, stream: __, metadata: ___, ...body } = messagesBody(input, id, false, defaultMaxTokens)
      for (const field of ['temperature', 'top_p', 'top_k', 'stop_sequences', 'service_tier']) delete body[field]
      const request = { method: 'POST', path: '/messages/count_tokens', accept: 'application/json' } as const
      const headers = input.native?.dialect === 'anthropic-messages' ? input.native.headers : undefined
      const sent = { ...request, body: requestJson(body), ...(headers === undefined ? undefined : { headers }) }
      const { json } = await jsonAnswer(api, await api.send(sent, call))
      const { input_tokens: tokens } = json as { input_tokens?: unknown }
      return typeof tokens === 'number' ? tokens : undefined
    },
  })

  return {
    name,
    anyName: known === undefined,
    // Names of its own may hold an @, and it has no versions besides.
    model: <T extends Task>(task: T, id: string, suffix?: string) => {
      const full = suffix === undefined ? id : `${id}@${suffix}`
      if (task !== 'generate' || known?.has(full) === false) return undefined
      return make(full) as Model as Model<T>
    },
    list: () => Promise.resolve((models ?? []).map((id): ModelInfo => ({ id, task: 'generate' }))),
    close: () => api.close(),
  }
}
