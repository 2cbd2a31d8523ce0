import { z } from 'zod'
import type { Usage } from '../usage.js'
import { isCount, part } from './token-count.js'

/** A JSON body of OpenAI's endpoints for pictures and sound. Fields that are not named here pass untouched. */
export interface MediaRequest {
  model?: string | undefined
  [unknown: string]: unknown
}

export const mediaRequest = z.looseObject({
  model: z.string().min(1).max(256).optional(),
}) satisfies z.ZodType<MediaRequest>

/** What such an endpoint makes: of its output tokens those of text are `transcript`s. */
export type MediaKind = 'image' | 'speech' | 'transcript'

/**
 * `usage` of pictures, speech and transcripts: tokens with their details (named differently by each), or `{ type: 'duration', seconds }`, begun seconds as rows. `undefined` if there are no counts in it.
 */
export function usageFromMedia(usage: unknown, kind: MediaKind): Usage | undefined {
  if (typeof usage !== 'object' || usage === null) return undefined
  const given = usage as Record<string, unknown>
  const input = given['input_tokens'] ?? given['prompt_tokens']
  const output = given['output_tokens'] ?? given['completion_tokens'] ?? 0
  const { seconds } = given
  if (input === undefined && typeof seconds === 'number' && seconds >= 0 && Number.isFinite(seconds)) {
    return { inputTokens: 0, outputTokens: 0, rows: Math.ceil(seconds), estimated: false }
  }
  if (!isCount(input) || !isCount(output)) return undefined
  const heard = detailsOf(given, 'input_tokens_details', 'input_token_details', 'prompt_tokens_details')
  const inputImageTokens = part(heard['image_tokens'], input)
  const inputAudioTokens = part(heard['audio_tokens'], input - inputImageTokens)
  const text = part(detailsOf(given, 'output_tokens_details')['text_tokens'], output)
  const outputImageTokens = kind === 'image' ? output - text : 0
  const outputAudioTokens = kind === 'speech' ? output - text : 0
  return {
    inputTokens: input - inputImageTokens - inputAudioTokens,
    ...(inputAudioTokens > 0 ? { inputAudioTokens } : {}),
    ...(inputImageTokens > 0 ? { inputImageTokens } : {}),
    outputTokens: output - outputImageTokens - outputAudioTokens,
    ...(outputAudioTokens > 0 ? { outputAudioTokens } : {}),
    ...(outputImageTokens > 0 ? { outputImageTokens } : {}),
    estimated: false,
  }
}

function detailsOf(usage: Record<string, unknown>, ...names: readonly string[]): Record<string, unknown> {
  const details = names.map((name) => usage[name]).find((each) => typeof each === 'object' && each !== null)
  return (details ?? {}) as Record<string, unknown>
}
