import type { FinishReason, ReasoningPart, Result } from '../inference/task.js'
import { reasoningFields } from '../providers/openai-chat.js'
import type { ChatChunk, ChatFinishReason, ChatResponse } from '../wire/openai-chat.js'
import { usageToOpenAi } from '../wire/openai-usage.js'
import type { EncodePart } from './send-stream.js'

const finishReasons = {
  stop: 'stop',
  length: 'length',
  'tool-calls': 'tool_calls',
  'content-filter': 'content_filter',
} as const satisfies Record<FinishReason, ChatFinishReason>

/** A whole answer in OpenAI's shape. */
export function chatResponse(requestId: string, model: string, { output, usage }: Result<'generate'>): ChatResponse {
  const { text, toolCalls, finishReason, reasoning = [] } = output
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
          ...reasoningFields(reasoning),
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

type Delta = ChatChunk['choices'][number]['delta']

/**
 * Parts of an answer as OpenAI's events. With `includeUsage` every event carries `usage: null` but the last, which has no choices and the
 * counts; without it none has the key.
 */
export function chatChunks(requestId: string, model: string, includeUsage: boolean): EncodePart {
  const id = `chatcmpl-${requestId}`
  const created = Math.floor(Date.now() / 1000)
  let begun = false
  const named = new Set<number>()
  /** Of the thought that is being written: pieces of one have one index. */
  let thoughts = 0
  const thought = (part: ReasoningPart): Delta => {
    const { text, signature, redacted } = part
    if (signature === undefined && redacted === undefined) return { reasoning_content: text }
    const [detail] = reasoningFields([part])['reasoning_details'] as object[]
    const index = thoughts
    thoughts += 1
    return { ...(text === '' ? undefined : { reasoning_content: text }), reasoning_details: [{ ...detail, index }] }
  }

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
    if (part.type === 'reasoning') return delta(thought(part))
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
