import { z } from 'zod'
import type { AnthropicUsage } from './anthropic-usage.js'

/** A block of a message's content. Fields that are not named here pass untouched. */
export interface ContentBlock {
  type: string
  text?: string | undefined
  [unknown: string]: unknown
}

export interface MessageTurn {
  role: 'user' | 'assistant' | 'system'
  content: string | ContentBlock[]
  [unknown: string]: unknown
}

/** `POST /v1/messages/count_tokens`, and all but `max_tokens` of `POST /v1/messages`. Fields that are not named here pass untouched to an upstream that speaks this API. */
export interface CountTokensRequest {
  model: string
  messages: MessageTurn[]
  system?: string | ContentBlock[] | undefined
  [unknown: string]: unknown
}

/** `POST /v1/messages`. */
export interface MessagesRequest extends CountTokensRequest {
  max_tokens: number
  stream?: boolean | undefined
  temperature?: number | undefined
  top_p?: number | undefined
  top_k?: number | undefined
  stop_sequences?: string[] | undefined
  metadata?: { user_id?: string | null | undefined; [unknown: string]: unknown } | undefined
}

const block = z.looseObject({ type: z.string(), text: z.string().optional() })
const content = z.union([z.string(), z.array(block)])

const counted = {
  model: z.string().min(1).max(256),
  messages: z.array(z.looseObject({ role: z.enum(['user', 'assistant', 'system']), content })).min(1),
  system: content.optional(),
}

export const countTokensRequest = z.looseObject(counted) satisfies z.ZodType<CountTokensRequest>

export const messagesRequest = z.looseObject({
  ...counted,
  max_tokens: z.int().min(1),
  stream: z.boolean().optional(),
  temperature: z.number().min(0).max(1).optional(),
  top_p: z.number().min(0).max(1).optional(),
  top_k: z.int().min(0).optional(),
  stop_sequences: z.array(z.string()).max(64).optional(),
  metadata: z.looseObject({ user_id: z.string().nullish() }).optional(),
}) satisfies z.ZodType<MessagesRequest>

export type StopReason = 'end_turn' | 'max_tokens' | 'stop_sequence' | 'tool_use' | 'refusal'

/** What `POST /v1/messages` answers. */
export interface MessageResponse {
  id: string
  type: 'message'
  role: 'assistant'
  model: string
  content: ContentBlock[]
  stop_reason: StopReason | null
  stop_sequence: string | null
  usage: AnthropicUsage
}

/** What `POST /v1/messages/count_tokens` answers. */
export interface TokensCount {
  input_tokens: number
}
