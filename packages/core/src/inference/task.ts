import type { Usage } from '../usage.js'

/** A piece of a message. What this library has no word for travels untouched in `native`. */
export type ContentPart =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'image'; readonly url: string; readonly detail?: string }
  | { readonly type: 'native'; readonly native: unknown }

export interface ToolCall {
  readonly id: string
  readonly name: string
  /** JSON text, as the model wrote it. */
  readonly arguments: string
}

export interface Message {
  readonly role: 'system' | 'developer' | 'user' | 'assistant' | 'tool'
  readonly content: string | readonly ContentPart[]
  readonly name?: string
  readonly toolCalls?: readonly ToolCall[]
  readonly toolCallId?: string
}

/** A caller's own request in the words of an API. A provider that speaks them sends it on as it is, but for the model's name. */
export interface NativeRequest {
  readonly dialect: 'openai-chat'
  readonly body: Readonly<Record<string, unknown>>
}

export interface GenerateInput {
  readonly messages: readonly Message[]
  readonly maxOutputTokens?: number
  /** 0 to 2. */
  readonly temperature?: number
  readonly topP?: number
  readonly stop?: readonly string[]
  readonly seed?: number
  readonly native?: NativeRequest
}

export type FinishReason = 'stop' | 'length' | 'tool-calls' | 'content-filter'

export interface GenerateOutput {
  readonly text: string
  readonly toolCalls: readonly ToolCall[]
  readonly finishReason: FinishReason
  /** The answer's own bytes, when the provider spoke the dialect of `input.native`: to be relayed without re-encoding. */
  readonly native?: { readonly dialect: NativeRequest['dialect']; readonly bytes: Uint8Array }
}

/**
 * What a generating model sends. Either events (`text`, `tool-call`), or, when `input.native` was given and the provider speaks its
 * dialect, the upstream's bytes (`native`: whole SSE events, the terminal `[DONE]` left out), watched only for usage and errors.
 */
export type GenerateChunk =
  | { readonly type: 'text'; readonly text: string }
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
      readonly dialect: NativeRequest['dialect']
      readonly bytes: Uint8Array
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

/** The tasks a model may do. A new one is a line here. */
export interface Tasks {
  generate: { input: GenerateInput; output: GenerateOutput; chunk: GenerateChunk }
  embed: { input: EmbedInput; output: EmbedOutput; chunk: never }
  predict: { input: PredictInput; output: PredictOutput; chunk: never }
}

export type Task = keyof Tasks

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
      readonly usage: Usage
    }
