import { TollgateError } from '../errors.js'
import type { FinishReason, GenerateInput, GenerateOutput, Message, ToolCall } from '../inference/task.js'

/** In which field an upstream wants the most tokens to write. */
export type MaxTokensField = 'max_tokens' | 'max_completion_tokens'

/** What is read of an answer. Everything in it is the upstream's word, so nothing is taken for granted. */
interface ChatAnswer {
  choices?: Array<{
    message?: { content?: unknown; refusal?: unknown; tool_calls?: unknown } | null
    finish_reason?: unknown
  } | null>
}

/**
 * The body of a chat request. A caller's own body goes on as it is, but for the model's name and the streaming; else it is built.
 *
 * `include_usage` is always asked for in a stream: without it there would be nothing to bill by.
 */
export function chatBody(
  input: GenerateInput,
  model: string,
  stream: boolean,
  maxTokensField: MaxTokensField,
): Record<string, unknown> {
  const body: Record<string, unknown> =
    input.native === undefined ? built(input, maxTokensField) : { ...input.native.body }
  body['model'] = model
  if (stream) {
    body['stream'] = true
    body['stream_options'] = { ...(body['stream_options'] as object | null | undefined), include_usage: true }
  } else if (body['stream'] === true) {
    delete body['stream']
    delete body['stream_options']
  }
  return body
}

function built(input: GenerateInput, maxTokensField: MaxTokensField): Record<string, unknown> {
  const { maxOutputTokens, temperature, topP, stop, seed } = input
  return {
    messages: input.messages.map(toMessage),
    ...(maxOutputTokens === undefined ? {} : { [maxTokensField]: maxOutputTokens }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP === undefined ? {} : { top_p: topP }),
    ...(stop === undefined ? {} : { stop }),
    ...(seed === undefined ? {} : { seed }),
  }
}

function toMessage({ role, content, name, toolCalls, toolCallId }: Message): Record<string, unknown> {
  return {
    role,
    content:
      typeof content === 'string'
        ? content
        : content.map((part) => {
            if (part.type === 'text') return { type: 'text', text: part.text }
            if (part.type === 'native') return part.native
            const { url, detail } = part
            return { type: 'image_url', image_url: detail === undefined ? { url } : { url, detail } }
          }),
    ...(name === undefined ? {} : { name }),
    ...(toolCallId === undefined ? {} : { tool_call_id: toolCallId }),
    ...(toolCalls === undefined
      ? {}
      : {
          tool_calls: toolCalls.map((call) => ({
            id: call.id,
            type: 'function',
            function: { name: call.name, arguments: call.arguments },
          })),
        }),
  }
}

/** @throws TollgateError `upstream_invalid` if there is no choice in it */
export function fromChatAnswer(upstream: string, answer: unknown): Omit<GenerateOutput, 'native'> {
  const { choices } = answer as ChatAnswer
  const first = Array.isArray(choices) ? choices[0] : undefined
  if (typeof first?.message !== 'object' || first.message === null) {
    throw new TollgateError('upstream_invalid', `The answer of the upstream ${upstream} holds no choices.`)
  }
  const { content, refusal, tool_calls: calls } = first.message
  return {
    text: typeof content === 'string' ? content : typeof refusal === 'string' ? refusal : '',
    toolCalls: Array.isArray(calls) ? calls.flatMap(toToolCall) : [],
    finishReason: finishReason(first.finish_reason),
  }
}

function toToolCall(call: unknown): ToolCall[] {
  const { id, function: called } = (call ?? {}) as { id?: unknown; function?: { name?: unknown; arguments?: unknown } }
  if (typeof called?.name !== 'string') return []
  const json = typeof called.arguments === 'string' ? called.arguments : '{}'
  return [{ id: typeof id === 'string' ? id : '', name: called.name, arguments: json }]
}

const writtenFields = ['content', 'refusal', 'reasoning_content', 'reasoning'] as const

/** All that a model wrote in one message, or one event's part of it: texts, names and arguments of calls. For counting. */
export function writtenInMessage(message: unknown): string {
  const fields = (message ?? {}) as Record<string, unknown>
  let text = ''
  for (const field of writtenFields) {
    const piece = fields[field]
    if (typeof piece === 'string') text += piece
  }
  const { tool_calls: calls } = fields
  for (const call of Array.isArray(calls) ? calls : []) {
    const { function: called } = (call ?? {}) as { function?: { name?: unknown; arguments?: unknown } | null }
    if (typeof called?.name === 'string') text += called.name
    if (typeof called?.arguments === 'string') text += called.arguments
  }
  return text
}

/** What was written in each choice of an answer: all of them are paid for, also those that {@link fromChatAnswer} leaves out. */
export function writtenInChoices(answer: unknown): string[] {
  const { choices } = answer as ChatAnswer
  return Array.isArray(choices) ? choices.map((choice) => writtenInMessage(choice?.message)) : []
}

/** OpenAI's word for why an answer ended as ours. A word that is not known is a `stop`: the answer is whole. */
export function finishReason(word: unknown): FinishReason {
  if (word === 'length') return 'length'
  if (word === 'content_filter') return 'content-filter'
  return word === 'tool_calls' || word === 'function_call' ? 'tool-calls' : 'stop'
}
