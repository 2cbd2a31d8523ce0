import {
  defaultText,
  type FixtureUpstream,
  type FixtureWire,
  fixtureUpstream,
  piecesOf,
  type UpstreamScript,
  wordsOf,
} from './fixture-upstream.js'

/** The one API key it takes. */
export const anthropicKey = 'sk-ant-upstream-secret-0123456789'

type Body = Readonly<Record<string, unknown>>

/** Anthropic's wire. */
export const anthropicWire: FixtureWire = {
  version: '/v1',
  refuse(headers) {
    if (headers['x-api-key'] !== anthropicKey) {
      return { status: 401, json: failure('authentication_error', `invalid x-api-key ${headers['x-api-key']}`) }
    }
    if (headers['anthropic-version'] === undefined) {
      return { status: 400, json: failure('invalid_request_error', 'anthropic-version: header is required') }
    }
    return undefined
  },
  answer(path, body, script) {
    if (path === '/messages/count_tokens') return { json: { input_tokens: promptTokens(body) } }
    if (path !== '/messages') return { status: 404, json: failure('not_found_error', 'Not found') }
    const wrong = problemOf(body)
    if (wrong !== undefined) return { status: 400, json: failure('invalid_request_error', wrong) }
    if (body['stream'] !== true) return { json: message(body, script) }
    return {
      events: events(body, script),
      last: named({ type: 'message_stop' }),
      error: (error) => named({ type: 'error', error }),
    }
  },
}

/** A server that speaks Anthropic's wire, and misbehaves on demand. */
export function anthropicUpstream(scripts: Readonly<Record<string, UpstreamScript>> = {}): Promise<FixtureUpstream> {
  return fixtureUpstream(anthropicWire, scripts)
}

/** Rules of the real one that a bridge breaks easily. */
function problemOf(body: Body): string | undefined {
  if (typeof body['max_tokens'] !== 'number') return 'max_tokens: Field required'
  const messages = body['messages'] as Array<{ role: string; content: string | Array<Body> }>
  const asked = new Set<unknown>()
  for (const [index, { role, content }] of messages.entries()) {
    const blocks = typeof content === 'string' ? [{ type: 'text', text: content }] : content
    if (blocks.length === 0) return `messages.${index}: all messages must have non-empty content`
    if (index > 0 && messages[index - 1]?.role === role) return `messages: roles must alternate`
    for (const [position, block] of blocks.entries()) {
      if (block['type'] === 'text' && String(block['text']).trim() === '') {
        return 'messages: text content blocks must contain non-whitespace text'
      }
      if (block['type'] === 'thinking' && !block['signature']) return 'messages: thinking.signature: Field required'
      if (block['type'] === 'tool_use') asked.add(block['id'])
      if (block['type'] !== 'tool_result') continue
      if (!asked.delete(block['tool_use_id'])) return `messages.${index}: unexpected tool_use_id`
      if (blocks.slice(0, position).some(({ type }) => type !== 'tool_result'))
        return 'tool_result blocks must be first'
    }
    if (role === 'user' && asked.size > 0)
      return `messages.${index}: tool_use ids were found without tool_result blocks`
  }
  const thinking = body['thinking'] as { type: string; budget_tokens: number } | undefined
  if (thinking?.type === 'enabled') {
    if (thinking.budget_tokens >= Number(body['max_tokens'])) return 'max_tokens must be greater than budget_tokens'
    if (body['temperature'] !== undefined && body['temperature'] !== 1) return 'temperature may only be set to 1'
    if (Number(body['top_p'] ?? 1) < 0.95) return 'top_p must be greater than or equal to 0.95 with thinking'
    const choice = body['tool_choice'] as { type: string } | undefined
    if (choice?.type === 'any' || choice?.type === 'tool')
      return 'Thinking may not be enabled when tool_choice forces tool use'
    const called = messages.at(-1)?.role === 'user' ? messages.at(-2)?.content : undefined
    const types = Array.isArray(called) ? called.map(({ type }) => String(type)) : []
    if (types.includes('tool_use') && !types[0]?.endsWith('thinking'))
      return 'Expected `thinking`, but found `tool_use`'
  }
  if (Number(body['temperature'] ?? 0) > 1) return 'temperature: Input should be less than or equal to 1'
  return undefined
}

function promptTokens(body: Body): number {
  return wordsOf(JSON.stringify([body['system'] ?? '', body['messages'], body['tools'] ?? []])).length
}

function blocksOf(script: UpstreamScript): Body[] {
  const thoughts = (script.reasoning ?? []).map(({ text, signature = '', redacted }) =>
    redacted === undefined
      ? { type: 'thinking', thinking: text, signature }
      : { type: 'redacted_thinking', data: redacted },
  )
  const text = script.text ?? (script.toolCalls === undefined ? defaultText : '')
  const calls = (script.toolCalls ?? []).map(({ id, name, arguments: json }) => ({
    type: 'tool_use',
    id,
    name,
    input: JSON.parse(json) as unknown,
  }))
  return [...thoughts, ...(text === '' ? [] : [{ type: 'text', text }]), ...calls]
}

function usageOf(body: Body, script: UpstreamScript): Body {
  if (typeof script.usage === 'object') return script.usage
  return {
    input_tokens: promptTokens(body),
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    output_tokens: blocksOf(script).reduce((sum, block) => sum + wordsOf(JSON.stringify(block)).length, 0),
  }
}

function stopOf(body: Body, script: UpstreamScript): Body {
  const reason = script.stopReason ?? (script.toolCalls === undefined ? 'end_turn' : 'tool_use')
  const [sequence] = (body['stop_sequences'] ?? []) as string[]
  return { stop_reason: reason, stop_sequence: reason === 'stop_sequence' ? sequence : null }
}

function message(body: Body, script: UpstreamScript): Body {
  return {
    id: 'msg_fixture',
    type: 'message',
    role: 'assistant',
    model: `${String(body['model'])}-20260101`,
    content: blocksOf(script),
    ...stopOf(body, script),
    usage: usageOf(body, script),
  }
}

function events(body: Body, script: UpstreamScript): string[] {
  const usage = usageOf(body, script)
  const { content: _, ...rest } = message(body, script)
  const begun = { ...rest, content: [], stop_reason: null, stop_sequence: null, usage: { ...usage, output_tokens: 1 } }
  const all = [named({ type: 'message_start', message: begun }), named({ type: 'ping' })]
  for (const [index, block] of blocksOf(script).entries()) {
    const start = (content_block: Body) => all.push(named({ type: 'content_block_start', index, content_block }))
    const delta = (fields: Body) => all.push(named({ type: 'content_block_delta', index, delta: fields }))
    switch (block['type']) {
      case 'thinking':
        start({ type: 'thinking', thinking: '', signature: '' })
        for (const thinking of piecesOf(String(block['thinking']), script)) delta({ type: 'thinking_delta', thinking })
        delta({ type: 'signature_delta', signature: block['signature'] })
        break
      case 'redacted_thinking':
        start(block)
        break
      case 'tool_use':
        start({ ...block, input: {} })
        for (const piece of JSON.stringify(block['input']).match(/.{1,5}/gs) ?? []) {
          delta({ type: 'input_json_delta', partial_json: piece })
        }
        break
      default:
        start({ type: 'text', text: '' })
        for (const text of piecesOf(String(block['text']), script)) delta({ type: 'text_delta', text })
    }
    all.push(named({ type: 'content_block_stop', index }))
  }
  all.push(
    named({
      type: 'message_delta',
      delta: stopOf(body, script),
      ...(script.usage === false ? {} : { usage: { output_tokens: usage['output_tokens'] } }),
    }),
  )
  return all
}

function named(event: Body): string {
  return `event: ${event['type']}\ndata: ${JSON.stringify(event)}`
}

function failure(type: string, text: string): Body {
  return { type: 'error', error: { type, message: text }, request_id: 'req_fixture' }
}
