import type { TollgateError } from '../errors.js'
import type { Usage } from '../usage.js'

/** The prompt up to and with this is worth keeping by the upstream, for so long: the next request begins with it too. Upstreams that keep nothing, or keep unasked, do not look at it. */
export type CacheTime = '5m' | '1h'

/** A piece of a message. What this library has no word for travels untouched in `native`, to models that speak its dialect. */
export type ContentPart =
  | { readonly type: 'text'; readonly text: string; readonly cache?: CacheTime }
  /** `url`: `https:`, or `data:` with base64. */
  | { readonly type: 'image'; readonly url: string; readonly detail?: string; readonly cache?: CacheTime }
  | ReasoningPart
  | { readonly type: 'native'; readonly native: unknown }

/**
 * What a model thought before it answered. `signature` proves the text to the model that wrote it, and `redacted` is a thought that only it can read: both go back to it untouched in
 * the next turn.
 */
export interface ReasoningPart {
  readonly type: 'reasoning'
  readonly text: string
  readonly signature?: string
  readonly redacted?: string
}

export interface ToolCall {
  readonly id: string
  readonly name: string
  /** JSON text, as the model wrote it. */
  readonly arguments: string
  readonly cache?: CacheTime
}

export interface Message {
  readonly role: 'system' | 'developer' | 'user' | 'assistant' | 'tool'
  readonly content: string | readonly ContentPart[]
  readonly name?: string
  /** Of an assistant; after its content. */
  readonly toolCalls?: readonly ToolCall[]
  /** Of a tool's answer. */
  readonly toolCallId?: string
  /** Of a tool's answer: the call failed. */
  readonly isError?: boolean
  /** Of a tool's answer. */
  readonly cache?: CacheTime
}

/** A function that the model may ask to be called. */
export interface Tool {
  readonly name: string
  readonly description?: string
  /** JSON Schema of its arguments. */
  readonly parameters: Readonly<Record<string, unknown>>
  /** Arguments keep to the schema. */
  readonly strict?: boolean
  readonly cache?: CacheTime
}

/** `required`: some tool; `name`: this one. */
export type ToolChoice = 'auto' | 'none' | 'required' | { readonly name: string }

/** What the text of the answer has to be. */
export type ResponseFormat =
  | { readonly type: 'json' }
  | {
      readonly type: 'json-schema'
      readonly name: string
      readonly schema: Readonly<Record<string, unknown>>
      readonly strict?: boolean
    }

/** How much to think: an effort, or a bound on the tokens of it. */
export interface ReasoningOptions {
  readonly effort?: 'none' | 'minimal' | 'low' | 'medium' | 'high' | 'max'
  readonly maxTokens?: number
}

/** The words of an API that generates text. */
export type GenerateDialect = 'openai-chat' | 'openai-completions' | 'openai-responses' | 'anthropic-messages'

/** A caller's own request in the words of an API. A provider that speaks them sends it on as it is, but for the model's name. */
export interface NativeRequest {
  readonly dialect: GenerateDialect
  readonly body: Readonly<Record<string, unknown>>
  /** Header fields that belong to the request, in lower case: `anthropic-beta`. */
  readonly headers?: Readonly<Record<string, string>>
  /** `typed`: the answer is wanted in our words, not as the upstream's bytes, because somebody has to read it. */
  readonly answer?: 'typed'
  /** The account at an upstream that has stored what the body goes on from: it is handed on to no other. */
  readonly account?: string
  /** How much of what is stored the model reads, tokens, as far as it can be told. Default 0. */
  readonly storedTokens?: number
  /** What is stored is thoughts alone, which mean nothing to models of other vendors: those may answer without. */
  readonly isBridgeable?: boolean
  /** Thrown by a provider that would hand the body on as it is: something in it may not go to an account that others share. */
  readonly refused?: TollgateError
}

export interface GenerateInput {
  readonly messages: readonly Message[]
  readonly tools?: readonly Tool[] | undefined
  readonly toolChoice?: ToolChoice | undefined
  /** May the model ask for several calls at once? */
  readonly parallelToolCalls?: boolean | undefined
  readonly responseFormat?: ResponseFormat | undefined
  readonly reasoning?: ReasoningOptions | undefined
  readonly maxOutputTokens?: number
  /** 0 to 2. */
  readonly temperature?: number
  readonly topP?: number
  readonly topK?: number
  readonly stop?: readonly string[]
  readonly seed?: number
  /** The caller's own name for its end user. */
  readonly user?: string
  readonly native?: NativeRequest
}

export type FinishReason = 'stop' | 'length' | 'tool-calls' | 'content-filter'

export interface GenerateOutput {
  readonly text: string
  /** In their order; not there if there were none. */
  readonly reasoning?: readonly ReasoningPart[]
  readonly toolCalls: readonly ToolCall[]
  readonly finishReason: FinishReason
  /** The one of `stop` that ended it, where the upstream says. */
  readonly stopSequence?: string
  /** The answer's own bytes, when the provider spoke the dialect of `input.native`: to be relayed without re-encoding. */
  readonly native?: { readonly dialect: GenerateDialect; readonly bytes: Uint8Array; readonly account?: string }
}

/**
 * What a generating model sends. Either events (`reasoning`, `text`, `tool-call`), or, when `input.native` was given and the provider speaks its
 * dialect, the upstream's bytes (`native`: whole SSE events, OpenAI's terminal `[DONE]` left out), watched only for usage and errors. The first part comes with the first output: what an upstream
 * sends before that is held back, so that another model can still answer if this one fails.
 */
export type GenerateChunk =
  | { readonly type: 'text'; readonly text: string }
  /** A piece of a thought: of its text, or its signature, which ends it, or one that is redacted. */
  | { readonly type: 'reasoning'; readonly text: string; readonly signature?: string; readonly redacted?: string }
  | {
      readonly type: 'tool-call'
      readonly index: number
      readonly id?: string
      readonly name?: string
      /** A piece of the JSON text. */
      readonly arguments: string
    }
  | {
      readonly type: 'native'
      readonly dialect: GenerateDialect
      readonly bytes: Uint8Array
      /** Who has stored it, where it can be asked for again. */
      readonly account?: string
    }

/** {@link NativeRequest}, for embeddings. */
export interface NativeEmbedRequest {
  readonly dialect: 'openai-embeddings'
  readonly body: Readonly<Record<string, unknown>>
}

export interface EmbedInput {
  /** Texts, or texts as token ids. */
  readonly inputs: ReadonlyArray<string | readonly number[]>
  readonly dimensions?: number
  readonly native?: NativeEmbedRequest
}

export interface EmbedOutput {
  /** One per input, in their order. */
  readonly vectors: ReadonlyArray<Float32Array>
  /** The answer's own bytes, when the provider spoke the dialect of `input.native` and kept to the encoding it asked for. */
  readonly native?: { readonly dialect: NativeEmbedRequest['dialect']; readonly bytes: Uint8Array }
}

export interface PredictInput {
  /** Rows in the model's own shape: `{ text }`, `{ features: [...] }`. One run for all of them. */
  readonly rows: readonly unknown[]
}

/** What a model says of one row; the fields a model has are its own. */
export interface Prediction {
  /** The answer: a class name, a label, a number. */
  readonly prediction: string | number
  /** 0 to 1, how sure the model is. */
  readonly probability?: number
  /** Probability by class. */
  readonly probabilities?: Readonly<Record<string, number>>
}

export interface PredictOutput {
  /** One per row, in their order. */
  readonly predictions: readonly Prediction[]
}

/** The endpoints of OpenAI's API for pictures and sound, below its version. */
export type MediaPath =
  | '/images/generations'
  | '/images/edits'
  | '/images/variations'
  | '/audio/speech'
  | '/audio/transcriptions'
  | '/audio/translations'

/** A multipart form that is still arriving. */
export interface MediaForm {
  /** With its boundary. */
  readonly contentType: string
  /** The form with this name of a model in it. It can be read once; who has begun cannot be tried again. `length` in bytes, if known. */
  send(model: string): { readonly bytes: AsyncIterable<Uint8Array>; readonly length: number | undefined }
}

/** A request for pictures or sound in OpenAI's words, sent on as it is but for the model's name. */
export interface MediaInput {
  readonly path: MediaPath
  /** JSON, or a form with files. */
  readonly body: { readonly json: Readonly<Record<string, unknown>> } | { readonly form: MediaForm }
}

export interface MediaOutput {
  readonly contentType: string
  readonly bytes: Uint8Array
}

/**
 * An answer of such a model as it comes: its head, then its own bytes (of an event stream: whole events). `isWhole`: nothing of it is to be waited for any more, so that what it used can be told before
 * it is sent.
 */
export type MediaChunk =
  | {
      readonly type: 'head'
      readonly contentType: string
      readonly length: number | undefined
      readonly isWhole: boolean
    }
  | { readonly type: 'bytes'; readonly bytes: Uint8Array }

/** The tasks a model may do. A new one is a line here, and a name in {@link tasks}. */
export interface Tasks {
  generate: { input: GenerateInput; output: GenerateOutput; chunk: GenerateChunk }
  embed: { input: EmbedInput; output: EmbedOutput; chunk: never }
  predict: { input: PredictInput; output: PredictOutput; chunk: never }
  media: { input: MediaInput; output: MediaOutput; chunk: MediaChunk }
}

export type Task = keyof Tasks

/** Their names, the most usual first. */
export const tasks = ['generate', 'embed', 'predict', 'media'] as const satisfies readonly Task[]

/** A whole answer. */
export interface Result<T extends Task> {
  readonly output: Tasks[T]['output']
  readonly usage: Usage
}

/** What a stream yields: chunks, and as its last part the end. A stream that ends without it was cut and throws. */
export type Part<T extends Task> =
  | Tasks[T]['chunk']
  | {
      readonly type: 'end'
      readonly finishReason: FinishReason
      readonly stopSequence?: string
      readonly usage: Usage
    }
