import { TollgateError } from '../errors.js'
import type { FinishReason, GenerateOutput, ReasoningPart, Result, ToolCall } from '../inference/task.js'
import type { ContentBlock, MessageResponse, StopReason } from '../wire/anthropic-messages.js'
import { usageToAnthropic } from '../wire/anthropic-usage.js'
import { type ObjectEnd, objectEnd } from './object-end.js'
import type { EncodePart, TypedPart } from './send-stream.js'

const stopReasons = {
  stop: 'end_turn',
  length: 'max_tokens',
  'tool-calls': 'tool_use',
  'content-filter': 'refusal',
} as const satisfies Record<FinishReason, StopReason>

function stopOf({ finishReason, stopSequence }: Pick<GenerateOutput, 'finishReason' | 'stopSequence'>) {
  return {
    stop_reason: stopSequence === undefined ? stopReasons[finishReason] : ('stop_sequence' as const),
    stop_sequence: stopSequence ?? null,
  }
}

/**
 * A whole answer in Anthropic's shape: thoughts, text, calls of tools.
 *
 * @throws TollgateError `upstream_invalid` for arguments of a call that are no JSON object, unless the answer was cut at its bound
 */
export function messageResponse(
  requestId: string,
  model: string,
  { output, usage }: Result<'generate'>,
): MessageResponse {
  const { text, toolCalls, reasoning = [] } = output
  return {
    id: `msg_${requestId}`,
    type: 'message',
    role: 'assistant',
    model,
    content: [
      ...reasoning.map(thinkingBlock),
      ...(text === '' ? [] : [{ type: 'text', text, citations: null }]),
      ...toolCalls.map((call) => toolUse(call, output.finishReason)),
    ],
    ...stopOf(output),
    usage: usageToAnthropic(usage),
  }
}

/** A thought of a model that signs nothing has an empty signature: this API wants one. */
function thinkingBlock({ text, signature = '', redacted }: ReasoningPart): ContentBlock {
  return redacted === undefined
    ? { type: 'thinking', thinking: text, signature }
    : { type: 'redacted_thinking', data: redacted }
}

function toolUse({ id, name, arguments: json }: ToolCall, reason: FinishReason): ContentBlock {
  let input: unknown
  try {
    input = JSON.parse(json === '' ? '{}' : json)
    // What is nested too deeply can be read, and not be written again.
    JSON.stringify(input)
  } catch {
    input = undefined
  }
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    if (reason !== 'length') {
      throw new TollgateError('upstream_invalid', `The model called ${name} with arguments that are no JSON object.`)
    }
    input = {}
  }
  return { type: 'tool_use', id, name, input }
}

type TextPart = Extract<TypedPart, { type: 'text' | 'reasoning' }>
type CallPart = Extract<TypedPart, { type: 'tool-call' }>

/**
 * Parts of an answer as Anthropic's events: one `message_start`; blocks one after the other with ascending indices, each begun, filled by deltas of its kind and stopped before the next begins;
 * `message_delta`; `message_stop`. Other APIs let calls of tools come interleaved: while the call that is being written is not whole, what comes of others waits.
 *
 * @throws TollgateError `upstream_invalid` if a call goes on that was whole
 */
export function messageEvents(requestId: string, model: string): EncodePart {
  let begun = false
  let index = -1
  let open: 'text' | 'thinking' | 'tool_use' | undefined
  /** The call whose block was begun last. */
  let current: { readonly number: number; readonly end: ObjectEnd } | undefined
  const written = new Set<number>()
  const waitingCalls = new Map<number, ToolCall>()
  let waitingParts: TextPart[] = []

  const event = (type: string, fields: object) => `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`
  const delta = (fields: object) => event('content_block_delta', { index, delta: fields })
  const stop = (): string => {
    if (open === undefined) return ''
    open = undefined
    return event('content_block_stop', { index })
  }
  const start = (kind: typeof open, block: ContentBlock): string => {
    const ended = stop()
    index += 1
    open = kind
    return ended + event('content_block_start', { index, content_block: block })
  }
  const opening = (): string => {
    if (begun) return ''
    begun = true
    // What was used is not known yet: `message_delta` tells it.
    const usage = { input_tokens: 0, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 0 }
    const message = {
      id: `msg_${requestId}`,
      type: 'message',
      role: 'assistant',
      model,
      content: [],
      stop_reason: null,
      stop_sequence: null,
      usage,
    }
    return event('message_start', { message })
  }

  const write = (part: TextPart): string => {
    if (part.type === 'text') {
      const begin = open === 'text' ? '' : start('text', { type: 'text', text: '', citations: null })
      return begin + delta({ type: 'text_delta', text: part.text })
    }
    const { text, signature, redacted } = part
    if (redacted !== undefined) {
      return start(undefined, { type: 'redacted_thinking', data: redacted }) + event('content_block_stop', { index })
    }
    const begin = open === 'thinking' ? '' : start('thinking', { type: 'thinking', thinking: '', signature: '' })
    const thought = text === '' ? '' : delta({ type: 'thinking_delta', thinking: text })
    // A signature ends the thought that it proves.
    return begin + thought + (signature === undefined ? '' : delta({ type: 'signature_delta', signature }) + stop())
  }
  const beginCall = (number: number, { id, name, arguments: json }: ToolCall): string => {
    current = { number, end: objectEnd() }
    current.end.push(json)
    written.add(number)
    const block = start('tool_use', { type: 'tool_use', id, name, input: {} })
    return json === '' ? block : block + delta({ type: 'input_json_delta', partial_json: json })
  }
  const isWriting = () => open === 'tool_use' && current !== undefined && !current.end.isWhole()
  /** Writes what waits: all of it at the end, before that as long as no call is half written. */
  const release = (all: boolean): string => {
    let events = ''
    for (const [number, call] of [...waitingCalls].sort(([one], [other]) => one - other)) {
      if (!all && isWriting()) return events
      waitingCalls.delete(number)
      events += beginCall(number, call)
    }
    if (!all && isWriting()) return events
    const parts = waitingParts
    waitingParts = []
    return events + parts.map(write).join('')
  }

  const called = (part: CallPart): string => {
    const { index: number, arguments: json } = part
    if (open === 'tool_use' && current?.number === number) {
      current.end.push(json)
      const piece = json === '' ? '' : delta({ type: 'input_json_delta', partial_json: json })
      return waitingCalls.size + waitingParts.length === 0 ? piece : piece + release(false)
    }
    if (written.has(number)) {
      if (json === '') return ''
      throw new TollgateError('upstream_invalid', 'The model went on with a call that was whole.')
    }
    const known = waitingCalls.get(number)
    waitingCalls.set(number, {
      id: known?.id ?? part.id ?? `toolu_${requestId}_${number}`,
      name: known?.name ?? part.name ?? '',
      arguments: (known?.arguments ?? '') + json,
    })
    return release(false)
  }

  return (part) => {
    if (part.type === 'tool-call') return opening() + called(part)
    if (part.type === 'end') {
      const ended = opening() + release(true) + stop()
      const { output_tokens, ...input } = usageToAnthropic(part.usage)
      const usage = { ...input, output_tokens }
      return ended + event('message_delta', { delta: stopOf(part), usage }) + event('message_stop', {})
    }
    if (part.type === 'text' && part.text === '') return ''
    const first = opening()
    if (!isWriting()) return first + write(part)
    waitingParts.push(part)
    return first
  }
}
