import type { Health } from '@tollgate/core/wire/health'
import type { InferenceRequest, InferenceResponse } from '@tollgate/core/wire/inference'
import type { ModelDetails, ModelList, ModelListEntry } from '@tollgate/core/wire/models'
import type { ChatRequest, ChatResponse } from '@tollgate/core/wire/openai-chat'
import type { PredictRequest, PredictResponse } from '@tollgate/core/wire/predict'
import { type Audio, createAudio } from './audio.js'
import { jsonBody, type Sender } from './call.js'
import { type ChatStream, createChatStream } from './chat-stream.js'
import { type EmbedRequest, type EmbedResponse, embed } from './embed.js'
import { createImages, type Images } from './images.js'
import { callJson } from './json-call.js'
import { createKeys, type Keys } from './keys.js'
import type { CallOptions, ClientOptions } from './options.js'
import { pathSegment } from './path-segment.js'
import { type PredictBatchItem, type PredictBatchOptions, predictBatch } from './predict-batch.js'
import { rememberResponse, responseOf } from './response-info.js'
import { resolveSettings } from './settings.js'
import { createTokenRequest } from './token-request.js'
import { createTokenSession } from './token-session.js'
import { createLimits, createUsage, type LimitReports, type UsageReports } from './usage.js'
import { createUsers, type Users } from './users.js'

export interface Client {
  /** `POST /inference`: one prompt, one answer, with what it cost. */
  inference(request: InferenceRequest, options?: CallOptions): Promise<InferenceResponse>
  /** `POST /v1/chat/completions`: the whole answer at once, or by `chat.stream` as it is written. */
  readonly chat: Chat
  /** `POST /v1/embeddings`. */
  embed(request: EmbedRequest, options?: CallOptions): Promise<EmbedResponse>
  /** Pictures. */
  readonly images: Images
  /** Sound. */
  readonly audio: Audio
  /** `POST /v1/predict`: one row. */
  predict(request: PredictRequest, options?: CallOptions): Promise<PredictResponse>
  /** `POST /v1/predict/batch`: any number of rows, in chunks; resolves with one item per row, in their order. */
  predictBatch(rows: readonly unknown[], options?: PredictBatchOptions): Promise<PredictBatchItem[]>
  readonly models: {
    /** `GET /v1/models`. */
    list(options?: CallOptions): Promise<ModelListEntry[]>
    /** `GET /v1/models/{name}`. */
    get(name: string, options?: CallOptions): Promise<ModelDetails>
  }
  /** API keys, for administrators. */
  readonly keys: Keys
  /** Who calls; and the users, for administrators. */
  readonly users: Users
  /** What was used and what it cost. */
  readonly usage: UsageReports
  /** What is left of the caller's limits. */
  readonly limits: LimitReports
  /** `GET /health`; sends no credential. */
  health(options?: CallOptions): Promise<Health>
}

export interface Chat {
  (request: ChatRequest, options?: CallOptions): Promise<ChatResponse>
  stream(request: ChatRequest, options?: CallOptions): ChatStream
}

/**
 * A client of a Tollgate server, for Node, browsers and edge runtimes. Calls are retried where that can help, under one idempotency key and within
 * one time limit; every error is a {@link ClientError}. It holds no socket and no timer between calls, so there is nothing to close.
 * Throws a `UsageError` `options_invalid` for options that cannot work.
 *
 * @example
 * const client = createClient({ baseUrl: 'https://gate.example.com', apiKey: process.env.TOLLGATE_KEY })
 * const { response, estimated_cost_usd } = await client.inference({ prompt: 'Say hello.' })
 * for await (const piece of client.chat.stream({ model: 'gpt-5', messages }).text()) process.stdout.write(piece)
 */
export function createClient(options: ClientOptions): Client {
  const settings = resolveSettings(options)
  const { credentials } = settings
  const tokens =
    credentials === undefined ? undefined : createTokenSession(createTokenRequest(settings, credentials), settings.now)
  const sender: Sender = { settings, tokens }

  const post = <T extends object>(path: string, body: string, call: CallOptions, isAnswer: (answer: T) => boolean) =>
    callJson<T>(sender, { method: 'POST', path, body }, call, (answer) => isAnswer(answer as T))

  const chat = async (request: ChatRequest, call: CallOptions = {}) => {
    // OpenAI refuses stream_options without a stream.
    const body = jsonBody(request, ({ stream_options: _, ...rest }) => ({ ...rest, stream: false }))
    return post<ChatResponse>('/v1/chat/completions', body, call, ({ choices }) => Array.isArray(choices))
  }

  return {
    inference: async (request, call = {}) =>
      post<InferenceResponse>('/inference', jsonBody(request), call, ({ response }) => typeof response === 'string'),
    chat: Object.assign(chat, {
      stream: (request: ChatRequest, call: CallOptions = {}) => createChatStream(sender, request, call),
    }),
    embed: async (request, call = {}) => embed(sender, request, call),
    images: createImages(sender),
    audio: createAudio(sender),
    predict: async (request, call = {}) =>
      post<PredictResponse>('/v1/predict', jsonBody(request), call, ({ prediction }) => prediction !== undefined),
    predictBatch: async (rows, batch = {}) => predictBatch(sender, rows, batch),
    models: {
      async list(call = {}) {
        const list = await callJson<ModelList>(sender, { method: 'GET', path: '/v1/models' }, call, ({ data }) =>
          Array.isArray(data),
        )
        const info = responseOf(list)
        return info === undefined ? list.data : rememberResponse(list.data, info)
      },
      async get(name, call = {}) {
        const path = `/v1/models/${pathSegment(name, 'models.get takes the name of a model')}`
        return callJson<ModelDetails>(sender, { method: 'GET', path }, call, ({ id }) => typeof id === 'string')
      },
    },
    keys: createKeys(sender),
    users: createUsers(sender),
    usage: createUsage(sender),
    limits: createLimits(sender),
    health: async (call = {}) =>
      callJson<Health>({ settings, anonymous: true }, { method: 'GET', path: '/health' }, call, ({ status }) => {
        return typeof status === 'string'
      }),
  }
}
