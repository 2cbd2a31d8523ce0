import {
  defaultText,
  type FixtureAnswer,
  type FixtureUpstream,
  type FixtureWire,
  fixtureUpstream,
  piecesOf,
  type UpstreamScript,
  wordsOf,
} from './fixture-upstream.js'

export type { UpstreamCall, UpstreamScript } from './fixture-upstream.js'
export { wordsOf } from './fixture-upstream.js'

/** A server that speaks OpenAI's wire, and misbehaves on demand. */
export type OpenAiUpstream = FixtureUpstream

/** The one API key it takes. */
export const upstreamKey = 'sk-upstream-secret-0123456789'

const created = 1_760_000_000

/** OpenAI's wire. */
export const openAiWire: FixtureWire = {
  version: '/v1',
  refuse({ authorization }) {
    if (authorization === `Bearer ${upstreamKey}`) return undefined
    const message = `Incorrect API key provided: ${authorization ?? 'none'}`
    return { status: 401, json: openAiError(message, 'invalid_request_error', 'invalid_api_key') }
  },
  answer(path, body, script, models) {
    if (path === '/models') return { json: { object: 'list', data: models.map(modelEntry) } }
    if (path === '/embeddings') return { json: embeddings(body, script) }
    if (path === '/completions') return textAnswer(body, script)
    if (path === '/responses') return responsesAnswer(body, script)
    if (path !== '/chat/completions') {
      return { status: 404, json: openAiError('Unknown path', 'invalid_request_error', null) }
    }
    if (body['stream'] !== true) return { json: completion(body, script) }
    const options = body['stream_options'] as { include_usage?: boolean } | undefined
    return {
      events: chunks(body, script, options?.include_usage === true).map((event) => `data: ${JSON.stringify(event)}`),
      last: 'data: [DONE]',
      error: (error) => `data: ${JSON.stringify({ error })}`,
    }
  },
}

/** Starts one on a free port of 127.0.0.1. */
export function openAiUpstream(scripts: Readonly<Record<string, UpstreamScript>> = {}): Promise<OpenAiUpstream> {
  return fixtureUpstream(openAiWire, scripts)
}

function textAnswer(body: Readonly<Record<string, unknown>>, script: UpstreamScript): FixtureAnswer {
  const base = { id: 'cmpl-fixture', object: 'text_completion', created, model: body['model'] }
  const usage = usageOf(body, { ...script, usage: { prompt_tokens: 5, completion_tokens: 7, total_tokens: 12 } })
  const choice = (text: string, reason: string | null) => [{ index: 0, text, logprobs: null, finish_reason: reason }]
  if (body['stream'] !== true) {
    return { json: { ...base, choices: choice(script.text ?? defaultText, 'stop'), usage, system_fingerprint: 'fp' } }
  }
  const asked = (body['stream_options'] as { include_usage?: boolean } | undefined)?.include_usage === true
  const events: unknown[] = piecesOf(script.text, script).map((word) => ({ ...base, choices: choice(word, null) }))
  events.push({ ...base, choices: choice('', 'stop') })
  if (asked) events.push({ ...base, choices: [], usage })
  return {
    events: events.map((event) => `data: ${JSON.stringify(event)}`),
    last: 'data: [DONE]',
    error: (error) => `data: ${JSON.stringify({ error })}`,
  }
}

/** As much of the Responses API as relaying needs. */
function responsesAnswer(body: Readonly<Record<string, unknown>>, script: UpstreamScript): FixtureAnswer {
  const text = script.text ?? defaultText
  const part = { type: 'output_text', text, annotations: [], logprobs: [] }
  const item = { id: 'msg_fixture', type: 'message', status: 'completed', role: 'assistant', content: [part] }
  const usage = {
    input_tokens: 5,
    input_tokens_details: { cached_tokens: 2 },
    output_tokens: 7,
    output_tokens_details: { reasoning_tokens: 3 },
    total_tokens: 12,
  }
  const response = {
    id: 'resp_fixture',
    object: 'response',
    created_at: created,
    status: 'completed',
    error: null,
    incomplete_details: null,
    model: body['model'],
    output: [item],
    usage,
    odd: true,
  }
  if (body['stream'] !== true) return { json: response }
  let number = 0
  const event = (type: string, fields: object) => {
    const frame = `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: number, ...fields })}`
    number += 1
    return frame
  }
  const place = { item_id: item.id, output_index: 0, content_index: 0 }
  return {
    events: [
      event('response.created', { response: { ...response, status: 'in_progress', output: [], usage: null } }),
      event('response.in_progress', { response: { ...response, status: 'in_progress', output: [], usage: null } }),
      event('response.output_item.added', { output_index: 0, item: { ...item, status: 'in_progress', content: [] } }),
      event('response.content_part.added', { ...place, part: { ...part, text: '' } }),
      ...piecesOf(script.text, script).map((delta) =>
        event('response.output_text.delta', { ...place, delta, logprobs: [] }),
      ),
      event('response.output_text.done', { ...place, text, logprobs: [] }),
      event('response.content_part.done', { ...place, part }),
      event('response.output_item.done', { output_index: 0, item }),
    ],
    last: event('response.completed', { response }),
    error: (error) => `event: error\ndata: ${JSON.stringify({ type: 'error', ...(error as object) })}`,
  }
}

/** What the upstream says of a healthy answer: a token for each word. */
export function usageOf(body: Readonly<Record<string, unknown>>, script: UpstreamScript = {}): Record<string, unknown> {
  if (typeof script.usage === 'object') return { ...script.usage }
  const prompt = wordsOf(JSON.stringify(body['messages'] ?? body['input'] ?? '')).length
  const completion = body['messages'] === undefined ? 0 : wordsOf(script.text).length
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0 },
  }
}

function completion(body: Readonly<Record<string, unknown>>, script: UpstreamScript): unknown {
  const calls = script.toolCalls?.map(({ id, name, arguments: json }) => ({
    id,
    type: 'function',
    function: { name, arguments: json },
  }))
  const choices = Array.from({ length: choicesOf(body) }, (_, index) => ({
    index,
    message: {
      role: 'assistant',
      content: calls === undefined && script.refusal === undefined ? (script.text ?? defaultText) : null,
      refusal: script.refusal ?? null,
      annotations: [],
      ...(script.reasoning === undefined
        ? {}
        : { reasoning_content: script.reasoning.map(({ text }) => text).join('') }),
      ...(calls === undefined ? {} : { tool_calls: calls }),
    },
    logprobs: null,
    finish_reason: script.stopReason ?? (calls === undefined ? 'stop' : 'tool_calls'),
  }))
  return {
    id: 'chatcmpl-fixture',
    object: 'chat.completion',
    created,
    model: `${String(body['model'])}-2025-01-01`,
    choices,
    ...(script.usage === false ? {} : { usage: usageOf(body, script) }),
    service_tier: 'default',
    system_fingerprint: 'fp_fixture',
  }
}

function chunks(body: Readonly<Record<string, unknown>>, script: UpstreamScript, includeUsage: boolean): unknown[] {
  const usage = includeUsage && script.usage !== false ? { usage: null } : {}
  const base = {
    id: 'chatcmpl-fixture',
    object: 'chat.completion.chunk',
    created,
    model: `${String(body['model'])}-2025-01-01`,
    service_tier: 'default',
    system_fingerprint: 'fp_fixture',
  }
  const event = (index: number, delta: object, reason: string | null = null) => ({
    ...base,
    choices: [{ index, delta, logprobs: null, finish_reason: reason }],
    ...usage,
  })
  const all: unknown[] = []
  for (let index = 0; index < choicesOf(body); index += 1) {
    all.push(event(index, { role: 'assistant', content: '', refusal: null }))
    for (const { text } of script.reasoning ?? []) {
      for (const piece of piecesOf(text, script)) all.push(event(index, { reasoning_content: piece }))
    }
    if (script.toolCalls !== undefined) {
      for (const [position, call] of script.toolCalls.entries()) {
        const named = { id: call.id, type: 'function', function: { name: call.name, arguments: '' } }
        all.push(event(index, { tool_calls: [{ index: position, ...named }] }))
        for (const piece of call.arguments.match(/.{1,5}/gs) ?? []) {
          all.push(event(index, { tool_calls: [{ index: position, function: { arguments: piece } }] }))
        }
      }
    } else if (script.refusal !== undefined) {
      for (const piece of wordsOf(script.refusal)) all.push(event(index, { refusal: piece }))
    } else for (const piece of piecesOf(script.text, script)) all.push(event(index, { content: piece }))
    all.push(event(index, {}, script.stopReason ?? (script.toolCalls === undefined ? 'stop' : 'tool_calls')))
  }
  if (includeUsage && script.usage !== false) all.push({ ...base, choices: [], usage: usageOf(body, script) })
  return all
}

function embeddings(body: Readonly<Record<string, unknown>>, script: UpstreamScript): unknown {
  const input = body['input']
  const single = typeof input === 'string' || (Array.isArray(input) && typeof input[0] === 'number')
  const inputs: unknown[] = single ? [input] : (input as unknown[])
  const dimensions = typeof body['dimensions'] === 'number' ? body['dimensions'] : 4
  const data = inputs.map((each, index) => {
    const numbers = embeddingOf(each, dimensions)
    const base64 = body['encoding_format'] === 'base64' && script.floatsOnly !== true
    return {
      object: 'embedding',
      index,
      embedding: base64 ? Buffer.from(numbers.buffer).toString('base64') : [...numbers],
    }
  })
  const { prompt_tokens, total_tokens } = usageOf(body, script)
  return {
    object: 'list',
    data,
    model: body['model'],
    ...(script.usage === false ? {} : { usage: { prompt_tokens, total_tokens } }),
  }
}

/** The numbers that stand for an input. */
export function embeddingOf(input: unknown, dimensions: number): Float32Array {
  const seed = JSON.stringify(input).length
  return Float32Array.from({ length: dimensions }, (_, index) => Math.fround(Math.sin(seed + index)))
}

function modelEntry(id: string): unknown {
  return { id, object: 'model', created, owned_by: 'fixture' }
}

function choicesOf(body: Readonly<Record<string, unknown>>): number {
  return typeof body['n'] === 'number' ? body['n'] : 1
}

function openAiError(message: string, type: string, code: string | null): unknown {
  return { error: { message, type, param: null, code } }
}
