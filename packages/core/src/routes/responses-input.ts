import { z } from 'zod'
import type { ContentPart, GenerateInput, Message, NativeRequest, ReasoningPart, ToolCall } from '../inference/task.js'
import { requestJson } from '../providers/request-json.js'
import type { ResponsesItem, ResponsesRequest } from '../wire/openai-responses.js'
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

/** A request of the Responses API as a model's input. `native`: as an upstream that speaks it may get it. */
export function fromResponsesRequest(body: ResponsesRequest, native: Omit<NativeRequest, 'dialect'>): GenerateInput {
  return new ResponsesInput(body, native)
}

class ResponsesInput extends BridgedInput<ResponsesRequest> {
  constructor(body: ResponsesRequest, native: Omit<NativeRequest, 'dialect'>) {
    super(body, { ...native, dialect: 'openai-responses' })
    if (typeof body.max_output_tokens === 'number') this.maxOutputTokens = body.max_output_tokens
    if (typeof body.temperature === 'number') this.temperature = body.temperature
    if (typeof body.top_p === 'number') this.topP = body.top_p
    if (body.user !== undefined) this.user = body.user
  }

  protected messagesOf(body: ResponsesRequest) {
    return messagesOf(body)
  }

  protected settingsOf(body: ResponsesRequest) {
    return settingsOf(body)
  }
}

const unstored = 'cannot be had from the model that answers: nothing is stored there. Send the whole conversation'

/** What of a request has to be understood to be said in another API's words. */
const bridgedRequest = z.object({
  tools: z.array(z.object({ type: functionType, ...functionFields })).nullish(),
  tool_choice: z
    .union([z.enum(['auto', 'none', 'required']), z.object({ type: z.literal('function'), name: z.string().min(1) })], {
      error: toolChoiceError,
    })
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  text: z
    .object({
      format: z
        .union([
          z.object({ type: z.literal('text') }),
          z.object({ type: z.literal('json_object') }),
          z.object({
            type: z.literal('json_schema'),
            name: z.string().min(1),
            schema: schemaObject,
            strict: z.boolean().nullish(),
          }),
        ])
        .nullish(),
    })
    .nullish(),
  reasoning: z.object({ effort: effort.nullish() }).nullish(),
  previous_response_id: z.null({ error: unstored }).optional(),
  conversation: z.null({ error: unstored }).optional(),
  prompt: z.null({ error: unstored }).optional(),
  background: z.literal(false, { error: 'must be false for the model that answers' }).nullish(),
})

/** Objects of a request that the answer repeats as they came. */
const toldBack = ['metadata', 'reasoning', 'text', 'tool_choice', 'tools'] as const

function settingsOf(body: ResponsesRequest): BridgedSettings {
  const { tools, tool_choice: choice, parallel_tool_calls, text, reasoning } = parseWith(bridgedRequest, body)
  // The answer says them again: what could not be written there is not asked for.
  requestJson(toldBack.map((field) => body[field]))
  return {
    tools: (tools ?? []).map(toTool),
    toolChoice: typeof choice === 'object' && choice !== null ? { name: choice.name } : (choice ?? undefined),
    parallelToolCalls: parallel_tool_calls ?? undefined,
    responseFormat: toFormat(text?.format),
    reasoning: toReasoning(reasoning?.effort),
  }
}

/** Items as messages: thoughts, words and calls of one turn of the model's are one. */
function messagesOf({ input, instructions }: ResponsesRequest): Message[] {
  const messages: Message[] = []
  if (typeof instructions === 'string') messages.push({ role: 'system', content: instructions })
  if (typeof input === 'string') return [...messages, { role: 'user', content: input }]
  let turn: { content: ContentPart[]; toolCalls: ToolCall[] } | undefined
  const end = () => {
    if (turn === undefined) return
    const { content, toolCalls } = turn
    messages.push({ role: 'assistant', content, ...(toolCalls.length === 0 ? undefined : { toolCalls }) })
    turn = undefined
  }
  const ofModel = () => {
    turn ??= { content: [], toolCalls: [] }
    return turn
  }
  input.forEach((item, index) => {
    const { type = 'message', role } = item
    if (isThoughtById(item)) return
    if (type === 'function_call') {
      const { call_id: id, name, arguments: json } = item
      ofModel().toolCalls.push({ id: String(id), name: String(name), arguments: String(json ?? '{}') })
    } else if (type === 'reasoning') ofModel().content.push(...thoughtsOf(item))
    else if (type === 'message' && role === 'assistant') {
      // Words after calls begin another turn.
      if ((turn?.toolCalls.length ?? 0) > 0) end()
      ofModel().content.push(...partsOf(item.content))
    } else {
      end()
      messages.push(otherMessage(item, type, index))
    }
  })
  end()
  return messages
}

/** A thought that is named by its id alone means nothing to a model of another vendor, which answers without. */
function isThoughtById({ type, id }: ResponsesItem): boolean {
  return type === 'item_reference' && typeof id === 'string' && id.startsWith('rs_')
}

function otherMessage(item: ResponsesItem, type: string, index: number): Message {
  const { role, content, call_id: id, output } = item
  if (type === 'function_call_output') {
    return {
      role: 'tool',
      toolCallId: String(id),
      content: typeof output === 'string' ? output : partsOf(output),
    }
  }
  if (type === 'message' && (role === 'user' || role === 'system' || role === 'developer')) {
    return { role, content: typeof content === 'string' ? content : partsOf(content) }
  }
  // Counted as nothing, and refused where it would have to be said.
  return { role: 'user', content: [{ type: 'native', native: { ...item, type: `${type} (input[${index}])` } }] }
}

function partsOf(content: unknown): ContentPart[] {
  if (typeof content === 'string') return content === '' ? [] : [{ type: 'text', text: content }]
  if (!Array.isArray(content)) return []
  return content.map((part: Record<string, unknown> | null): ContentPart => {
    const { type, text, refusal, image_url: url, detail } = part ?? {}
    if ((type === 'input_text' || type === 'output_text') && typeof text === 'string') return { type: 'text', text }
    if (type === 'refusal' && typeof refusal === 'string') return { type: 'text', text: refusal }
    if (type === 'input_image' && typeof url === 'string') {
      return { type: 'image', url, ...(typeof detail === 'string' ? { detail } : undefined) }
    }
    return { type: 'native', native: part }
  })
}

/** What `reasoningItem` of the answer wrote. */
function thoughtsOf({ summary, encrypted_content: proof }: ResponsesItem): ReasoningPart[] {
  const text = (Array.isArray(summary) ? summary : [])
    .map((part: { text?: unknown } | null) => (typeof part?.text === 'string' ? part.text : ''))
    .join('')
  if (typeof proof !== 'string') return text === '' ? [] : [{ type: 'reasoning', text }]
  if (proof.startsWith(redactedMark))
    return [{ type: 'reasoning', text: '', redacted: proof.slice(redactedMark.length) }]
  if (proof.startsWith(signatureMark)) {
    return [{ type: 'reasoning', text, signature: proof.slice(signatureMark.length) }]
  }
  // Of a model of OpenAI's: it proves nothing to another.
  return text === '' ? [] : [{ type: 'reasoning', text }]
}

/** What is proven of a thought goes through `encrypted_content` with these before it. */
export const signatureMark = 'signature:'
export const redactedMark = 'redacted:'
