import { z } from 'zod'
import type { ResponsesUsage } from './openai-usage.js'

/** One item of the input, or of the output. Fields that are not named here pass untouched. */
export interface ResponsesItem {
  type?: string | undefined
  role?: string | undefined
  content?: unknown
  [unknown: string]: unknown
}

/** `POST /v1/responses`. Fields that are not named here pass untouched to an upstream that speaks this API. */
export interface ResponsesRequest {
  model: string
  input: string | ResponsesItem[]
  instructions?: string | null | undefined
  stream?: boolean | null | undefined
  max_output_tokens?: number | null | undefined
  temperature?: number | null | undefined
  top_p?: number | null | undefined
  user?: string | undefined
  [unknown: string]: unknown
}

export const responsesRequest = z.looseObject({
  model: z.string().min(1).max(256),
  input: z.union([
    z.string(),
    z.array(z.looseObject({ type: z.string().optional(), role: z.string().optional() })).min(1),
  ]),
  instructions: z.string().nullish(),
  stream: z.boolean().nullish(),
  max_output_tokens: z.int().min(1).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  user: z.string().optional(),
}) satisfies z.ZodType<ResponsesRequest>

/** What `POST /v1/responses` answers. */
export interface ResponsesAnswer {
  id: string
  object: 'response'
  /** Seconds since the epoch. */
  created_at: number
  status: 'in_progress' | 'completed' | 'incomplete'
  error: null
  incomplete_details: { reason: 'max_output_tokens' | 'content_filter' } | null
  model: string
  output: ResponsesItem[]
  usage: ResponsesUsage | null
  [unknown: string]: unknown
}
