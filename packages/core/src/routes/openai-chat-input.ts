import { z } from 'zod'
import type {
  ContentPart,
  GenerateInput,
  Message,
  ReasoningOptions,
  ResponseFormat,
  Tool,
  ToolCall,
  ToolChoice,
} from '../inference/task.js'
import { reasoningOf } from '../providers/openai-chat.js'
import type { ChatContentPart, ChatMessage, ChatRequest, ChatToolCall, OtherToolCall } from '../wire/openai-chat.js'
import { parseWith } from '../wire/parse.js'

/** A chat request as a model's input. */
export function toGenerateInput(body: ChatRequest, raw: Readonly<Record<string, unknown>>): GenerateInput {
  return new ChatInput(body, raw)
}

/**
 * The request is put into our words only if a model looks at them: those that speak OpenAI's API take `native`, the caller's own body. What cannot be said in our words is refused there,
 * by `invalid_request`. A class, so that the getters are shared: one in an object literal makes a hidden class for every request.
 */
class ChatInput implements GenerateInput {
  declare readonly maxOutputTokens?: number
  declare readonly temperature?: number
  declare readonly topP?: number
  declare readonly stop?: readonly string[]
  declare readonly seed?: number
  declare readonly user?: string
  readonly native: NonNullable<GenerateInput['native']>
  readonly #body: ChatRequest
  #messages: readonly Message[] | undefined = undefined
  #settings: Settings | undefined = undefined

  constructor(body: ChatRequest, raw: Readonly<Record<string, unknown>>) {
    const maxOutputTokens = body.max_completion_tokens ?? body.max_tokens
    if (typeof maxOutputTokens === 'number') this.maxOutputTokens = maxOutputTokens
    if (typeof body.temperature === 'number') this.temperature = body.temperature
    if (typeof body.top_p === 'number') this.topP = body.top_p
    if (typeof body.stop === 'string') this.stop = [body.stop]
    else if (Array.isArray(body.stop)) this.stop = body.stop
    if (typeof body.seed === 'number') this.seed = body.seed
    if (body.user !== undefined) this.user = body.user
    this.native = { dialect: 'openai-chat', body: raw }
    this.#body = body
  }

  get messages(): readonly Message[] {
    this.#messages ??= this.#body.messages.map(toMessage)
    return this.#messages
  }

  get tools(): readonly Tool[] {
    return this.#bridged().tools
  }

  get toolChoice(): ToolChoice | undefined {
    return this.#bridged().toolChoice
  }

  get parallelToolCalls(): boolean | undefined {
    return this.#bridged().parallelToolCalls
  }

  get responseFormat(): ResponseFormat | undefined {
    return this.#bridged().responseFormat
  }

  get reasoning(): ReasoningOptions | undefined {
    return this.#bridged().reasoning
  }

  #bridged(): Settings {
    this.#settings ??= settingsOf(this.#body)
    return this.#settings
  }
}

interface Settings {
  readonly tools: readonly Tool[]
  readonly toolChoice: ToolChoice | undefined
  readonly parallelToolCalls: boolean | undefined
  readonly responseFormat: ResponseFormat | undefined
  readonly reasoning: ReasoningOptions | undefined
}

const schemaObject = z.record(z.string(), z.unknown())
const noOtherTools = 'the model that answers takes tools of the type function only'

/** What of a request has to be understood to be said in another API's words. */
const bridgedRequest = z.object({
  tools: z
    .array(
      z.object({
        type: z.literal('function', { error: noOtherTools }),
        function: z.object({
          name: z.string().min(1),
          description: z.string().nullish(),
          parameters: schemaObject.nullish(),
          strict: z.boolean().nullish(),
        }),
      }),
    )
    .nullish(),
  tool_choice: z
    .union(
      [
        z.enum(['auto', 'none', 'required']),
        z.object({ type: z.literal('function'), function: z.object({ name: z.string().min(1) }) }),
      ],
      { error: "must be 'auto', 'none', 'required' or a function for the model that answers" },
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
  reasoning_effort: z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max']).nullish(),
  n: z.literal(1, { error: 'must be 1 for the model that answers' }).nullish(),
})

function settingsOf(body: ChatRequest): Settings {
  const {
    tools,
    tool_choice,
    parallel_tool_calls,
    response_format: format,
    reasoning_effort,
  } = parseWith(bridgedRequest, body)
  return {
    tools: (tools ?? []).map(({ function: { name, description, parameters, strict } }) => ({
      name,
      ...(description === undefined || description === null ? undefined : { description }),
      parameters: parameters ?? { type: 'object', properties: {} },
      ...(strict === undefined || strict === null ? undefined : { strict }),
    })),
    toolChoice:
      tool_choice === undefined || tool_choice === null
        ? undefined
        : typeof tool_choice === 'string'
          ? tool_choice
          : { name: tool_choice.function.name },
    parallelToolCalls: parallel_tool_calls ?? undefined,
    responseFormat: formatOf(format ?? undefined),
    reasoning:
      reasoning_effort === undefined || reasoning_effort === null
        ? undefined
        : { effort: reasoning_effort === 'xhigh' ? 'max' : reasoning_effort },
  }
}

function formatOf(format: z.output<typeof bridgedRequest>['response_format'] | undefined): ResponseFormat | undefined {
  if (format === undefined || format === null || format.type === 'text') return undefined
  if (format.type === 'json_object') return { type: 'json' }
  const { name, schema, strict } = format.json_schema
  return {
    type: 'json-schema',
    name,
    schema: schema ?? { type: 'object' },
    ...(strict === undefined || strict === null ? undefined : { strict }),
  }
}

function toMessage({ role, content, name, tool_calls, tool_call_id, ...more }: ChatMessage): Message {
  const thoughts = role === 'assistant' ? reasoningOf(more) : []
  const parts = typeof content === 'string' ? content : (content ?? []).map(toPart)
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
  if (part.type === 'image_url' && part.image_url !== undefined) {
    const { url, detail } = part.image_url
    return detail === undefined ? { type: 'image', url } : { type: 'image', url, detail }
  }
  return { type: 'native', native: part }
}
