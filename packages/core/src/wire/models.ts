import { z } from 'zod'

/** `GET /v1/models`, OpenAI's shape. */
export interface ModelList {
  object: 'list'
  data: ModelListEntry[]
}

export interface ModelListEntry {
  id: string
  object: 'model'
  /** Seconds since the epoch; 0 if not known. */
  created: number
  owned_by: string
}

/** `GET /v1/models`, Anthropic's shape. */
export interface AnthropicModelPage {
  data: AnthropicModel[]
  has_more: boolean
  first_id: string | null
  last_id: string | null
}

export interface AnthropicModel {
  type: 'model'
  id: string
  display_name: string
  /** RFC 3339; the epoch if not known. */
  created_at: string
}

/** Of that page: how many models, and those before or after which one. */
export const modelPageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1_000).default(20),
  before_id: z.string().optional(),
  after_id: z.string().optional(),
})

/** `GET /v1/models/{name}`: OpenAI's fields of the model, and what Tollgate knows besides. */
export interface ModelDetails extends ModelListEntry {
  task: 'generate' | 'embed' | 'predict' | 'media'
  description?: string
  versions: ModelVersion[]
}

export interface ModelVersion {
  version: string
  /** Is it what `latest` means? */
  latest: boolean
  /** ISO 8601; `null` for models that are not loaded here. */
  loaded_at: string | null
  /** JSON Schema of one row, for `predict`. */
  input_schema?: Record<string, unknown>
}
