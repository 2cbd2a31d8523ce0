export type { Health, HealthModel } from '@tollgate/core/wire/health'
export type {
  ApiKeyObject,
  ApiKeyOwner,
  ApiKeyWithSecret,
  CreateApiKey,
  CreateUser,
  ListPage,
  ListRequest,
  RotateApiKey,
  UpdateApiKey,
  UpdateUser,
  UserObject,
} from '@tollgate/core/wire/identity'
export type { InferenceRequest, InferenceResponse } from '@tollgate/core/wire/inference'
export type { ModelDetails, ModelListEntry, ModelVersion } from '@tollgate/core/wire/models'
export type { SpeechRequest, Transcript, TranscriptEvent, TranscriptUsage } from '@tollgate/core/wire/openai-audio'
export type {
  ChatChunk,
  ChatContentPart,
  ChatFinishReason,
  ChatMessage,
  ChatRequest,
  ChatResponse,
  ChatToolCall,
} from '@tollgate/core/wire/openai-chat'
export type { ImageEvent, ImagesRequest, ImagesResponse, ImagesUsage } from '@tollgate/core/wire/openai-images'
export type { OpenAiUsage } from '@tollgate/core/wire/openai-usage'
export type { BatchPrediction, PredictRequest, PredictResponse } from '@tollgate/core/wire/predict'
export type { Problem } from '@tollgate/core/wire/problem'
export type { Me } from '@tollgate/core/wire/token'
export type { LimitCheck, LimitCheckRequest, LimitObject, UsageRequest, UsageSum } from '@tollgate/core/wire/usage'
export type { Audio, TranscriptionRequest, TranscriptStream, TranslationRequest } from './audio.js'
export type { ChatStream } from './chat-stream.js'
export { type Chat, type Client, createClient } from './client.js'
export type { EmbedRequest, EmbedResponse } from './embed.js'
export {
  AbortError,
  ApiError,
  type AttemptFailure,
  type ClientError,
  ConnectionError,
  type FieldError,
  isTollgateClientError,
  ResponseError,
  StreamError,
  type StreamPartial,
  TimeoutError,
  TollgateClientError,
  UsageError,
} from './errors.js'
export type { FileContent, FileInput, NamedFile } from './form-body.js'
export type { ImageEditRequest, ImageStream, Images, ImageVariationRequest } from './images.js'
export type { Keys } from './keys.js'
export type {
  CallOptions,
  ClientCredentials,
  ClientOptions,
  Credentials,
  KyLike,
  Method,
  PasswordCredentials,
  RetryNotice,
} from './options.js'
export type { PredictBatchItem, PredictBatchOptions, PredictBatchProgress } from './predict-batch.js'
export type { RateLimit, RateLimitPolicy } from './rate-limit.js'
export { type ResponseInfo, responseOf } from './response-info.js'
export type { Speech } from './speech.js'
export type { LimitReports, UsageReports } from './usage.js'
export type { Users } from './users.js'
