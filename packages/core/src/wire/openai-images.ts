/** `POST /v1/images/generations`. What an upstream knows besides passes untouched. */
export interface ImagesRequest {
  /** Default: the server's model for pictures and sound. */
  model?: string
  prompt: string
  n?: number
  size?: string
  quality?: string
  background?: string
  moderation?: string
  output_format?: string
  output_compression?: number
  /** Of models that can answer with an address instead: `url` or `b64_json`. */
  response_format?: string
  style?: string
  user?: string
  [unknown: string]: unknown
}

/** What pictures used; `undefined` of models that do not tell. */
export interface ImagesUsage {
  input_tokens: number
  output_tokens: number
  total_tokens: number
  input_tokens_details?: { text_tokens?: number; image_tokens?: number }
  output_tokens_details?: { text_tokens?: number; image_tokens?: number }
}

export interface ImagesResponse {
  created: number
  data: Array<{ b64_json?: string; url?: string; revised_prompt?: string }>
  background?: string
  output_format?: string
  quality?: string
  size?: string
  usage?: ImagesUsage
}

/** An event of pictures as they are made: so far, or done. */
export interface ImageEvent {
  type:
    | 'image_generation.partial_image'
    | 'image_generation.completed'
    | 'image_edit.partial_image'
    | 'image_edit.completed'
  b64_json: string
  /** Of one that is not done. */
  partial_image_index?: number
  created_at?: number
  background?: string
  output_format?: string
  quality?: string
  size?: string
  /** Of one that is done. */
  usage?: ImagesUsage
}
