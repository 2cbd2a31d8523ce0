import type { Usage } from '../usage.js'
import { isCount } from './token-count.js'

/** Gemini's `usageMetadata`. `promptTokenCount` has what was read from the cache; `candidatesTokenCount` has not what was thought. */
export interface GeminiUsage {
  promptTokenCount?: number
  /** Of the prompt. */
  cachedContentTokenCount?: number
  /** Beside the prompt. */
  toolUsePromptTokenCount?: number
  candidatesTokenCount?: number
  /** Beside the candidates. */
  thoughtsTokenCount?: number
  promptTokensDetails?: ReadonlyArray<ModalityCount>
  cacheTokensDetails?: ReadonlyArray<ModalityCount>
  candidatesTokensDetails?: ReadonlyArray<ModalityCount>
}

export interface ModalityCount {
  /** `TEXT`, `IMAGE`, `AUDIO`, `VIDEO`, `DOCUMENT`. */
  modality: string
  tokenCount?: number
}

/**
 * Gemini's counts as disjoint buckets: what is read from the cache is no other input, sound and pictures are no text. A detail larger than its total is cut to it. `undefined` if a count is not a whole number ≥ 0.
 *
 * @example recordUsage(req, { provider: 'google', model, usage: usageFromGemini(response.usageMetadata) })
 */
export function usageFromGemini(usage: GeminiUsage | null | undefined): Usage | undefined {
  if (usage === null || usage === undefined || typeof usage !== 'object') return undefined
  const prompt = usage.promptTokenCount ?? 0
  const tools = usage.toolUsePromptTokenCount ?? 0
  const answer = usage.candidatesTokenCount ?? 0
  const reasoningTokens = usage.thoughtsTokenCount ?? 0
  const cached = usage.cachedContentTokenCount ?? 0
  if (![prompt, tools, answer, reasoningTokens, cached].every(isCount)) return undefined
  const cacheReadTokens = Math.min(cached, prompt)
  /** Of a kind, without what of it was read from the cache. */
  const fresh = (modality: string, most: number) =>
    Math.min(most, Math.max(0, of(usage.promptTokensDetails, modality) - of(usage.cacheTokensDetails, modality)))
  const inputAudioTokens = fresh('AUDIO', prompt - cacheReadTokens)
  const inputImageTokens = fresh('IMAGE', prompt - cacheReadTokens - inputAudioTokens)
  const outputAudioTokens = Math.min(answer, of(usage.candidatesTokensDetails, 'AUDIO'))
  const outputImageTokens = Math.min(answer - outputAudioTokens, of(usage.candidatesTokensDetails, 'IMAGE'))
  return {
    inputTokens: prompt - cacheReadTokens - inputAudioTokens - inputImageTokens + tools,
    outputTokens: answer - outputAudioTokens - outputImageTokens,
    ...(cacheReadTokens > 0 ? { cacheReadTokens } : {}),
    ...(inputAudioTokens > 0 ? { inputAudioTokens } : {}),
    ...(inputImageTokens > 0 ? { inputImageTokens } : {}),
    ...(reasoningTokens > 0 ? { reasoningTokens } : {}),
    ...(outputAudioTokens > 0 ? { outputAudioTokens } : {}),
    ...(outputImageTokens > 0 ? { outputImageTokens } : {}),
    estimated: false,
  }
}

function of(details: ReadonlyArray<ModalityCount> | undefined, modality: string): number {
  if (!Array.isArray(details)) return 0
  const counts = details.filter((each) => each?.modality === modality).map(({ tokenCount = 0 }) => tokenCount)
  return counts.every(isCount) ? counts.reduce((sum, count) => sum + count, 0) : 0
}
