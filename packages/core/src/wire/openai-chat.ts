import { z } from 'zod'
import type { OpenAiUsage } from './openai-usage.js'

/** A message of OpenAI's chat. Fields that are not named here pass untouched. */
export interface ChatMessage {
  role: 'system' | 'developer' | 'user' | 'assistant' | 'tool' | 'function'
  content?: string | ChatContentPart[] | null | undefined
  name?: string | undefined
  tool_calls?: Array<ChatToolCall | OtherToolCall> | undefined
  tool_call_id?: string | undefined
  [unknown: string]: unknown
}

export interface ChatContentPart {
  type: string
  text?: string | undefined
  image_url?: { url: string; detail?: string | undefined } | undefined
  [unknown: string]: unknown
}

export interface ChatToolCall {
  id: string
  type: 'function'
  function: { name: string; arguments: string }
}

/** A call of a tool that is no function (`custom`, for one); passes untouched. */
export interface OtherToolCall {
  id: string
  type: string
  [unknown: string]: unknown
}

/** `POST /v1/chat/completions`. Fields that are not named here pass untouched to an upstream that speaks this API. */
export interface ChatRequest {
  model: string
  messages: ChatMessage[]
  stream?: boolean | null | undefined
  stream_options?: { include_usage?: boolean | undefined; [unknown: string]: unknown } | null | undefined
  max_tokens?: number | null | undefined
  max_completion_tokens?: number | null | undefined
  temperature?: number | null | undefined
  top_p?: number | null | undefined
  stop?: string | string[] | null | undefined
  seed?: number | null | undefined
  user?: string | undefined
  [unknown: string]: unknown
}

const contentPart = z.looseObject({
  type: z.string(),
  text: z.string().optional(),
  image_url: z.looseObject({ url: z.string(), detail: z.string().optional() }).optional(),
})

const toolCall = z.looseObject({
  id: z.string(),
  type: z.literal('function'),
  function: z.looseObject({ name: z.string(), arguments: z.string() }),
})

const otherToolCall = z.looseObject({
  id: z.string(),
  type: z.string().refine((type) => type !== 'function', { error: 'a call of a function needs `function`' }),
})

const message = z.looseObject({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool', 'function']),
  content: z.union([z.string(), z.array(contentPart)]).nullish(),
  name: z.string().optional(),
  tool_calls: z.array(z.union([toolCall, otherToolCall])).optional(),
  tool_call_id: z.string().optional(),
})

export const chatRequest = z.looseObject({
  model: z.string().min(1).max(256),
  messages: z.array(message).min(1),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().optional() }).nullish(),
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(16)]).nullish(),
  seed: z.int().nullish(),
  user: z.string().optional(),
}) satisfies z.ZodType<ChatRequest>

export type ChatFinishReason = 'stop' | 'length' | 'tool_calls' | 'content_filter' | 'function_call'

export interface ChatResponse {
  id: string
  object: 'chat.completion'
  /** Seconds since the epoch. */
  created: number
  model: string
  choices: Array<{
    index: number
    message: {
      role: 'assistant'
      content: string | null
      refusal?: string | null
      tool_calls?: ChatToolCall[]
      [unknown: string]: unknown
    }
    finish_reason: ChatFinishReason
    logprobs?: unknown
    [unknown: string]: unknown
  }>
  usage?: OpenAiUsage
  [unknown: string]: unknown
}

/** One event of a stream. The last one before `[DONE]` has no choices and carries `usage`, if it was asked for. */
export interface ChatChunk {
  id: string
  object: 'chat.completion.chunk'
  created: number
  model: string
  choices: Array<{
    index: number
    delta: {
      role?: 'assistant'
      content?: string | null
      refusal?: string | null
      tool_calls?: Array<{
        index: number
        id?: string
        type?: 'function'
        function?: { name?: string; arguments?: string }
      }>
      [unknown: string]: unknown
    }
    finish_reason: ChatFinishReason | null
    logprobs?: unknown
    [unknown: string]: unknown
  }>
  usage?: OpenAiUsage | null
  [unknown: string]: unknown
}
