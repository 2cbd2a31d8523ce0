import type { Usage } from '../usage.js'
import { usageFromAnthropic } from './anthropic-usage.js'

/** `usage` of Bedrock's Converse. `inputTokens` has neither what was read from the cache nor what was written to it: all three together are the input. Thoughts are output. */
export interface BedrockUsage {
  inputTokens: number
  outputTokens: number
  cacheReadInputTokens?: number | null
  cacheWriteInputTokens?: number | null
  /** How long what was written is kept: parts of `cacheWriteInputTokens`. */
  cacheDetails?: ReadonlyArray<{ readonly ttl?: string; readonly inputTokens?: number }> | null
}

/**
 * Bedrock's counts as disjoint buckets. `undefined` if the counts are not whole numbers ≥ 0.
 *
 * @example recordUsage(req, { provider: 'bedrock', model, usage: usageFromBedrock(response.usage) })
 */
export function usageFromBedrock(usage: BedrockUsage | null | undefined): Usage | undefined {
  if (usage === null || usage === undefined || typeof usage !== 'object') return undefined
  const { cacheDetails, cacheReadInputTokens, cacheWriteInputTokens } = usage
  const details = Array.isArray(cacheDetails) ? (cacheDetails as NonNullable<BedrockUsage['cacheDetails']>) : []
  const forAnHour = details.find((detail) => detail?.ttl === '1h')?.inputTokens
  return usageFromAnthropic({
    input_tokens: usage.inputTokens,
    output_tokens: usage.outputTokens,
    cache_read_input_tokens: cacheReadInputTokens ?? null,
    cache_creation_input_tokens: cacheWriteInputTokens ?? null,
    ...(forAnHour === undefined ? {} : { cache_creation: { ephemeral_1h_input_tokens: forAnHour } }),
  })
}
