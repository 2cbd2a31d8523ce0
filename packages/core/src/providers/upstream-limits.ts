import type { IncomingHttpHeaders } from 'node:http'

/** What is left of one of an upstream's limits, as it says with an answer. */
export interface UpstreamLimit {
  readonly kind: 'requests' | 'tokens' | 'input_tokens' | 'output_tokens'
  readonly remaining: number
  /** Absent: it did not say. */
  readonly limit?: number
}

/** What an upstream says of its own limits for us, with an answer. */
export interface UpstreamLimits {
  readonly provider: string
  /** By the upstream's name of it. */
  readonly model: string
  readonly limits: readonly UpstreamLimit[]
}

/** OpenAI's fields, which most upstreams of its API have too, and Anthropic's. Other units (the reset of each is told in three ways) are of no use to a gauge. */
const fields: ReadonlyArray<readonly [kind: UpstreamLimit['kind'], remaining: string, limit: string]> = [
  ['requests', 'x-ratelimit-remaining-requests', 'x-ratelimit-limit-requests'],
  ['tokens', 'x-ratelimit-remaining-tokens', 'x-ratelimit-limit-tokens'],
  ['requests', 'anthropic-ratelimit-requests-remaining', 'anthropic-ratelimit-requests-limit'],
  ['tokens', 'anthropic-ratelimit-tokens-remaining', 'anthropic-ratelimit-tokens-limit'],
  ['input_tokens', 'anthropic-ratelimit-input-tokens-remaining', 'anthropic-ratelimit-input-tokens-limit'],
  ['output_tokens', 'anthropic-ratelimit-output-tokens-remaining', 'anthropic-ratelimit-output-tokens-limit'],
]

/** What is said in the head of an answer; what is no count is not said. */
export function limitsIn(headers: IncomingHttpHeaders): readonly UpstreamLimit[] {
  return fields.flatMap(([kind, remainingField, limitField]): UpstreamLimit[] => {
    const remaining = countIn(headers[remainingField])
    if (remaining === undefined) return []
    const limit = countIn(headers[limitField])
    return [{ kind, remaining, ...(limit === undefined ? undefined : { limit }) }]
  })
}

function countIn(value: string | string[] | undefined): number | undefined {
  return typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : undefined
}
