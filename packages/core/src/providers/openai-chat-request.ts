import type { ContentPart, GenerateInput, Message, ReasoningOptions, ToolChoice } from '../inference/task.js'
import { shortCallId, unsaidPart } from './bridged-request.js'

type Json = Record<string, unknown>

/** In which field an upstream wants the most tokens to write. */
export type MaxTokensField = 'max_tokens' | 'max_completion_tokens'

/** How an upstream differs from OpenAI. */
export interface OpenAiChatOptions {
  readonly maxTokensField: MaxTokensField
  /** Does it know `stream_options.include_usage`? One that always tells refuses it. */
  readonly asksForUsage: boolean
}

/**
 * The body of a chat request. A caller's own body goes on as it is, but for the model's name and the streaming; else it is built.
 *
 * `include_usage` is asked for in a stream unless `asksForUsage` is false: without it there would be nothing to bill by.
 */
export function chatBody(
  input: GenerateInput,
  model: string,
  stream: boolean,
  { maxTokensField, asksForUsage }: OpenAiChatOptions,
): Json {
  const { native } = input
  const body: Json = native?.dialect === 'openai-chat' ? { ...native.body } : built(input, maxTokensField)
  body['model'] = model
  if (stream) {
    body['stream'] = true
    if (asksForUsage) {
      body['stream_options'] = { ...(body['stream_options'] as object | null | undefined), include_usage: true }
    }
  } else if (body['stream'] === true) {
    delete body['stream']
    delete body['stream_options']
  }
  return body
}

function built(input: GenerateInput, maxTokensField: MaxTokensField): Json {
  const { maxOutputTokens, temperature, topP, stop, seed, user, tools, toolChoice, parallelToolCalls } = input
  const { responseFormat: format, reasoning } = input
  const effort = reasoning === undefined ? undefined : effortOf(reasoning)
  const hasTools = tools !== undefined && tools.length > 0
  return {
    messages: messagesOf(input),
    ...(hasTools ? { tools: tools.map(toTool) } : undefined),
    ...(hasTools && toolChoice !== undefined ? { tool_choice: choiceOf(toolChoice) } : undefined),
    ...(hasTools && parallelToolCalls !== undefined ? { parallel_tool_calls: parallelToolCalls } : undefined),
    ...(format === undefined ? undefined : { response_format: formatOf(format) }),
    ...(effort === undefined ? undefined : { reasoning_effort: effort }),
    ...(maxOutputTokens === undefined ? undefined : { [maxTokensField]: maxOutputTokens }),
    ...(temperature === undefined ? undefined : { temperature }),
    ...(topP === undefined ? undefined : { top_p: topP }),
    ...(stop === undefined ? undefined : { stop }),
    ...(seed === undefined ? undefined : { seed }),
    ...(user === undefined ? undefined : { user }),
  }
}

/** OpenAI has efforts and no budgets: a budget is the effort that comes nearest. */
export function effortOf({ effort, maxTokens }: ReasoningOptions): Exclude<ReasoningOptions['effort'], 'max'> {
  if (effort !== undefined) return effort === 'max' ? 'high' : effort
  if (maxTokens === undefined) return undefined
  if (maxTokens <= 2_048) return 'low'
  return maxTokens <= 12_288 ? 'medium' : 'high'
}

function toTool({ name, description, parameters, strict }: NonNullable<GenerateInput['tools']>[number]) {
  return {
    type: 'function',
    function: {
      name,
      ...(description === undefined ? undefined : { description }),
      parameters,
      ...(strict === undefined ? undefined : { strict }),
    },
  }
}

function choiceOf(choice: ToolChoice): unknown {
  return typeof choice === 'string' ? choice : { type: 'function', function: { name: choice.name } }
}

function formatOf(format: NonNullable<GenerateInput['responseFormat']>): unknown {
  if (format.type === 'json') return { type: 'json_object' }
  const { name, schema, strict } = format
  return { type: 'json_schema', json_schema: { name, schema, ...(strict === undefined ? undefined : { strict }) } }
}

/** A tool's answer is text in this API, and all answers of a turn follow the calls: their pictures come after the last, as a message of the user's. */
function messagesOf({ messages, native }: GenerateInput): Json[] {
  const made: Json[] = []
  let pictures: ContentPart[] = []
  const show = () => {
    if (pictures.length > 0) made.push(toMessage({ role: 'user', content: pictures }, pictures))
    pictures = []
  }
  messages.forEach((message, index) => {
    const { content, role } = message
    if (role !== 'tool') show()
    if (typeof content === 'string') {
      made.push(toMessage(message, content))
      return
    }
    // The caller spoke another API: what is its own there means nothing here.
    const foreign = native === undefined ? undefined : content.find(({ type }) => type === 'native')
    if (foreign?.type === 'native') throw unsaidPart(foreign.native, index)
    const isPicture = ({ type }: ContentPart) => role === 'tool' && type === 'image'
    pictures.push(...content.filter(isPicture))
    made.push(
      toMessage(
        message,
        content.filter((part) => !isPicture(part)),
      ),
    )
  })
  show()
  return made
}

function toMessage({ role, name, toolCalls, toolCallId }: Message, content: string | readonly ContentPart[]): Json {
  // Thoughts are for the model that had them, which is none of this API.
  const parts = typeof content === 'string' ? content : content.filter(({ type }) => type !== 'reasoning')
  const hasCalls = toolCalls !== undefined && toolCalls.length > 0
  return {
    role,
    content: typeof parts === 'string' ? parts : parts.length === 0 ? (hasCalls ? null : '') : parts.map(toPart),
    ...(name === undefined ? undefined : { name }),
    ...(toolCallId === undefined ? undefined : { tool_call_id: callId(toolCallId) }),
    ...(hasCalls
      ? {
          tool_calls: toolCalls.map((call) => ({
            id: callId(call.id),
            type: 'function',
            function: { name: call.name, arguments: call.arguments },
          })),
        }
      : undefined),
  }
}

/** This API takes 40 characters. */
function callId(id: string): string {
  return id.length > 40 ? shortCallId(id) : id
}

function toPart(part: ContentPart): unknown {
  if (part.type === 'text') return { type: 'text', text: part.text }
  if (part.type === 'native') return part.native
  if (part.type === 'reasoning') return { type: 'text', text: part.text }
  const { url, detail } = part
  return { type: 'image_url', image_url: detail === undefined ? { url } : { url, detail } }
}
