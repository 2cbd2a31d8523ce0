import type { GenerateInput, ReasoningOptions } from '../inference/task.js'
import { choiceOf, hasThoughtlessCalls, thinkableOf, thinkingOf } from './anthropic-request.js'
import { effortOf } from './openai-chat-request.js'

type Json = Record<string, unknown>

/** What Converse does not make the same for all models. */
export interface BedrockFamily {
  /** Takes `cachePoint` in messages and system, in tools; others are refused with it. */
  readonly cachesMessages: boolean
  readonly cachesTools: boolean
  /** Takes the `status` of a tool's answer. */
  readonly hasStatus: boolean
  /** Takes its thoughts back. */
  readonly takesThoughts: boolean
  /** Settings that Converse has no word for. `maxTokens` and what is dropped of `inferenceConfig` follow from them. */
  settings(input: GenerateInput): FamilySettings
}

export interface FamilySettings {
  /** `additionalModelRequestFields`. */
  readonly fields?: Json
  /** `additionalModelResponseFieldPaths`. */
  readonly paths?: readonly string[]
  /** `temperature` and `topP` are refused with these. */
  readonly fixedSampling?: boolean
  /** Where the caller sets no bound and one is needed. */
  readonly maxTokens?: number
}

/** Beside the thoughts. */
const answerTokens = 8_192

/**
 * The family of a model's id: `us.anthropic.claude-sonnet-4-5-20250929-v1:0`, or an ARN that ends with such.
 */
export function familyOf(id: string): BedrockFamily {
  const name = id.toLowerCase()
  const claude = /(?:^|[./])anthropic\.claude-(.*)/.exec(name)?.[1]
  if (claude !== undefined) return claudeFamily(claude)
  const plain = { cachesMessages: false, cachesTools: false, hasStatus: false, takesThoughts: false }
  if (/(?:^|[./])amazon\.nova-/.test(name)) {
    return { ...plain, cachesMessages: true, hasStatus: true, settings: novaSettings }
  }
  if (/(?:^|[./])(?:openai\.gpt-oss|moonshot(?:ai)?\.kimi)-/.test(name)) {
    return {
      ...plain,
      settings: ({ reasoning }) => effortFields(reasoning, (effort) => ({ reasoning_effort: effort })),
    }
  }
  if (/(?:^|[./])openai\./.test(name)) {
    return { ...plain, settings: ({ reasoning }) => effortFields(reasoning, (effort) => ({ reasoning: { effort } })) }
  }
  return { ...plain, settings: () => ({}) }
}

/** @param version `sonnet-4-5-20250929-v1:0`, and in the old names `3-5-sonnet-20240620-v1:0` */
function claudeFamily(version: string): BedrockFamily {
  const caches = !/^(?:v\d|instant|3-(?:opus|sonnet|haiku)|3-5-sonnet-20240620)/.test(version)
  const [, major = '0', minor = '0'] = /^[a-z]+-(\d{1,2})(?:-(\d{1,2})(?!\d))?/.exec(version) ?? []
  // Since 4.6 Claude decides itself how long to think, and later ones take no budget any more.
  const isAdaptive = Number(major) + Number(minor) / 100 >= 4.06
  return {
    cachesMessages: caches,
    cachesTools: caches,
    hasStatus: true,
    takesThoughts: true,
    settings(input) {
      const { maxOutputTokens, topK, stop = [], toolChoice, parallelToolCalls, tools = [] } = input
      const reasoning = !isAdaptive && hasThoughtlessCalls(input.messages) ? undefined : thinkableOf(input)
      const thinking =
        reasoning === undefined
          ? undefined
          : isAdaptive
            ? adaptiveThinking(reasoning)
            : budgetThinking(reasoning, maxOutputTokens)
      const isThinking = thinking !== undefined && thinking.thinking.type !== 'disabled'
      const fields = {
        ...thinking,
        ...(topK === undefined || isThinking ? undefined : { top_k: topK }),
        ...(parallelToolCalls === false && tools.length > 0 && toolChoice !== 'none'
          ? { tool_choice: choiceOf(toolChoice, false) }
          : undefined),
      }
      const budget = isThinking && 'budget_tokens' in thinking.thinking ? thinking.thinking.budget_tokens : undefined
      return {
        ...(Object.keys(fields).length === 0 ? undefined : { fields }),
        // Else it is not told which of them ended the answer.
        ...(stop.length === 0 ? undefined : { paths: ['/stop_sequence'] }),
        fixedSampling: isThinking,
        ...(budget === undefined ? undefined : { maxTokens: budget + answerTokens }),
      }
    },
  }
}

function budgetThinking(reasoning: ReasoningOptions, allTokens = Number.POSITIVE_INFINITY) {
  const thinking = thinkingOf(reasoning, allTokens)
  return thinking === undefined ? undefined : { thinking }
}

function adaptiveThinking(reasoning: ReasoningOptions) {
  const effort = reasoning.effort === 'max' ? reasoning.effort : effortOf(reasoning)
  if (effort === undefined) return undefined
  if (effort === 'none') return { thinking: { type: 'disabled' as const } }
  return {
    thinking: { type: 'adaptive' as const },
    output_config: { effort: effort === 'minimal' ? 'low' : effort },
  }
}

function novaSettings({ reasoning, maxOutputTokens, topK }: GenerateInput): FamilySettings {
  const wanted = reasoning === undefined ? undefined : effortOf(reasoning)
  // At `high` it takes no bound on what it writes, and that bound is what a caller may spend.
  const effort = wanted === 'minimal' ? 'low' : wanted === 'high' && maxOutputTokens !== undefined ? 'medium' : wanted
  const fields = {
    ...(effort === undefined
      ? undefined
      : {
          reasoningConfig: effort === 'none' ? { type: 'disabled' } : { type: 'enabled', maxReasoningEffort: effort },
        }),
    ...(topK === undefined || effort === 'high' ? undefined : { inferenceConfig: { topK } }),
  }
  return { ...(Object.keys(fields).length === 0 ? undefined : { fields }), fixedSampling: effort === 'high' }
}

function effortFields(reasoning: ReasoningOptions | undefined, say: (effort: string) => Json): FamilySettings {
  const effort = reasoning === undefined ? undefined : effortOf(reasoning)
  return effort === undefined ? {} : { fields: say(effort === 'minimal' ? 'low' : effort) }
}
