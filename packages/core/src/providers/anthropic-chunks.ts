import type { GenerateChunk } from '../inference/task.js'
import { argumentsText } from './upstream-json.js'

/** An object of an answer. */
export type Block = Readonly<Record<string, unknown>>

/** A call that is being written. */
export interface OpenCall {
  readonly number: number
  /** What it began with: all of it, at servers that send nothing more. */
  readonly input: unknown
  hasPieces: boolean
}

/** An event of a stream in our own words. @param calls those that have begun, by the index of their block */
export function chunksOf(upstream: string, json: Block, calls: Map<unknown, OpenCall>): GenerateChunk[] {
  const { type, index } = json
  const block = (json['content_block'] ?? {}) as Block
  const delta = (json['delta'] ?? {}) as Block
  if (type === 'content_block_start') {
    if (block['type'] === 'redacted_thinking' && typeof block['data'] === 'string') {
      return [{ type: 'reasoning', text: '', redacted: block['data'] }]
    }
    if (block['type'] === 'text' && typeof block['text'] === 'string' && block['text'] !== '') {
      return [{ type: 'text', text: block['text'] }]
    }
    if (block['type'] !== 'tool_use') return []
    const number = calls.size
    calls.set(index, { number, input: block['input'], hasPieces: false })
    return [{ type: 'tool-call', index: number, id: String(block['id']), name: String(block['name']), arguments: '' }]
  }
  if (type === 'content_block_stop') {
    const call = calls.get(index)
    const isWhole = typeof call?.input === 'object' && call.input !== null && Object.keys(call.input).length > 0
    if (call === undefined || call.hasPieces || !isWhole) return []
    return [{ type: 'tool-call', index: call.number, arguments: argumentsText(upstream, call.input) }]
  }
  if (type !== 'content_block_delta') return []
  switch (delta['type']) {
    case 'text_delta':
      return typeof delta['text'] === 'string' ? [{ type: 'text', text: delta['text'] }] : []
    case 'thinking_delta':
      return typeof delta['thinking'] === 'string' ? [{ type: 'reasoning', text: delta['thinking'] }] : []
    case 'signature_delta':
      return typeof delta['signature'] === 'string'
        ? [{ type: 'reasoning', text: '', signature: delta['signature'] }]
        : []
    case 'input_json_delta': {
      const call = calls.get(index)
      const json = delta['partial_json']
      // Of a block that is no call of ours (a server's own tool) nothing is handed on.
      if (call === undefined || typeof json !== 'string') return []
      if (json !== '') call.hasPieces = true
      return [{ type: 'tool-call', index: call.number, arguments: json }]
    }
    default:
      return []
  }
}
