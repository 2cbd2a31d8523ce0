import { z } from 'zod'
import type { ContentPart, GenerateInput, Message, ToolCall } from '../inference/task.js'
import { reasoningOf } from '../providers/openai-chat.js'
import type { ChatContentPart, ChatMessage, ChatRequest, ChatToolCall, OtherToolCall } from '../wire/openai-chat.js'
import { parseWith } from '../wire/parse.js'
import {
  BridgedInput,
  type BridgedSettings,
  effort,
  functionFields,
  functionType,
  schemaObject,
  toFormat,
  toolChoiceError,
  toReasoning,
  toTool,
} from './bridged-input.js'

/** A chat request as a model's input. */
export function toGenerateInput(body: ChatRequest, raw: Readonly<Record<string, unknown>>): GenerateInput {
  return new ChatInput(body, raw)
}

class ChatInput extends BridgedInput<ChatRequest> {
  constructor(body: ChatRequest, raw: Readonly<Record<string, unknown>>) {
    super(body, { dialect: 'openai-chat', body: raw })
    const maxOutputTokens = body.max_completion_tokens ?? body.max_tokens
    if (typeof maxOutputTokens === 'number') this.maxOutputTokens = maxOutputTokens
    if (typeof body.temperature === 'number') this.temperature = body.temperature
    if (typeof body.top_p === 'number') this.topP = body.top_p
    if (typeof body.stop === 'string') this.stop = [body.stop]
    else if (Array.isArray(body.stop)) this.stop = body.stop
    if (typeof body.seed === 'number') this.seed = body.seed
    if (body.user !== undefined) this.user = body.user
  }

  protected messagesOf({ messages }: ChatRequest) {
    return messages.map(toMessage)
  }

  protected settingsOf(body: ChatRequest) {
    return settingsOf(body)
  }
}

/** What of a request has to be understood to be said in another API's words. */
const bridgedRequest = z.object({
  tools: z.array(z.object({ type: functionType, function: z.object(functionFields) })).nullish(),
  tool_choice: z
    .union(
      [
        z.enum(['auto', 'none', 'required']),
        z.object({ type: z.literal('function'), function: z.object({ name: z.string().min(1) }) }),
      ],
      { error: toolChoiceError },
    )
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  response_format: z
    .union([
      z.object({ type: z.literal('text') }),
      z.object({ type: z.literal('json_object') }),
      z.object({
        type: z.literal('json_schema'),
        json_schema: z.object({
          name: z.string().min(1),
          schema: schemaObject.nullish(),
          strict: z.boolean().nullish(),
        }),
      }),
    ])
    .nullish(),
  reasoning_effort: effort.nullish(),
  n: z.literal(1, { error: 'must be 1 for the model that answers' }).nullish(),
  functions: z.null({ error: 'is the old name of `tools`, which the model that answers takes' }).optional(),
  modalities: z.array(z.literal('text', { error: 'must be text for the model that answers' })).nullish(),
  web_search_options: z.null({ error: "is OpenAI's own tool, which the model that answers does not have" }).optional(),
})

function settingsOf(body: ChatRequest): BridgedSettings {
  const {
    tools,
    tool_choice: choice,
    parallel_tool_calls,
    response_format: format,
    reasoning_effort,
  } = parseWith(bridgedRequest, body)
  return {
    tools: (tools ?? []).map((tool) => toTool(tool.function)),
    toolChoice: typeof choice === 'object' && choice !== null ? { name: choice.function.name } : (choice ?? undefined),
    parallelToolCalls: parallel_tool_calls ?? undefined,
    responseFormat: toFormat(format?.type === 'json_schema' ? { ...format.json_schema, type: format.type } : format),
    reasoning: toReasoning(reasoning_effort),
  }
}

function toMessage({ role, content, name, tool_calls, tool_call_id, ...more }: ChatMessage): Message {
  const thoughts = role === 'assistant' ? reasoningOf(more) : []
  const { refusal } = more
  const said = content === '' || content === null ? (typeof refusal === 'string' ? refusal : content) : content
  const parts = typeof said === 'string' ? said : (said ?? []).map(toPart)
  return {
    // `function` is the old name of the role `tool`.
    role: role === 'function' ? 'tool' : role,
    content:
      thoughts.length === 0
        ? parts
        : [...thoughts, ...(typeof parts === 'string' ? [{ type: 'text' as const, text: parts }] : parts)],
    ...(name === undefined ? undefined : { name }),
    ...(tool_call_id === undefined ? undefined : { toolCallId: tool_call_id }),
    ...(tool_calls === undefined ? undefined : { toolCalls: tool_calls.map(toToolCall) }),
  }
}

function toToolCall(call: ChatToolCall | OtherToolCall): ToolCall {
  if (isFunctionCall(call)) return { id: call.id, name: call.function.name, arguments: call.function.arguments }
  // A tool of another kind has its words under its own name: `custom: { name, input }`.
  const own = call[call.type] as { name?: unknown; input?: unknown } | undefined
  return { id: call.id, name: String(own?.name ?? call.type), arguments: String(own?.input ?? '') }
}

function isFunctionCall(call: ChatToolCall | OtherToolCall): call is ChatToolCall {
  return call.type === 'function'
}

function toPart(part: ChatContentPart): ContentPart {
  if (part.type === 'text' && part.text !== undefined) return { type: 'text', text: part.text }
  if (part.type === 'refusal' && typeof part['refusal'] === 'string') return { type: 'text', text: part['refusal'] }
  if (part.type === 'image_url' && part.image_url !== undefined) {
    const { url, detail } = part.image_url
    return detail === undefined ? { type: 'image', url } : { type: 'image', url, detail }
  }
  return { type: 'native', native: part }
}
