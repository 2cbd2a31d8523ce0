import type { ContentPart, FinishReason, GenerateInput, Message, Part, Result, ToolCall } from '../inference/task.js'
import type {
  ChatChunk,
  ChatContentPart,
  ChatFinishReason,
  ChatMessage,
  ChatRequest,
  ChatResponse,
  ChatToolCall,
  OtherToolCall,
} from '../wire/openai-chat.js'
import { usageToOpenAi } from '../wire/openai-usage.js'

/** A chat request as a model's input. */
export function toGenerateInput(body: ChatRequest, raw: Readonly<Record<string, unknown>>): GenerateInput {
  return new ChatInput(body, raw)
}

/**
 * The messages are put into our words only if a model looks at them: those that speak OpenAI's API take `native`, the caller's own body.
 * A class, so that the getter is shared: one in an object literal makes a hidden class for every request.
 */
class ChatInput implements GenerateInput {
  declare readonly maxOutputTokens?: number
  declare readonly temperature?: number
  declare readonly topP?: number
  declare readonly stop?: readonly string[]
  declare readonly seed?: number
  readonly native: NonNullable<GenerateInput['native']>
  readonly #body: ChatRequest
  #messages: readonly Message[] | undefined = undefined

  constructor(body: ChatRequest, raw: Readonly<Record<string, unknown>>) {
    const maxOutputTokens = body.max_completion_tokens ?? body.max_tokens
    if (typeof maxOutputTokens === 'number') this.maxOutputTokens = maxOutputTokens
    if (typeof body.temperature === 'number') this.temperature = body.temperature
    if (typeof body.top_p === 'number') this.topP = body.top_p
    if (typeof body.stop === 'string') this.stop = [body.stop]
    else if (Array.isArray(body.stop)) this.stop = body.stop
    if (typeof body.seed === 'number') this.seed = body.seed
    this.native = { dialect: 'openai-chat', body: raw }
    this.#body = body
  }

  get messages(): readonly Message[] {
    this.#messages ??= this.#body.messages.map(toMessage)
    return this.#messages
  }
}

function toMessage({ role, content, name, tool_calls, tool_call_id }: ChatMessage): Message {
  return {
    // `function` is the old name of the role `tool`.
    role: role === 'function' ? 'tool' : role,
    content: typeof content === 'string' ? content : (content ?? []).map(toPart),
    ...(name === undefined ? {} : { name }),
    ...(tool_call_id === undefined ? {} : { toolCallId: tool_call_id }),
    ...(tool_calls === undefined
      ? {}
      : {
          toolCalls: tool_calls.map(toToolCall),
        }),
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

const finishReasons = {
  stop: 'stop',
  length: 'length',
  'tool-calls': 'tool_calls',
  'content-filter': 'content_filter',
} as const satisfies Record<FinishReason, ChatFinishReason>

/** A whole answer in OpenAI's shape. */
export function chatResponse(requestId: string, model: string, { output, usage }: Result<'generate'>): ChatResponse {
  const { text, toolCalls, finishReason } = output
  return {
    id: `chatcmpl-${requestId}`,
    object: 'chat.completion',
    created: Math.floor(Date.now() / 1000),
    model,
    choices: [
      {
        index: 0,
        message: {
          role: 'assistant',
          content: text === '' && toolCalls.length > 0 ? null : text,
          refusal: null,
          ...(toolCalls.length === 0
            ? {}
            : {
                tool_calls: toolCalls.map((call) => ({
                  id: call.id,
                  type: 'function' as const,
                  function: { name: call.name, arguments: call.arguments },
                })),
              }),
        },
        logprobs: null,
        finish_reason: finishReasons[finishReason],
      },
    ],
    usage: usageToOpenAi(usage),
  }
}

type TypedPart = Exclude<Part<'generate'>, { type: 'native' }>
type Delta = ChatChunk['choices'][number]['delta']

/**
 * Parts of an answer as OpenAI's events. With `includeUsage` every event carries `usage: null` but the last, which has no choices and the
 * counts; without it none has the key.
 */
export function chatChunks(requestId: string, model: string, includeUsage: boolean): (part: TypedPart) => string {
  const id = `chatcmpl-${requestId}`
  const created = Math.floor(Date.now() / 1000)
  let begun = false
  const named = new Set<number>()

  const event = (choices: ChatChunk['choices'], usage: ChatChunk['usage']): string => {
    const chunk: ChatChunk = { id, object: 'chat.completion.chunk', created, model, choices }
    if (includeUsage) chunk.usage = usage ?? null
    return `data: ${JSON.stringify(chunk)}\n\n`
  }
  const delta = (change: Delta, reason: ChatFinishReason | null = null): string => {
    const choice = (each: Delta, finish_reason: ChatFinishReason | null) => [
      { index: 0, delta: each, logprobs: null, finish_reason },
    ]
    const opening = begun ? '' : event(choice({ role: 'assistant', content: '' }, null), null)
    begun = true
    return opening + event(choice(change, reason), null)
  }

  return (part) => {
    if (part.type === 'text') return part.text === '' ? '' : delta({ content: part.text })
    if (part.type === 'end') {
      const last = delta({}, finishReasons[part.finishReason])
      return includeUsage ? last + event([], usageToOpenAi(part.usage)) : last
    }
    const { index, arguments: json } = part
    // OpenAI's SDK wants id, type and name in the first fragment of a call, and in no other.
    if (named.has(index)) return delta({ tool_calls: [{ index, function: { arguments: json } }] })
    named.add(index)
    const called = { name: part.name ?? '', arguments: json }
    return delta({
      tool_calls: [{ index, id: part.id ?? `call_${requestId}_${index}`, type: 'function', function: called }],
    })
  }
}
