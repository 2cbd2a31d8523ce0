import { z } from 'zod'

/** `POST /inference`: one prompt, one answer. */
export interface InferenceRequest {
  prompt: string
  /** The caller's own name for its end user; goes to the log, decides nothing. */
  user_id?: string | undefined
  /** Default: the server's default model. */
  model?: string | undefined
  /** The most tokens to write, 1 to 1,000,000. */
  max_tokens?: number | undefined
  /** 0 to 2. */
  temperature?: number | undefined
}

export const inferenceRequest = z.strictObject({
  prompt: z.string().min(1).max(1_000_000),
  user_id: z.string().min(1).max(256).optional(),
  model: z.string().min(1).max(256).optional(),
  max_tokens: z.int().min(1).max(1_000_000).optional(),
  temperature: z.number().min(0).max(2).optional(),
}) satisfies z.ZodType<InferenceRequest>

export interface InferenceResponse {
  response: string
  model: string
  prompt_tokens: number
  completion_tokens: number
  /** US dollars; `null` when the model has no known price and the server lets it pass. 0 for a cached answer. */
  estimated_cost_usd: number | null
  duration_ms: number
  request_id: string
  cached: boolean
}
