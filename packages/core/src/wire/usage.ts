/** `GET /v1/usage`: sums of what was used. Times are ISO 8601. */
export interface UsageRequest {
  /** From, and before. Default: the last 30 days. */
  from?: string | undefined
  to?: string | undefined
  /** What sums are told apart by, comma-separated: `tenant`, `team`, `user`, `key`, `model`, `provider`, `outcome`, `tag:…`. Default `model`. */
  group_by?: string | undefined
  /** Also by `hour`, `day` or `month`, of `time_zone` (IANA name, default `UTC`). */
  per?: 'hour' | 'day' | 'month' | undefined
  time_zone?: string | undefined
  /** Another tenant than the caller's own: needs `admin:all`. */
  tenant?: string | undefined
  /** Only what has these. */
  team?: string | undefined
  user?: string | undefined
  key?: string | undefined
  model?: string | undefined
  provider?: string | undefined
  /** 1 to 1,000, default 100. */
  limit?: number | undefined
  cursor?: string | undefined
}

export interface UsageSum {
  object: 'usage'
  /** By the words of `group_by`; `null` for what has none. */
  group: Record<string, string | null>
  /** When the hour, day or month begins. */
  starts_at: string | null
  requests: number
  /** Requests without a known price; their cost is not in `cost_usd`. */
  unpriced_requests: number
  /** A decimal number as text, exact to the nano-dollar. */
  cost_usd: string
  input_tokens: number
  cache_read_tokens: number
  cache_write_tokens: number
  output_tokens: number
  reasoning_tokens: number
  /** Audio and images. */
  other_tokens: number
  rows: number
}

/** `GET /v1/limits`: how the caller stands with one rule. */
export interface LimitObject {
  object: 'limit'
  name: string
  measure: string
  /** `null` for concurrency. */
  window_ms: number | null
  /** Would a request pass? */
  allowed: boolean
  /** Units; US dollars as decimal text for `money`. */
  limit: number | string
  used: number | string
  /** Of `used`, for requests that are not over. */
  held: number | string
  remaining: number | string
  reset_ms: number
  /** Refuses nothing. */
  shadow: boolean
}

/** `POST /v1/limits/check`: would a request of this size pass? */
export interface LimitCheckRequest {
  model?: string | undefined
  input_tokens: number
  max_output_tokens?: number | undefined
}

export interface LimitCheck {
  object: 'limit_check'
  allowed: boolean
  /** The rules that would refuse. */
  refused_by: string[]
}
