import type { Usage } from '../usage.js'
import { completionTokens, promptTokens } from '../usage.js'
import { isCount, part } from './token-count.js'

/** OpenAI's `usage` of chat completions, completions and embeddings. The details are subsets of the totals. */
export interface OpenAiUsage {
  prompt_tokens: number
  completion_tokens?: number
  total_tokens?: number
  prompt_tokens_details?: { cached_tokens?: number | null; audio_tokens?: number | null } | null
  completion_tokens_details?: { reasoning_tokens?: number | null; audio_tokens?: number | null } | null
}

/**
 * OpenAI's totals as disjoint buckets. A detail larger than its total (seen from compatible servers) is cut to it, so that no bucket is
 * ever negative. `undefined` if the totals are not whole numbers ≥ 0.
 */
export function usageFromOpenAi(usage: OpenAiUsage | null | undefined): Usage | undefined {
  if (usage === null || usage === undefined || typeof usage !== 'object') return undefined
  const prompt = usage.prompt_tokens
  const completion = isCount(prompt) ? completionOf(usage, prompt) : undefined
  if (!isCount(prompt) || !isCount(completion)) return undefined
  const cacheReadTokens = part(usage.prompt_tokens_details?.cached_tokens, prompt)
  const inputAudioTokens = part(usage.prompt_tokens_details?.audio_tokens, prompt - cacheReadTokens)
  const reasoningTokens = part(usage.completion_tokens_details?.reasoning_tokens, completion)
  const outputAudioTokens = part(usage.completion_tokens_details?.audio_tokens, completion - reasoningTokens)
  return {
    inputTokens: prompt - cacheReadTokens - inputAudioTokens,
    ...(cacheReadTokens > 0 ? { cacheReadTokens } : {}),
    ...(inputAudioTokens > 0 ? { inputAudioTokens } : {}),
    outputTokens: completion - reasoningTokens - outputAudioTokens,
    ...(reasoningTokens > 0 ? { reasoningTokens } : {}),
    ...(outputAudioTokens > 0 ? { outputAudioTokens } : {}),
    estimated: false,
  }
}

/** Our buckets as OpenAI's totals with their details. */
export function usageToOpenAi(
  usage: Usage,
): Required<Pick<OpenAiUsage, 'prompt_tokens' | 'completion_tokens' | 'total_tokens'>> & OpenAiUsage {
  const prompt = promptTokens(usage)
  const completion = completionTokens(usage)
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: usage.cacheReadTokens ?? 0, audio_tokens: usage.inputAudioTokens ?? 0 },
    completion_tokens_details: {
      reasoning_tokens: usage.reasoningTokens ?? 0,
      audio_tokens: usage.outputAudioTokens ?? 0,
    },
  }
}

/** OpenAI's `usage` of the Responses API. The details are subsets of the totals. */
export interface ResponsesUsage {
  input_tokens: number
  input_tokens_details: { cached_tokens: number }
  output_tokens: number
  output_tokens_details: { reasoning_tokens: number }
  total_tokens: number
}

/** The same counts by the names of the Responses API. `undefined` if they are not whole numbers ≥ 0. */
export function usageFromResponses(usage: Partial<ResponsesUsage> | null | undefined): Usage | undefined {
  if (usage === null || usage === undefined || usage.input_tokens === undefined) return undefined
  return usageFromOpenAi({
    prompt_tokens: usage.input_tokens,
    ...(usage.output_tokens === undefined ? undefined : { completion_tokens: usage.output_tokens }),
    ...(usage.total_tokens === undefined ? undefined : { total_tokens: usage.total_tokens }),
    prompt_tokens_details: usage.input_tokens_details ?? null,
    completion_tokens_details: usage.output_tokens_details ?? null,
  })
}

/** Our buckets by the names of the Responses API. */
export function usageToResponses(usage: Usage): ResponsesUsage {
  const { prompt_tokens, completion_tokens, total_tokens } = usageToOpenAi(usage)
  return {
    input_tokens: prompt_tokens,
    input_tokens_details: { cached_tokens: usage.cacheReadTokens ?? 0 },
    output_tokens: completion_tokens,
    output_tokens_details: { reasoning_tokens: usage.reasoningTokens ?? 0 },
    total_tokens,
  }
}

/**
 * All output tokens. Some compatible servers leave them out, or report reasoning beside `completion_tokens` instead of within; the total
 * tells.
 */
function completionOf(usage: OpenAiUsage, prompt: number): unknown {
  const { completion_tokens: completion, total_tokens: total } = usage
  if (completion === undefined || completion === null) return isCount(total) && total > prompt ? total - prompt : 0
  const reasoning = usage.completion_tokens_details?.reasoning_tokens
  if (!isCount(reasoning) || reasoning === 0 || total !== prompt + completion + reasoning) return completion
  return completion + reasoning
}
