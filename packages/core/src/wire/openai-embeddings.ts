import { z } from 'zod'

/** `POST /v1/embeddings`, OpenAI's shape. */
export interface EmbeddingsRequest {
  model: string
  input: string | string[] | number[] | number[][]
  /** `base64`: little-endian float32, as OpenAI's own SDK asks for by default. */
  encoding_format?: 'float' | 'base64' | undefined
  dimensions?: number | undefined
  user?: string | undefined
  [unknown: string]: unknown
}

const tokens = z.array(z.int().min(0)).min(1)

export const embeddingsRequest = z.looseObject({
  model: z.string().min(1).max(256),
  input: z.union([
    z.string().min(1),
    z.array(z.string().min(1)).min(1).max(2048),
    tokens,
    z.array(tokens).min(1).max(2048),
  ]),
  encoding_format: z.enum(['float', 'base64']).optional(),
  dimensions: z.int().min(1).max(100_000).optional(),
  user: z.string().optional(),
}) satisfies z.ZodType<EmbeddingsRequest>

export interface EmbeddingsResponse {
  object: 'list'
  data: Array<{ object: 'embedding'; index: number; embedding: number[] | string }>
  model: string
  usage: { prompt_tokens: number; total_tokens: number }
}
