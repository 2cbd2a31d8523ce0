import { completionTokens, promptTokens, type Usage } from '../usage.js'
import { isCount } from './token-count.js'

/** Anthropic's `usage` of a message. `input_tokens` has neither what was read from the cache nor what was written to it: all three together are the input. */
export interface AnthropicUsage {
  input_tokens: number
  output_tokens: number
  cache_creation_input_tokens?: number | null
  cache_read_input_tokens?: number | null
  /** How long what was written is kept: parts of `cache_creation_input_tokens`. */
  cache_creation?: { ephemeral_5m_input_tokens?: number; ephemeral_1h_input_tokens?: number } | null
}

/**
 * Anthropic's counts as disjoint buckets. In a stream the `usage` of `message_delta` is cumulative: take the last one, with the input of `message_start`. `undefined` if the counts are not whole numbers ≥ 0.
 *
 * @example recordUsage(req, { provider: 'anthropic', model: message.model, usage: usageFromAnthropic(message.usage) })
 */
export function usageFromAnthropic(usage: AnthropicUsage | null | undefined): Usage | undefined {
  if (usage === null || usage === undefined || typeof usage !== 'object') return undefined
  const { input_tokens: inputTokens, output_tokens: outputTokens } = usage
  const cacheReadTokens = usage.cache_read_input_tokens ?? 0
  const written = usage.cache_creation_input_tokens ?? 0
  if (![inputTokens, outputTokens, cacheReadTokens, written].every(isCount)) return undefined
  const forAnHour = usage.cache_creation?.ephemeral_1h_input_tokens
  const cacheWrite1hTokens = isCount(forAnHour) ? Math.min(forAnHour, written) : 0
  const cacheWriteTokens = written - cacheWrite1hTokens
  return {
    inputTokens,
    outputTokens,
    ...(cacheReadTokens > 0 ? { cacheReadTokens } : {}),
    ...(cacheWriteTokens > 0 ? { cacheWriteTokens } : {}),
    ...(cacheWrite1hTokens > 0 ? { cacheWrite1hTokens } : {}),
    estimated: false,
  }
}

/** Our buckets as Anthropic's counts: what is cached is beside the input, sound and pictures are input, thoughts are output. */
export function usageToAnthropic(usage: Usage): AnthropicUsage {
  const { cacheReadTokens = 0, cacheWriteTokens = 0, cacheWrite1hTokens = 0 } = usage
  const written = cacheWriteTokens + cacheWrite1hTokens
  return {
    input_tokens: promptTokens(usage) - cacheReadTokens - written,
    cache_creation_input_tokens: written,
    cache_read_input_tokens: cacheReadTokens,
    output_tokens: completionTokens(usage),
  }
}
