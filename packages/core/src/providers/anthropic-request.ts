import type {
  CacheTime,
  ContentPart,
  GenerateInput,
  Message,
  ReasoningOptions,
  ResponseFormat,
  ToolChoice,
} from '../inference/task.js'
import {
  argumentsOf,
  dataUrl,
  isBlank,
  isProven,
  partsOf,
  plainCallId,
  systemParts,
  unsaid,
  unsaidPart,
} from './bridged-request.js'

type Json = Record<string, unknown>

/** The least that Anthropic takes for thinking. */
const leastThinkingTokens = 1_024

const thinkingTokens = { minimal: 1_024, low: 2_048, medium: 8_192, high: 16_384, max: 32_768 } as const

/**
 * The body of a request for a message. A caller's own body goes on as it is, but for the model's name and the streaming; else it is built.
 *
 * @param defaultMaxTokens for callers who set no bound, which this API wants
 * @throws TollgateError `invalid_request` for what cannot be said in this API
 */
export function messagesBody(input: GenerateInput, model: string, stream: boolean, defaultMaxTokens: number): Json {
  const { native } = input
  const body: Json = native?.dialect === 'anthropic-messages' ? { ...native.body } : built(input, defaultMaxTokens)
  body['model'] = model
  if (stream) body['stream'] = true
  else delete body['stream']
  return body
}

function built(input: GenerateInput, defaultMaxTokens: number): Json {
  const { maxOutputTokens: maxTokens = defaultMaxTokens, temperature, topP, topK, stop, user, tools = [] } = input
  const { responseFormat } = input
  const reasoning = hasThoughtlessCalls(input.messages) ? undefined : thinkableOf(input)
  const thinking = reasoning === undefined ? undefined : thinkingOf(reasoning, maxTokens)
  // With thinking on, these are refused.
  const sampling = thinking?.type === 'enabled' ? {} : { temperature, topK, topP }
  const system = systemOf(input.messages, responseFormat)
  const choice = choiceOf(input.toolChoice, input.parallelToolCalls)
  return {
    max_tokens: maxTokens,
    messages: turnsOf(input.messages),
    ...(system.length === 0 ? undefined : { system }),
    ...(tools.length === 0
      ? undefined
      : {
          tools: tools.map(({ name, description, parameters, strict, cache }) => ({
            name,
            ...(description === undefined ? undefined : { description }),
            input_schema: parameters,
            ...(strict === undefined ? undefined : { strict }),
            ...kept(cache),
          })),
          ...(choice === undefined ? undefined : { tool_choice: choice }),
        }),
    ...(responseFormat?.type === 'json-schema'
      ? { output_config: { format: { type: 'json_schema', schema: responseFormat.schema } } }
      : undefined),
    ...(thinking === undefined ? undefined : { thinking }),
    // 0 to 1 in this API.
    ...(sampling.temperature === undefined ? undefined : { temperature: Math.min(1, sampling.temperature) }),
    ...(sampling.topK === undefined ? undefined : { top_k: sampling.topK }),
    ...(sampling.topP === undefined ? undefined : { top_p: sampling.topP }),
    ...(stop === undefined || stop.length === 0 ? undefined : { stop_sequences: stop }),
    ...(user === undefined ? undefined : { metadata: { user_id: user } }),
  }
}

/** Budgets and no efforts: an effort is a budget, less than all that may be written. Without room for the least budget there is no thinking. */
export function thinkingOf({ effort, maxTokens }: ReasoningOptions, allTokens: number) {
  if (effort === 'none') return { type: 'disabled' as const }
  const wanted = maxTokens ?? (effort === undefined ? undefined : thinkingTokens[effort])
  if (wanted === undefined || allTokens <= leastThinkingTokens) return undefined
  const budget = Math.min(Math.max(wanted, leastThinkingTokens), allTokens - 1)
  return { type: 'enabled' as const, budget_tokens: budget }
}

/** How much to think. Not asked for where a tool has to be called, which is refused with thinking. */
export function thinkableOf({ reasoning, toolChoice, tools = [] }: GenerateInput): ReasoningOptions | undefined {
  const isForced = tools.length > 0 && (toolChoice === 'required' || typeof toolChoice === 'object')
  return isForced && reasoning?.effort !== 'none' ? undefined : reasoning
}

/** Has the turn that goes on called tools, and its thoughts are not there? With a budget for thinking that is refused, and many callers do not send thoughts back. */
export function hasThoughtlessCalls(messages: readonly Message[]): boolean {
  const spoken = messages.filter(({ role }) => role !== 'system' && role !== 'developer')
  const asked = spoken.findLastIndex(({ role }, index) => {
    const before = spoken[index - 1]?.role
    return role === 'user' && before !== 'tool' && before !== 'user'
  })
  const answers = spoken.slice(asked + 1).filter(({ role }) => role === 'assistant')
  const isThought = (part: ContentPart) => part.type === 'reasoning' && isProven(part)
  return (
    answers.some(({ toolCalls = [] }) => toolCalls.length > 0) &&
    !answers.some(({ content }) => partsOf(content).some(isThought))
  )
}

export function choiceOf(choice: ToolChoice | undefined, parallel: boolean | undefined): Json | undefined {
  const single = parallel === false ? { disable_parallel_tool_use: true } : undefined
  if (choice === undefined) return single === undefined ? undefined : { type: 'auto', ...single }
  if (typeof choice !== 'string') return { type: 'tool', name: choice.name, ...single }
  if (choice === 'none') return { type: 'none' }
  return { type: choice === 'required' ? 'any' : 'auto', ...single }
}

/** Five minutes is what it means unasked. */
function kept(cache: CacheTime | undefined): Json | undefined {
  return cache && { cache_control: { type: 'ephemeral', ...(cache === '1h' ? { ttl: cache } : undefined) } }
}

/** One place for what the system says, wherever it was said. */
function systemOf(messages: readonly Message[], format: ResponseFormat | undefined): Json[] {
  const said = systemParts(messages)
    .filter(({ text }) => !isBlank(text))
    .map(({ text, cache }) => ({ type: 'text', text, ...kept(cache) }))
  // JSON without a schema is nothing that this API has a word for.
  const json = { type: 'text', text: 'Answer with one JSON object and nothing else.' }
  return format?.type === 'json' ? [...said, json] : said
}

/** Turns of user and assistant; a tool's answers are the user's, before what the user says. */
function turnsOf(messages: readonly Message[]): Json[] {
  const turns: Array<{ role: 'user' | 'assistant'; content: Json[] }> = []
  messages.forEach((message, index) => {
    if (message.role === 'system' || message.role === 'developer') return
    const role = message.role === 'assistant' ? 'assistant' : 'user'
    const blocks = blocksOf(message, index)
    if (blocks.length === 0) return
    const last = turns.at(-1)
    if (last?.role === role) last.content.push(...blocks)
    else turns.push({ role, content: blocks })
  })
  return turns
}

function blocksOf(message: Message, index: number): Json[] {
  const { role, content, toolCalls = [], toolCallId, isError, cache } = message
  const blocks = partsOf(content).flatMap((part) => blockOf(part, index))
  if (role === 'tool') {
    if (toolCallId === undefined) throw unsaid(index, 'tool_call_id', 'is required of a message of the role tool')
    return [
      {
        type: 'tool_result',
        tool_use_id: plainCallId(toolCallId),
        ...(blocks.length === 0 ? undefined : { content: blocks }),
        ...(isError === true ? { is_error: true } : undefined),
        ...kept(cache),
      },
    ]
  }
  if (role !== 'assistant') return blocks
  return [
    ...blocks,
    ...toolCalls.map((call) => ({
      type: 'tool_use',
      id: plainCallId(call.id),
      name: call.name,
      input: argumentsOf(call, index),
      ...kept(call.cache),
    })),
  ]
}

function blockOf(part: ContentPart, index: number): Json[] {
  switch (part.type) {
    // Blank texts are refused.
    case 'text':
      return isBlank(part.text) ? [] : [{ type: 'text', text: part.text, ...kept(part.cache) }]
    case 'image':
      return [{ type: 'image', source: sourceOf(part.url, index), ...kept(part.cache) }]
    case 'reasoning':
      if (!isProven(part)) return []
      if (part.redacted !== undefined) return [{ type: 'redacted_thinking', data: part.redacted }]
      return [{ type: 'thinking', thinking: part.text, signature: part.signature }]
    default:
      throw unsaidPart(part.native, index)
  }
}

function sourceOf(url: string, index: number): Json {
  const given = dataUrl(url)
  if (given !== undefined) return { type: 'base64', media_type: given.mediaType, data: given.data }
  if (/^https?:\/\//i.test(url)) return { type: 'url', url }
  throw unsaid(index, 'content', 'has a picture that is neither an http(s) URL nor a data: URL with base64')
}
