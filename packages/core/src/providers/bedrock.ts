import { z } from 'zod'
import { configInvalid, isTollgateError } from '../errors.js'
import type { Call, Model, ModelInfo } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import type { GenerateInput, Task } from '../inference/task.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import type { Tokenizer } from '../tokenizer.js'
import { type AwsCredentialSource, awsCredentialSource, awsEnvironment } from './aws-credentials.js'
import { awsSignature } from './aws-signature.js'
import { embedFamilyOf } from './bedrock-embed-family.js'
import { bedrockEmbed } from './bedrock-embed-model.js'
import { type BedrockFamily, familyOf } from './bedrock-family.js'
import { converseBody } from './bedrock-request.js'
import { bedrockWire } from './bedrock-wire.js'
import { byteTokenizer } from './count-tokens.js'
import { generateModel } from './generate-model.js'
import { type HttpOptions, httpOptionsShape, upstream } from './http-kit.js'
import { headerCredentials } from './key-credentials.js'
import { jsonAnswer } from './openai-answer.js'
import { requestJson } from './request-json.js'

export interface BedrockOptions extends Omit<HttpOptions, 'baseUrl'> {
  /** `us-east-1`. Default `AWS_REGION`, then `AWS_DEFAULT_REGION`. */
  readonly region?: string
  /** What requests are signed with, or a function that is asked for it, and again before it ends. Default: the environment's, see {@link awsEnvironment}. */
  readonly credentials?: AwsCredentialSource
  /** Instead: a Bedrock API key, sent as `Authorization: Bearer`. A function is asked for every request. */
  readonly apiKey?: string | (() => string | Promise<string>)
  /** Name of the upstream in prices, metrics and errors. Default `bedrock`. */
  readonly name?: string
  /** Default `https://bedrock-runtime.{region}.amazonaws.com`. */
  readonly baseUrl?: string
  /** The models it serves: ids, inference profiles (`us.anthropic.…`), ARNs. Default: any name is passed on, and the upstream says whether it knows it. */
  readonly models?: readonly string[]
  /** The models behind ARNs that do not name them, such as those of application inference profiles: what one can do goes by its name. */
  readonly baseModels?: Readonly<Record<string, string>>
  /** Where what is not given is looked up. Default `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Counts tokens where the upstream does not say, and in streams that are left. Default: a quarter of the bytes. */
  readonly tokenizer?: Tokenizer
  /** Bytes of one event of a stream. Default 16,777,216 (16 MiB). */
  readonly maxEventBytes?: number
}

/** Ids and ARNs. No other name is sent: it becomes a part of a path. */
const modelId = /^[A-Za-z0-9][\w.:/-]{0,2047}$/

const schema = z.strictObject({
  ...httpOptionsShape,
  baseUrl: z.string().optional(),
  name: z.string().min(1).max(64).default('bedrock'),
  region: z
    .string()
    .regex(/^[a-z]{2}(?:-[a-z]+)+-\d{1,2}$/, 'must be a region: us-east-1')
    .optional(),
  credentials: awsCredentialSource.optional(),
  apiKey: z
    .union([
      z.string().regex(/^[\x21-\x7e]+$/, 'must be visible ASCII; is there a line break at its end?'),
      functionOption<() => string | Promise<string>>(),
    ])
    .optional(),
  models: z.array(z.string().regex(modelId, 'must be the id or the ARN of a model')).optional(),
  baseModels: z.record(z.string(), z.string()).default({}),
  // `process.env` is no plain object.
  env: z
    .custom<NonNullable<BedrockOptions['env']>>(
      (value) => typeof value === 'object' && value !== null,
      'must be variables by name, such as process.env',
    )
    .optional(),
  tokenizer: objectOption<Tokenizer>('a Tokenizer, for example gptTokenizer()', 'count').optional(),
  maxEventBytes: z.int().min(1024).default(16_777_216),
})

/**
 * Amazon Bedrock by its own API, Converse: text, tools, pictures, thoughts with their signatures, cache points, for every model that Bedrock has for text; and by InvokeModel embeddings of Amazon's Titan and Cohere's Embed.
 *
 * @throws TollgateError `config_invalid`, without a region or credentials too
 * @example bedrockProvider({ region: 'us-east-1', credentials: fromNodeProviderChain() })
 */
export function bedrockProvider(options: BedrockOptions = {}): Provider {
  const {
    name,
    models,
    baseModels,
    tokenizer = byteTokenizer,
    maxEventBytes,
    ...checked
  } = checkedOptions('bedrockProvider', schema, options)
  const found = awsEnvironment(options.env ?? process.env)
  const { region = found.region } = checked
  if (region === undefined) throw configInvalid(`${name}: give a region, or set AWS_REGION.`)
  const { baseUrl = `https://bedrock-runtime.${region}.amazonaws.com` } = checked
  const api = upstream(name, { ...options, baseUrl }, proofOf(name, region, options, found))
  const known = models === undefined ? undefined : new Set(models)
  const nameOf = (id: string): string => (Object.hasOwn(baseModels, id) ? (baseModels[id] ?? id) : id)
  const family = (id: string): BedrockFamily => familyOf(nameOf(id))
  const wire = bedrockWire(family)

  const generate = (id: string): Model<'generate'> => ({
    ...generateModel({ upstream: api, id, tokenizer, wire, maxEventBytes }),
    async countTokens(input: GenerateInput, call: Call) {
      const { messages, system, toolConfig } = converseBody(input, family(id))
      const body = requestJson({ input: { converse: { messages, system, toolConfig } } })
      const path = `/model/${encodeURIComponent(foundationModel(id))}/count-tokens`
      try {
        const response = await api.send({ method: 'POST', path, accept: 'application/json', body }, call)
        const { inputTokens } = (await jsonAnswer(api, response)).json as { inputTokens?: unknown }
        return typeof inputTokens === 'number' ? inputTokens : undefined
      } catch (error) {
        // Most models cannot be counted for; the estimate answers.
        if (isTollgateError(error, 'invalid_request') || isTollgateError(error, 'model_not_found')) return undefined
        throw error
      }
    },
  })

  /** A model that embeds does nothing else. */
  const make = (task: Task, id: string): Model | undefined => {
    const embeds = embedFamilyOf(nameOf(id))
    if (task === 'generate') return embeds === undefined ? generate(id) : undefined
    if (task !== 'embed' || embeds === undefined) return undefined
    return bedrockEmbed({ upstream: api, id, family: embeds, tokenizer })
  }

  return {
    name,
    anyName: known === undefined,
    // It has no versions besides its names.
    model: <T extends Task>(task: T, id: string, suffix?: string) => {
      if (suffix !== undefined || !modelId.test(id) || known?.has(id) === false) return undefined
      return make(task, id) as Model<T> | undefined
    },
    list: () =>
      Promise.resolve(
        (models ?? []).map(
          (id): ModelInfo => ({ id, task: embedFamilyOf(nameOf(id)) === undefined ? 'generate' : 'embed' }),
        ),
      ),
    close: () => api.close(),
  }
}

function proofOf(name: string, region: string, options: BedrockOptions, found: ReturnType<typeof awsEnvironment>) {
  const given = options.apiKey !== undefined || options.credentials !== undefined
  const { apiKey, credentials }: Pick<BedrockOptions, 'apiKey' | 'credentials'> = given ? options : found
  if (apiKey !== undefined && credentials !== undefined) throw configInvalid(`${name}: give credentials or apiKey.`)
  if (credentials !== undefined) return awsSignature(region, 'bedrock', credentials)
  const bearer = headerCredentials('authorization', apiKey, 'Bearer ')
  if (bearer !== undefined) return bearer
  throw configInvalid(
    `${name}: give credentials or apiKey, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_BEARER_TOKEN_BEDROCK.`,
  )
}

/** Without the regions of an inference profile, which only models that answer have. */
function foundationModel(id: string): string {
  return id.slice(id.lastIndexOf('/') + 1).replace(/^(?:us|us-gov|eu|apac|jp|au|ca|in|global)\.(?=[a-z0-9-]+\.)/, '')
}
