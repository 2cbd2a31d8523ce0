import type { FinishReason, GenerateOutput, ReasoningPart, Result, ToolCall } from '../inference/task.js'
import type { Usage } from '../usage.js'
import type { ResponsesAnswer, ResponsesItem, ResponsesRequest } from '../wire/openai-responses.js'
import { usageToResponses } from '../wire/openai-usage.js'
import { redactedMark, signatureMark } from './responses-input.js'
import type { EncodePart, TypedPart } from './send-stream.js'

/** What every answer says of its request. */
function headOf(
  requestId: string,
  model: string,
  request: ResponsesRequest,
): Pick<ResponsesAnswer, 'id' | 'object' | 'created_at' | 'error' | 'model'> & Record<string, unknown> {
  const said = <Name extends string>(name: Name, otherwise: unknown) => ({ [name]: request[name] ?? otherwise })
  return {
    id: `resp_${requestId}`,
    object: 'response',
    created_at: Math.floor(Date.now() / 1000),
    error: null,
    model,
    ...said('instructions', null),
    ...said('max_output_tokens', null),
    ...said('metadata', {}),
    ...said('parallel_tool_calls', true),
    ...said('reasoning', { effort: null, summary: null }),
    ...said('temperature', null),
    ...said('text', { format: { type: 'text' } }),
    ...said('tool_choice', 'auto'),
    ...said('tools', []),
    ...said('top_p', null),
    previous_response_id: null,
    store: false,
    truncation: 'disabled',
  }
}

function endOf(reason: FinishReason): Pick<ResponsesAnswer, 'status' | 'incomplete_details'> {
  if (reason === 'length') return { status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } }
  if (reason === 'content-filter') return { status: 'incomplete', incomplete_details: { reason: 'content_filter' } }
  return { status: 'completed', incomplete_details: null }
}

function reasoningItem(id: string, { text, signature, redacted }: Omit<ReasoningPart, 'type'>): ResponsesItem {
  const proof =
    redacted !== undefined
      ? `${redactedMark}${redacted}`
      : signature === undefined
        ? null
        : `${signatureMark}${signature}`
  const summary = text === '' ? [] : [{ type: 'summary_text', text }]
  return { id, type: 'reasoning', summary, encrypted_content: proof }
}

function messageItem(id: string, text: string, status: string): ResponsesItem {
  return { id, type: 'message', status, role: 'assistant', content: [textPart(text)] }
}

function textPart(text: string) {
  return { type: 'output_text', text, annotations: [], logprobs: [] }
}

function callItem(id: string, { id: callId, name, arguments: json }: ToolCall, status: string): ResponsesItem {
  return { id, type: 'function_call', status, call_id: callId, name, arguments: json }
}

/** A whole answer in the shape of the Responses API. */
export function responsesAnswer(
  requestId: string,
  model: string,
  { output, usage }: Result<'generate'>,
  request: ResponsesRequest,
): ResponsesAnswer {
  return {
    ...headOf(requestId, model, request),
    ...endOf(output.finishReason),
    output: itemsOf(requestId, output),
    usage: usageToResponses(usage),
  }
}

function itemsOf(requestId: string, { reasoning = [], text, toolCalls }: GenerateOutput): ResponsesItem[] {
  return [
    ...reasoning.map((part, index) => reasoningItem(`rs_${requestId}_${index}`, part)),
    ...(text === '' ? [] : [messageItem(`msg_${requestId}`, text, 'completed')]),
    ...toolCalls.map((call, index) => callItem(`fc_${requestId}_${index}`, call, 'completed')),
  ]
}

/** An item that is being written. */
type Open =
  | { readonly kind: 'message' | 'reasoning'; readonly id: string; readonly at: number; text: string }
  | {
      readonly kind: 'call'
      readonly id: string
      readonly at: number
      readonly call: { id: string; name: string; arguments: string }
    }

/**
 * Parts of an answer as events of the Responses API, numbered from 0: `response.created`, `response.in_progress`, each item added, filled by deltas and done, and `response.completed` (or `incomplete`)
 * with the whole of it.
 */
export function responsesEvents(requestId: string, model: string, request: ResponsesRequest): EncodePart {
  const head = headOf(requestId, model, request)
  let sequence = 0
  const items: ResponsesItem[] = []
  /** The message or thought under way; calls may be under way beside each other. */
  let current: Extract<Open, { kind: 'message' | 'reasoning' }> | undefined
  const calls = new Map<number, Extract<Open, { kind: 'call' }>>()

  const event = (type: string, fields: object): string => {
    const text = `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence, ...fields })}\n\n`
    sequence += 1
    return text
  }
  const whole = (status: ResponsesAnswer['status'], usage: Usage | undefined, more: object = {}) => ({
    response: {
      ...head,
      status,
      incomplete_details: null,
      output: [...items],
      usage: usage === undefined ? null : usageToResponses(usage),
      ...more,
    },
  })
  const opening = (): string => {
    if (sequence > 0) return ''
    return (
      event('response.created', whole('in_progress', undefined)) +
      event('response.in_progress', whole('in_progress', undefined))
    )
  }
  const added = (item: ResponsesItem): string => {
    items.push(item)
    return event('response.output_item.added', { output_index: items.length - 1, item })
  }
  const done = (at: number, item: ResponsesItem): string => {
    items[at] = item
    return event('response.output_item.done', { output_index: at, item })
  }

  const close = (proof: Pick<ReasoningPart, 'signature' | 'redacted'> = {}): string => {
    if (current === undefined) return ''
    const { kind, id, at, text } = current
    current = undefined
    const place = { item_id: id, output_index: at }
    if (kind === 'message') {
      return (
        event('response.output_text.done', { ...place, content_index: 0, text, logprobs: [] }) +
        event('response.content_part.done', { ...place, content_index: 0, part: textPart(text) }) +
        done(at, messageItem(id, text, 'completed'))
      )
    }
    const part = { type: 'summary_text', text }
    return (
      (text === ''
        ? ''
        : event('response.reasoning_summary_text.done', { ...place, summary_index: 0, text }) +
          event('response.reasoning_summary_part.done', { ...place, summary_index: 0, part })) +
      done(at, reasoningItem(id, { text, ...proof }))
    )
  }
  const said = (text: string): string => {
    let begin = ''
    if (current?.kind !== 'message') {
      begin = close()
      const id = `msg_${requestId}_${items.length}`
      current = { kind: 'message', id, at: items.length, text: '' }
      begin += added({ id, type: 'message', status: 'in_progress', role: 'assistant', content: [] })
      begin += event('response.content_part.added', {
        item_id: id,
        output_index: current.at,
        content_index: 0,
        part: textPart(''),
      })
    }
    current.text += text
    const place = { item_id: current.id, output_index: current.at, content_index: 0 }
    return begin + event('response.output_text.delta', { ...place, delta: text, logprobs: [] })
  }
  const thought = ({ text, signature, redacted }: Omit<ReasoningPart, 'type'>): string => {
    let events = ''
    if (current?.kind !== 'reasoning' || redacted !== undefined) {
      events = close()
      const id = `rs_${requestId}_${items.length}`
      current = { kind: 'reasoning', id, at: items.length, text: '' }
      events += added(reasoningItem(id, { text: '' }))
    }
    if (text !== '') {
      const place = { item_id: current.id, output_index: current.at, summary_index: 0 }
      if (current.text === '') {
        events += event('response.reasoning_summary_part.added', { ...place, part: { type: 'summary_text', text: '' } })
      }
      current.text += text
      events += event('response.reasoning_summary_text.delta', { ...place, delta: text })
    }
    if (signature === undefined && redacted === undefined) return events
    // What proves a thought ends it.
    return (
      events +
      close({ ...(signature === undefined ? {} : { signature }), ...(redacted === undefined ? {} : { redacted }) })
    )
  }
  const called = (part: Extract<TypedPart, { type: 'tool-call' }>): string => {
    let begin = ''
    let open = calls.get(part.index)
    if (open === undefined) {
      begin = close()
      const id = `fc_${requestId}_${items.length}`
      const call = { id: part.id ?? `call_${requestId}_${part.index}`, name: part.name ?? '', arguments: '' }
      open = { kind: 'call', id, at: items.length, call }
      calls.set(part.index, open)
      begin += added(callItem(id, call, 'in_progress'))
    }
    if (part.arguments === '') return begin
    open.call.arguments += part.arguments
    const place = { item_id: open.id, output_index: open.at }
    return begin + event('response.function_call_arguments.delta', { ...place, delta: part.arguments })
  }
  const finished = (): string =>
    [...calls.values()]
      .map(({ id, at, call }) => {
        const place = { item_id: id, output_index: at }
        return (
          event('response.function_call_arguments.done', { ...place, name: call.name, arguments: call.arguments }) +
          done(at, callItem(id, call, 'completed'))
        )
      })
      .join('')

  return (part) => {
    switch (part.type) {
      case 'text':
        return part.text === '' ? '' : opening() + said(part.text)
      case 'reasoning':
        return opening() + thought(part)
      case 'tool-call':
        return opening() + called(part)
      case 'end': {
        const events = opening() + close() + finished()
        const { status, incomplete_details } = endOf(part.finishReason)
        return events + event(`response.${status}`, whole(status, part.usage, { incomplete_details }))
      }
    }
  }
}
