import { z } from 'zod'
import { configInvalid } from '../errors.js'
import type { Model, ModelInfo } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import type { Task } from '../inference/task.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import type { Tokenizer } from '../tokenizer.js'
import { byteTokenizer } from './count-tokens.js'
import { generateModel } from './generate-model.js'
import { type HttpOptions, httpOptionsShape, upstream } from './http-kit.js'
import { headerCredentials } from './key-credentials.js'
import { jsonAnswer } from './openai-answer.js'
import type { MaxTokensField } from './openai-chat-request.js'
import { openAiChatWire } from './openai-chat-watch.js'
import { openAiCompletionsWire } from './openai-completions-wire.js'
import { embedModel } from './openai-embed-model.js'
import { mediaModel } from './openai-media-model.js'
import { openAiResponsesWire } from './openai-responses-wire.js'
import { askStored } from './openai-stored.js'

/** What such an upstream does: text, embeddings, pictures and sound. */
export type CompatibleTask = 'generate' | 'embed' | 'media'

/** A model of the upstream. */
export interface CompatibleModel {
  readonly id: string
  /** Default: all, and the upstream decides. */
  readonly task?: CompatibleTask
  readonly description?: string
}

export interface OpenAiCompatibleOptions extends HttpOptions {
  /** Name of the upstream in prices, metrics and errors: `openai`, `vllm`. */
  readonly name: string
  /** Sent as `Authorization: Bearer`, or as `keyField` says. A function is asked for every request: for keys that change. Default: none is sent. */
  readonly apiKey?: string | (() => string | Promise<string>)
  /** The header field of the key: `api-key` for Azure. Default `authorization`, with `Bearer `. */
  readonly keyField?: 'authorization' | 'api-key'
  /** The models it serves. Default: any name is passed on, and the upstream says whether it knows it. */
  readonly models?: ReadonlyArray<string | CompatibleModel>
  /** List the models by asking the upstream (`GET /models`, at most once a minute). Default: true without `models`. */
  readonly listModels?: boolean
  /** Counts tokens where the upstream does not say, and in streams that are left. Default: a quarter of the bytes. */
  readonly tokenizer?: Tokenizer
  /** The field for the most tokens to write, in requests that are not a caller's own. Default `max_tokens`. */
  readonly maxTokensField?: MaxTokensField
  /** `false` for an upstream that does not know `stream_options.include_usage`, or tells it unasked. Default true. */
  readonly asksForUsage?: boolean
  /** Does it have the Responses API too? Callers who speak it are then handed on; else their requests are put into chat completions. Default false. */
  readonly hasResponses?: boolean
  /** The account that the key is of, in the ids of stored responses; two that have one in common tell so by it. Default: the name. */
  readonly account?: string
  /** Bytes of one event of a stream. Default 4,194,304 (4 MiB). */
  readonly maxEventBytes?: number
}

const optionsSchema = z.strictObject({
  ...httpOptionsShape,
  name: z.string().min(1).max(64),
  apiKey: z
    .union([
      z.string().regex(/^[\x21-\x7e]+$/, 'must be visible ASCII; is there a line break at its end?'),
      functionOption<() => string | Promise<string>>(),
    ])
    .optional(),
  models: z
    .array(
      z.union([
        z.string().min(1),
        z.strictObject({
          id: z.string().min(1),
          task: z.enum(['generate', 'embed', 'media']).optional(),
          description: z.string().optional(),
        }),
      ]),
    )
    .optional(),
  listModels: z.boolean().optional(),
  tokenizer: objectOption<Tokenizer>('a Tokenizer, for example gptTokenizer()', 'count').optional(),
  maxTokensField: z.enum(['max_tokens', 'max_completion_tokens']).optional(),
  keyField: z.enum(['authorization', 'api-key']).default('authorization'),
  asksForUsage: z.boolean().default(true),
  hasResponses: z.boolean().default(false),
  account: z.string().min(1).max(128).optional(),
  maxEventBytes: z.int().min(1024).optional(),
})

const listedForMs = 60_000
/** A failure is remembered for a while too, so that callers who ask for odd names do not make a load on a sick upstream. */
const listFailedForMs = 5_000
const listTimeoutMs = 10_000

/**
 * Models behind an API like OpenAI's: OpenAI itself, vLLM, Ollama, llama.cpp, OpenRouter and many more. Chat and text generation, with
 * JSON and with streams, embeddings, pictures and sound.
 *
 * Requests of callers who speak OpenAI's API go through untouched but for the model's name, and the answer's bytes come back untouched.
 * What the upstream does not say of usage is counted, and marked `estimated`.
 *
 * @throws TollgateError `config_invalid`
 * @example openAiCompatible({ name: 'openai', baseUrl: 'https://api.openai.com/v1', apiKey: process.env.OPENAI_API_KEY })
 */
export function openAiCompatible(options: OpenAiCompatibleOptions): Provider {
  const checked = checkedOptions('openAiCompatible', optionsSchema, options)
  const { name, tokenizer = byteTokenizer, maxTokensField = 'max_tokens', maxEventBytes = 4_194_304 } = checked
  const { keyField, asksForUsage, hasResponses, account: own = name } = checked
  const api = upstream(
    name,
    options,
    headerCredentials(keyField, options.apiKey, keyField === 'authorization' ? 'Bearer ' : ''),
  )
  const models = checked.models?.map(
    (model): CompatibleModel => (typeof model === 'string' ? { id: model } : bare(model)),
  )
  const known = models === undefined ? undefined : new Map(models.map((model) => [model.id, model]))
  if (known !== undefined && known.size !== models?.length) throw configInvalid(`${name}: a model is listed twice.`)
  const listModels = checked.listModels ?? models === undefined
  const others = [openAiCompletionsWire(asksForUsage), ...(hasResponses ? [openAiResponsesWire(own)] : [])]
  const chatOptions = {
    upstream: api,
    tokenizer,
    wire: openAiChatWire({ maxTokensField, asksForUsage }),
    others,
    maxEventBytes,
  }

  const make = (task: Task, id: string): Model | undefined => {
    const listed = known?.get(id)
    if (known !== undefined && listed === undefined) return undefined
    if (listed?.task !== undefined && listed.task !== task) return undefined
    if (task === 'generate') return generateModel({ ...chatOptions, id })
    if (task === 'media') return mediaModel({ upstream: api, tokenizer, id })
    return task === 'embed' ? embedModel({ upstream: api, tokenizer, id }) : undefined
  }

  let listed: { readonly until: number; readonly models: Promise<readonly ModelInfo[]> } | undefined
  const fetchList = async (): Promise<readonly ModelInfo[]> => {
    const signal = AbortSignal.timeout(listTimeoutMs)
    const request = { method: 'GET', path: '/models', accept: 'application/json' } as const
    const { json } = await jsonAnswer(api, await api.send(request, { signal, requestId: `list-${name}` }))
    const { data } = json as { data?: unknown }
    return (Array.isArray(data) ? data : []).flatMap((item: { id?: unknown; owned_by?: unknown } | null) =>
      typeof item?.id === 'string' && (known === undefined || known.has(item.id))
        ? [infoOf({ id: item.id }, item.owned_by)]
        : [],
    )
  }

  return {
    name,
    anyName: known === undefined,
    // Without versions of its own, an upstream takes `name@version` for a name: some have such.
    model: <T extends Task>(task: T, id: string, version?: string) =>
      make(task, version === undefined ? id : `${id}@${version}`) as Model as Model<T> | undefined,
    async list() {
      if (!listModels) return (models ?? []).map((model) => infoOf(model))
      if (listed === undefined || Date.now() >= listed.until) {
        const previous = listed?.models
        const current = { until: Date.now() + listedForMs, models: fetchList() }
        current.models = current.models.catch((error: unknown) => {
          current.until = Date.now() + listFailedForMs
          // An upstream that cannot say at the moment still has what it had.
          return previous ?? Promise.reject(error)
        })
        listed = current
      }
      return listed.models
    },
    ...(hasResponses
      ? { stored: (account, ...asked) => (account === own ? askStored(api, maxEventBytes, ...asked) : undefined) }
      : {}),
    close: () => api.close(),
  }
}

const ofMedia = /^(?:dall-e|(?:chat)?gpt-image|whisper|tts)|-(?:tts|transcribe)\b/i

/** OpenAI's list does not say what a model does; all but those of text have it in their names. */
function infoOf({ id, task, description }: CompatibleModel, ownedBy?: unknown): ModelInfo {
  return {
    id,
    task: task ?? (/embed/i.test(id) ? 'embed' : ofMedia.test(id) ? 'media' : 'generate'),
    ...(description === undefined ? {} : { description }),
    ...(typeof ownedBy === 'string' && ownedBy !== '' ? { ownedBy: ownedBy.slice(0, 64) } : {}),
  }
}

function bare({
  id,
  task,
  description,
}: {
  id: string
  task?: CompatibleTask | undefined
  description?: string | undefined
}) {
  return { id, ...(task === undefined ? {} : { task }), ...(description === undefined ? {} : { description }) }
}
