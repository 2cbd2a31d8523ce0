import { z } from 'zod'

/** The most rows of one batch. */
export const maxBatchRows = 1000

/** `POST /v1/predict`: exactly one of `text`, `features` and `input_data`. */
export interface PredictRequest {
  text?: string | undefined
  features?: number[] | undefined
  /** The row in the model's own shape, or its features as an array, or its text as a string. */
  input_data?: unknown
  /** Default: the server's default model for this kind of input. */
  model?: string | undefined
  /** Default `latest`. */
  model_version?: string | undefined
}

const modelName = z.string().min(1).max(256).optional()
const modelVersion = z.string().min(1).max(64).optional()

export const predictRequest = z
  .strictObject({
    text: z.string().optional(),
    features: z.array(z.number()).min(1).max(100_000).optional(),
    input_data: z.unknown().optional(),
    model: modelName,
    model_version: modelVersion,
  })
  .refine((body) => [body.text, body.features, body.input_data].filter((input) => input !== undefined).length === 1, {
    error: 'give exactly one of text, features and input_data',
  }) satisfies z.ZodType<PredictRequest>

/** Fields are there as the task has them: `label` and `confidence` for a text, `probabilities` where the model gives them. */
export interface PredictResponse {
  request_id: string
  /** The class or number. */
  prediction: string | number
  /** The same as `prediction`, for callers of the brief's first form. */
  result: string | number
  /** 0 to 1. Both names carry the same figure; absent if the model gives none. */
  confidence?: number
  probability?: number
  probabilities?: Record<string, number>
  latency_ms: number
  model: string
  model_version: string
  /** ISO 8601. */
  timestamp: string
}

/** `POST /v1/predict/batch`: exactly one of `inputs` (rows in the model's own shape, or texts) and `instances` (rows of features). */
export interface PredictBatchRequest {
  inputs?: unknown[] | undefined
  instances?: number[][] | undefined
  model?: string | undefined
  model_version?: string | undefined
}

export const predictBatchRequest = z
  .strictObject({
    inputs: z.array(z.unknown()).min(1).max(maxBatchRows).optional(),
    instances: z.array(z.array(z.number())).min(1).max(maxBatchRows).optional(),
    model: modelName,
    model_version: modelVersion,
  })
  .refine((body) => (body.inputs === undefined) !== (body.instances === undefined), {
    error: 'give exactly one of inputs and instances',
  }) satisfies z.ZodType<PredictBatchRequest>

export interface BatchPrediction {
  prediction: string | number
  confidence?: number
  probability?: number
  probabilities?: Record<string, number>
}

export interface PredictBatchResponse {
  request_id: string
  /** In the order of the rows. */
  predictions: BatchPrediction[]
  count: number
  latency_ms: number
  model: string
  model_version: string
  timestamp: string
}
