/**
 * What a call used, in disjoint buckets: no token is counted in two of them, whatever the provider's own convention.
 * (OpenAI's `prompt_tokens` includes cached tokens, Anthropic's `input_tokens` does not: `wire/openai-usage` converts.)
 * All counts are whole numbers ≥ 0.
 */
export interface Usage {
  /** Text and everything else that is billed at the plain input price. */
  readonly inputTokens: number
  readonly cacheReadTokens?: number
  readonly cacheWriteTokens?: number
  /** Written to be kept for an hour, which Anthropic bills apart; not within `cacheWriteTokens`. */
  readonly cacheWrite1hTokens?: number
  readonly inputAudioTokens?: number
  readonly inputImageTokens?: number
  /** Text output, without reasoning, audio and pictures. */
  readonly outputTokens: number
  readonly reasoningTokens?: number
  readonly outputAudioTokens?: number
  readonly outputImageTokens?: number
  /** What models that do not count in tokens count: rows predicted, seconds of sound heard, pictures made, characters spoken. */
  readonly rows?: number
  /** True when we counted it ourselves because the provider did not say. */
  readonly estimated: boolean
}

/** Nothing used, and known for sure. */
export const noUsage: Usage = Object.freeze({ inputTokens: 0, outputTokens: 0, estimated: false })

/** All input tokens, cached ones included: OpenAI's `prompt_tokens`. */
export function promptTokens(usage: Usage): number {
  return (
    usage.inputTokens +
    (usage.cacheReadTokens ?? 0) +
    (usage.cacheWriteTokens ?? 0) +
    (usage.cacheWrite1hTokens ?? 0) +
    (usage.inputAudioTokens ?? 0) +
    (usage.inputImageTokens ?? 0)
  )
}

/** All output tokens, reasoning included: OpenAI's `completion_tokens`. */
export function completionTokens(usage: Usage): number {
  return (
    usage.outputTokens + (usage.reasoningTokens ?? 0) + (usage.outputAudioTokens ?? 0) + (usage.outputImageTokens ?? 0)
  )
}

/** Prompt and completion together. */
export function totalTokens(usage: Usage): number {
  return promptTokens(usage) + completionTokens(usage)
}

const counts = [
  'inputTokens',
  'cacheReadTokens',
  'cacheWriteTokens',
  'cacheWrite1hTokens',
  'inputAudioTokens',
  'inputImageTokens',
  'outputTokens',
  'reasoningTokens',
  'outputAudioTokens',
  'outputImageTokens',
  'rows',
] as const

/** Is there anything in it to pay for, in tokens or in rows? */
export function isAnything(usage: Usage): boolean {
  return totalTokens(usage) > 0 || (usage.rows ?? 0) > 0
}

/** The sum, bucket by bucket; estimated if either is. */
export function addUsage(left: Usage, right: Usage): Usage {
  const sum: { -readonly [Key in keyof Usage]: Usage[Key] } = {
    inputTokens: 0,
    outputTokens: 0,
    estimated: left.estimated || right.estimated,
  }
  for (const bucket of counts) {
    const total = (left[bucket] ?? 0) + (right[bucket] ?? 0)
    if (total > 0) sum[bucket] = total
  }
  return sum
}

/**
 * Is this a usage: input and output tokens given, and all buckets whole numbers ≥ 0? A provider's report is checked with this before it is
 * believed.
 */
export function isUsage(usage: unknown): usage is Usage {
  if (typeof usage !== 'object' || usage === null) return false
  const given = usage as Partial<Usage>
  if (given.inputTokens === undefined || given.outputTokens === undefined) return false
  return counts.every((bucket) => {
    const count = given[bucket]
    return count === undefined || (Number.isSafeInteger(count) && count >= 0)
  })
}
