import type { ChatChunk, ChatResponse, ChatToolCall } from '@tollgate/core/wire/openai-chat'
import { StreamError } from './errors.js'

type Choice = ChatResponse['choices'][number]
type Delta = ChatChunk['choices'][number]['delta']

interface OpenChoice {
  content: string | null
  refusal: string | null
  readonly toolCalls: Map<number, ChatToolCall>
  finishReason: Choice['finish_reason'] | null
}

export interface ChatAssembly {
  add(chunk: ChatChunk): void
  /** The text of the first choice so far. */
  readonly text: string
  /** What the chunks add up to. Throws {@link StreamError} if a choice was never finished. */
  response(requestId: string | undefined): ChatResponse
}

/** Puts the chunks of a chat stream together: texts joined, tool calls by their index, choices by theirs, the last usage. */
export function createChatAssembly(): ChatAssembly {
  const choices = new Map<number, OpenChoice>()
  let first: ChatChunk | undefined
  let usage: ChatResponse['usage']

  return {
    get text() {
      return choices.get(0)?.content ?? ''
    },
    add(chunk) {
      first ??= chunk
      if (chunk.usage) usage = chunk.usage
      for (const { index, delta, finish_reason } of chunk.choices) {
        let choice = choices.get(index)
        if (choice === undefined) {
          choice = { content: null, refusal: null, toolCalls: new Map(), finishReason: null }
          choices.set(index, choice)
        }
        if (delta) addDelta(choice, delta)
        choice.finishReason = finish_reason ?? choice.finishReason
      }
    },
    response(requestId) {
      if (first === undefined || choices.size === 0) throw unfinished('The stream had no choices.', requestId)
      return {
        id: first.id,
        object: 'chat.completion',
        created: first.created,
        model: first.model,
        choices: [...choices]
          .sort(([one], [other]) => one - other)
          .map(([index, open]) => closed(index, open, requestId)),
        ...(usage === undefined ? {} : { usage }),
      }
    },
  }
}

function addDelta(choice: OpenChoice, delta: Delta): void {
  if (typeof delta.content === 'string') choice.content = (choice.content ?? '') + delta.content
  if (typeof delta.refusal === 'string') choice.refusal = (choice.refusal ?? '') + delta.refusal
  for (const piece of delta.tool_calls ?? []) {
    const call = choice.toolCalls.get(piece.index)
    // The first piece names the call; later ones carry only more of its arguments.
    const { id = '', function: { name = '', arguments: text = '' } = {} } = piece
    if (call === undefined)
      choice.toolCalls.set(piece.index, { id, type: 'function', function: { name, arguments: text } })
    else {
      call.id ||= id
      call.function.name ||= name
      call.function.arguments += text
    }
  }
}

function closed(
  index: number,
  { content, refusal, toolCalls, finishReason }: OpenChoice,
  requestId: string | undefined,
): Choice {
  if (finishReason === null)
    throw unfinished(`The stream ended without a finish_reason for choice ${index}.`, requestId)
  const calls = [...toolCalls].sort(([one], [other]) => one - other).map(([, call]) => call)
  return {
    index,
    message: {
      role: 'assistant',
      content,
      ...(refusal === null ? {} : { refusal }),
      ...(calls.length === 0 ? {} : { tool_calls: calls }),
    },
    finish_reason: finishReason,
  }
}

function unfinished(message: string, requestId: string | undefined): StreamError {
  return new StreamError('truncated', 'stream_truncated', message, true, { requestId })
}
