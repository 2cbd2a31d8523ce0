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
