import { z } from 'zod'
import type { OpenAiUsage } from './openai-usage.js'

/** `POST /v1/completions`. Fields that are not named here pass untouched to an upstream that speaks this API. */
export interface CompletionRequest {
  model: string
  prompt: string | string[] | number[] | number[][]
  stream?: boolean | null | undefined
  stream_options?: { include_usage?: boolean | undefined; [unknown: string]: unknown } | null | undefined
  max_tokens?: number | null | undefined
  temperature?: number | null | undefined
  top_p?: number | null | undefined
  stop?: string | string[] | null | undefined
  seed?: number | null | undefined
  user?: string | undefined
  [unknown: string]: unknown
}

export const completionRequest = z.looseObject({
  model: z.string().min(1).max(256),
  prompt: z.union([
    z.string(),
    z.array(z.string()).min(1).max(2_048),
    z.array(z.int()).min(1),
    z.array(z.array(z.int()).min(1)).min(1).max(2_048),
  ]),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().optional() }).nullish(),
  max_tokens: z.int().min(1).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(16)]).nullish(),
  seed: z.int().nullish(),
  user: z.string().optional(),
}) satisfies z.ZodType<CompletionRequest>

/** An answer, or one event of a stream, of which the last has no choices and carries `usage`, if it was asked for. */
export interface CompletionResponse {
  id: string
  object: 'text_completion'
  created: number
  model: string
  choices: Array<{ index: number; text: string; logprobs: null; finish_reason: string | null }>
  usage?: OpenAiUsage | null
}
