import { TollgateError } from '../errors.js'
import type { FinishReason, GenerateOutput, ReasoningPart, ToolCall } from '../inference/task.js'

/** What is read of an answer. Everything in it is the upstream's word, so nothing is taken for granted. */
interface ChatAnswer {
  choices?: Array<{
    message?: Record<string, unknown> | null
    finish_reason?: unknown
  } | null>
}

/** The first choice of an answer. @throws TollgateError `upstream_invalid` if there is no choice in it, `upstream_failed` if it ended by an error */
export function fromChatAnswer(upstream: string, answer: unknown): Omit<GenerateOutput, 'native'> {
  const { choices } = answer as ChatAnswer
  const first = Array.isArray(choices) ? choices[0] : undefined
  if (typeof first?.message !== 'object' || first.message === null) {
    throw new TollgateError('upstream_invalid', `The answer of the upstream ${upstream} holds no choices.`)
  }
  if (first.finish_reason === 'error') {
    throw new TollgateError('upstream_failed', `The upstream ${upstream} broke off with an error.`)
  }
  const { content, refusal, tool_calls: calls } = first.message
  const reasoning = reasoningOf(first.message)
  return {
    text: typeof content === 'string' ? content : typeof refusal === 'string' ? refusal : '',
    ...(reasoning.length === 0 ? undefined : { reasoning }),
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

/** The names that servers have for what a model thought; the first that is there counts. */
const thoughtFields = ['reasoning_content', 'reasoning'] as const

/** What a message, or an event's part of it, has of thoughts: `reasoning_details` as OpenRouter has them, which keep signatures, or their text alone. */
export function reasoningOf(message: Readonly<Record<string, unknown>>): ReasoningPart[] {
  const details = message['reasoning_details']
  if (Array.isArray(details) && details.length > 0) return details.flatMap(toReasoning)
  for (const field of thoughtFields) {
    const text = message[field]
    if (typeof text === 'string' && text !== '') return [{ type: 'reasoning', text }]
  }
  return []
}

function toReasoning(detail: unknown): ReasoningPart[] {
  const { type, text, summary, signature, data } = (detail ?? {}) as Record<string, unknown>
  if (type === 'reasoning.encrypted') {
    return typeof data === 'string' ? [{ type: 'reasoning', text: '', redacted: data }] : []
  }
  const thought = typeof text === 'string' ? text : typeof summary === 'string' ? summary : ''
  const proof = typeof signature === 'string' && signature !== '' ? { signature } : undefined
  return thought === '' && proof === undefined ? [] : [{ type: 'reasoning', text: thought, ...proof }]
}

/** Thoughts as a message has them: their text, and in `reasoning_details` what proves it. */
export function reasoningFields(parts: readonly ReasoningPart[]): Record<string, unknown> {
  const text = parts.map((part) => part.text).join('')
  const details = parts.map((part, index) =>
    part.redacted === undefined
      ? {
          type: 'reasoning.text',
          index,
          text: part.text,
          ...(part.signature === undefined ? undefined : { signature: part.signature }),
        }
      : { type: 'reasoning.encrypted', index, data: part.redacted },
  )
  const isProven = parts.some(({ signature, redacted }) => (signature ?? redacted) !== undefined)
  return {
    ...(text === '' ? undefined : { reasoning_content: text }),
    ...(isProven ? { reasoning_details: details } : undefined),
  }
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
