import { z } from 'zod'
import type { CacheTime, ContentPart, GenerateInput, Message, ReasoningOptions, ToolCall } from '../inference/task.js'
import { requestJson } from '../providers/request-json.js'
import type { ContentBlock, CountTokensRequest, MessagesRequest, MessageTurn } from '../wire/anthropic-messages.js'
import { parseWith } from '../wire/parse.js'
import { BridgedInput, type BridgedSettings, effort, schemaObject, toReasoning, toTool } from './bridged-input.js'

/** A request for a message as a model's input. */
export function fromMessagesRequest(
  body: MessagesRequest | CountTokensRequest,
  raw: Readonly<Record<string, unknown>>,
  headers: Readonly<Record<string, string>>,
): GenerateInput {
  return new MessagesInput(body, raw, headers)
}

class MessagesInput extends BridgedInput<CountTokensRequest> {
  constructor(
    body: MessagesRequest | CountTokensRequest,
    raw: Readonly<Record<string, unknown>>,
    headers: Readonly<Record<string, string>>,
  ) {
    super(body, { dialect: 'anthropic-messages', body: raw, headers })
    const { max_tokens, temperature, top_p, top_k, stop_sequences, metadata } = body as Partial<MessagesRequest>
    if (max_tokens !== undefined) this.maxOutputTokens = max_tokens
    if (temperature !== undefined) this.temperature = temperature
    if (top_p !== undefined) this.topP = top_p
    if (top_k !== undefined) this.topK = top_k
    if (stop_sequences !== undefined && stop_sequences.length > 0) this.stop = stop_sequences
    if (typeof metadata?.user_id === 'string') this.user = metadata.user_id
  }

  protected messagesOf(body: CountTokensRequest) {
    return messagesOf(body)
  }

  protected settingsOf(body: CountTokensRequest) {
    return settingsOf(body)
  }
}

const outputFormat = z.object({ type: z.literal('json_schema'), schema: schemaObject })

/** What of a request has to be understood to be said in another API's words. */
const bridgedRequest = z.object({
  tools: z
    .array(
      z.object({
        type: z
          .literal('custom', { error: "is Anthropic's own tool, which the model that answers does not have" })
          .nullish(),
        name: z.string().min(1),
        description: z.string().optional(),
        input_schema: schemaObject,
        strict: z.boolean().optional(),
        cache_control: z.unknown().optional(),
      }),
    )
    .nullish(),
  tool_choice: z
    .discriminatedUnion('type', [
      z.object({ type: z.enum(['auto', 'any', 'none']), disable_parallel_tool_use: z.boolean().optional() }),
      z.object({
        type: z.literal('tool'),
        name: z.string().min(1),
        disable_parallel_tool_use: z.boolean().optional(),
      }),
    ])
    .nullish(),
  mcp_servers: z
    .array(z.unknown())
    .max(0, { error: 'are called by Anthropic alone, not by the model that answers' })
    .nullish(),
  output_format: outputFormat.nullish(),
  output_config: z
    .object({
      format: outputFormat.nullish(),
      effort: effort.exclude(['none', 'minimal']).nullish(),
    })
    .nullish(),
  thinking: z.object({ type: z.string(), budget_tokens: z.int().min(0).optional() }).nullish(),
})

function settingsOf(body: CountTokensRequest): BridgedSettings {
  const {
    tools,
    tool_choice: choice,
    output_config: output,
    output_format: old,
    thinking,
  } = parseWith(bridgedRequest, body)
  // `output_format` is the beta's word.
  const format = output?.format ?? old ?? undefined
  return {
    tools: (tools ?? []).map(({ input_schema: parameters, cache_control, ...tool }) => ({
      ...toTool({ ...tool, parameters }),
      ...cacheOf({ cache_control }),
    })),
    toolChoice: choiceOf(choice ?? undefined),
    parallelToolCalls: choice?.disable_parallel_tool_use === true ? false : undefined,
    responseFormat:
      format === undefined ? undefined : { type: 'json-schema', name: 'answer', schema: format.schema, strict: true },
    reasoning: reasoningOf(thinking ?? undefined, output?.effort ?? undefined),
  }
}

function choiceOf(choice: { type: 'auto' | 'any' | 'none' } | { type: 'tool'; name: string } | undefined) {
  if (choice === undefined) return undefined
  if (choice.type === 'tool') return { name: choice.name }
  return choice.type === 'any' ? ('required' as const) : choice.type
}

function reasoningOf(
  thinking: { type: string; budget_tokens?: number | undefined } | undefined,
  asked: z.output<typeof effort> | undefined,
): ReasoningOptions | undefined {
  if (thinking?.type === 'enabled' && thinking.budget_tokens !== undefined) return { maxTokens: thinking.budget_tokens }
  // A model that is not told to think in this API does not; that it may at all is another's default.
  if (thinking?.type === 'disabled') return { effort: 'none' }
  return toReasoning(asked ?? (thinking?.type === 'adaptive' ? 'medium' : undefined))
}

function messagesOf({ system, messages }: CountTokensRequest): Message[] {
  const said: Message[] = system === undefined ? [] : [{ role: 'system', content: textsOf(system) }]
  return [...said, ...messages.flatMap(toMessages)]
}

function textsOf(content: string | ContentBlock[]): string | ContentPart[] {
  return typeof content === 'string' ? content : content.map(toPart)
}

/** A user's turn may hold answers of tools: each is a message of its own, and they come first. */
function toMessages({ role, content }: MessageTurn): Message[] {
  if (typeof content === 'string') return [{ role, content }]
  if (role === 'assistant') {
    const toolCalls = content.filter(({ type }) => type === 'tool_use').map(toToolCall)
    const parts = content.filter(({ type }) => type !== 'tool_use').map(toPart)
    return [{ role, content: parts, ...(toolCalls.length === 0 ? undefined : { toolCalls }) }]
  }
  const answers = content.filter(({ type }) => type === 'tool_result').map(toToolAnswer)
  const parts = content.filter(({ type }) => type !== 'tool_result').map(toPart)
  return parts.length === 0 ? answers : [...answers, { role, content: parts }]
}

/** `cache_control` of a block or a tool. Its default is five minutes. */
function cacheOf({ cache_control: control }: Readonly<Record<string, unknown>>): { cache?: CacheTime } {
  const { type, ttl } = (control ?? {}) as { type?: unknown; ttl?: unknown }
  return type === 'ephemeral' ? { cache: ttl === '1h' ? ttl : '5m' } : {}
}

function toToolCall(block: ContentBlock): ToolCall {
  const { id, name, input } = block
  return {
    id: String(id ?? ''),
    name: String(name ?? ''),
    arguments: requestJson(input ?? {}),
    ...cacheOf(block),
  }
}

function toToolAnswer(block: ContentBlock): Message {
  const { tool_use_id: id, content, is_error: isError } = block
  return {
    role: 'tool',
    toolCallId: String(id ?? ''),
    content: typeof content === 'string' ? content : Array.isArray(content) ? content.map(toPart) : '',
    ...(isError === true ? { isError } : undefined),
    ...cacheOf(block),
  }
}

function toPart(block: ContentBlock): ContentPart {
  const { type, text, thinking, signature, data, source } = block
  if (type === 'text' && text !== undefined) return { type: 'text', text, ...cacheOf(block) }
  if (type === 'thinking' && typeof thinking === 'string') {
    const proof = typeof signature === 'string' && signature !== '' ? { signature } : undefined
    return { type: 'reasoning', text: thinking, ...proof }
  }
  if (type === 'redacted_thinking' && typeof data === 'string') return { type: 'reasoning', text: '', redacted: data }
  if (type === 'image') {
    const { type: kind, media_type: media, data: bytes, url } = (source ?? {}) as Record<string, unknown>
    if (kind === 'base64') return { type: 'image', url: `data:${media};base64,${bytes}`, ...cacheOf(block) }
    if (kind === 'url' && typeof url === 'string') return { type: 'image', url, ...cacheOf(block) }
  }
  return { type: 'native', native: block }
}
