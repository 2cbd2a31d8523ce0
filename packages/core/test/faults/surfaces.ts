/** What a caller makes of an answer. */
export interface Heard {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly calls: ReadonlyArray<{ readonly name: string; readonly arguments: string }>
  /** The answer says itself that it is whole. */
  readonly isWhole: boolean
  /** What the error is called in the caller's dialect. */
  readonly error: string | undefined
  /** All that came, for those who look for secrets. */
  readonly raw: string
}

type Json = Record<string, unknown>
type Heeded = Pick<Heard, 'text' | 'calls' | 'isWhole' | 'error'>

/** An API of the gate's, as one of its callers speaks it. */
export interface Surface {
  readonly path: string
  request(model: string): Json
  json(body: Json): Heeded
  events(events: ReadonlyArray<{ readonly event: string; readonly data: string }>): Heeded
}

const nothing: Heeded = { text: '', calls: [], isWhole: false, error: undefined }
const question = [{ role: 'user', content: 'Hello' }]

function errorOf(body: Json): string | undefined {
  const error = body['error'] as Json | string | null | undefined
  if (error === undefined || error === null) return undefined
  return typeof error === 'string' ? error : String(error['code'] ?? error['type'])
}

/** OpenAI's clients: an event with an `error` is one, and `[DONE]` is the end. */
function openAiEvents(
  events: ReadonlyArray<{ readonly data: string }>,
  read: (choice: Json, calls: Array<{ name: string; arguments: string }>) => string,
): Heeded {
  const calls: Array<{ name: string; arguments: string }> = []
  let text = ''
  let isFinished = false
  for (const { data } of events) {
    if (data === '[DONE]') return { text, calls, isWhole: isFinished, error: undefined }
    const event = JSON.parse(data) as Json
    const error = errorOf(event)
    if (error !== undefined) return { text, calls, isWhole: false, error }
    for (const choice of event['choices'] as Json[]) {
      text += read(choice, calls)
      if (choice['finish_reason'] !== null) isFinished = true
    }
  }
  // Some servers end so, and their callers take it for an end.
  return { text, calls, isWhole: isFinished, error: undefined }
}

const chat: Surface = {
  path: '/v1/chat/completions',
  request: (model) => ({ model, messages: question, stream_options: undefined }),
  json(body) {
    const [choice] = body['choices'] as Array<{ message: Json }>
    const calls = (choice?.message['tool_calls'] ?? []) as Array<{ function: { name: string; arguments: string } }>
    return {
      ...nothing,
      text: String(choice?.message['content'] ?? ''),
      calls: calls.map(({ function: { name, arguments: json } }) => ({ name, arguments: json })),
      isWhole: true,
    }
  },
  events: (events) =>
    openAiEvents(events, ({ delta }, calls) => {
      const { content, tool_calls: pieces = [] } = delta as Json
      for (const { index, function: called } of pieces as Array<{ index: number; function: Json }>) {
        const call = calls[index] ?? { name: '', arguments: '' }
        calls[index] = {
          name: call.name + String(called['name'] ?? ''),
          arguments: call.arguments + String(called['arguments'] ?? ''),
        }
      }
      return String(content ?? '')
    }),
}

const completions: Surface = {
  path: '/v1/completions',
  request: (model) => ({ model, prompt: 'Hello' }),
  json(body) {
    const [choice] = body['choices'] as Json[]
    return { ...nothing, text: String(choice?.['text']), isWhole: true }
  },
  events: (events) => openAiEvents(events, ({ text }) => String(text ?? '')),
}

const messages: Surface = {
  path: '/v1/messages',
  request: (model) => ({ model, messages: question, max_tokens: 100 }),
  json: (body) => ({ ...nothing, ...inBlocks(body['content'] as Json[]), isWhole: true }),
  events(events) {
    const blocks: Json[] = []
    let error: string | undefined
    let isWhole = false
    for (const { event, data } of events) {
      const json = JSON.parse(data) as Json
      const { index = 0, content_block: block, delta = {} } = json as { index?: number } & Record<string, Json>
      if (event === 'error') error ??= errorOf(json)
      if (event === 'message_stop') isWhole = true
      if (event === 'content_block_start') blocks[index] = { ...block, json: '' }
      if (event !== 'content_block_delta') continue
      const open = blocks[index] as Json
      open['text'] = `${open['text'] ?? ''}${delta['text'] ?? ''}`
      open['json'] = `${open['json']}${delta['partial_json'] ?? ''}`
    }
    return { ...inBlocks(blocks), isWhole, error }
  },
}

function inBlocks(blocks: readonly Json[]) {
  return {
    text: blocks.map(({ type, text }) => (type === 'text' ? text : '')).join(''),
    calls: blocks
      .filter(({ type }) => type === 'tool_use')
      .map(({ name, input, json = JSON.stringify(input) }) => ({ name: String(name), arguments: String(json) })),
  }
}

const responses: Surface = {
  path: '/v1/responses',
  request: (model) => ({ model, input: 'Hello' }),
  json: (body) => ({ ...nothing, ...inItems(body['output'] as Json[]), isWhole: body['status'] === 'completed' }),
  events(events) {
    let text = ''
    const calls: Array<{ name: string; arguments: string }> = []
    for (const { data } of events) {
      const { type, delta, output_index: at, item, ...event } = JSON.parse(data) as Json
      const error = errorOf(event)
      if (error !== undefined) return { text, calls, isWhole: false, error }
      if (type === 'response.output_text.delta') text += String(delta)
      if (type === 'response.output_item.added' && (item as Json)['type'] === 'function_call') {
        calls[Number(at)] = { name: String((item as Json)['name']), arguments: '' }
      }
      const call = calls[Number(at)]
      if (type === 'response.function_call_arguments.delta' && call !== undefined) call.arguments += String(delta)
      if (type !== 'response.completed') continue
      const whole = inItems((event['response'] as Json)['output'] as Json[])
      const written = calls.filter((each) => each !== undefined)
      const isSame = whole.text === text && JSON.stringify(whole.calls) === JSON.stringify(written)
      return { text, calls: written, isWhole: isSame, error: undefined }
    }
    return { text, calls: calls.filter((call) => call !== undefined), isWhole: false, error: undefined }
  },
}

function inItems(items: readonly Json[]) {
  return {
    text: items
      .filter(({ type }) => type === 'message')
      .flatMap(({ content }) => content as Array<{ text: string }>)
      .map(({ text }) => text)
      .join(''),
    calls: items
      .filter(({ type }) => type === 'function_call')
      .map(({ name, arguments: json }) => ({ name: String(name), arguments: String(json) })),
  }
}

export const surfaces = { chat, completions, messages, responses } as const
export type SurfaceName = keyof typeof surfaces

/** A caller waits no longer: whatever takes longer is hung. */
const longestMs = 12_000

/** Calls a model by an API of the gate's. Rejects if the answer is neither whole in time nor an error, or is no answer in that API. */
export async function ask(url: string, name: SurfaceName, model: string, isStream: boolean): Promise<Heard> {
  const surface = surfaces[name]
  const response = await fetch(`${url}${surface.path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'anthropic-version': '2023-06-01' },
    body: JSON.stringify({ ...surface.request(model), ...(isStream ? { stream: true } : {}) }),
    signal: AbortSignal.timeout(longestMs),
  })
  const raw = await response.text()
  const base = { status: response.status, headers: response.headers, raw }
  if (response.status !== 200) return { ...base, ...nothing, error: errorOf(JSON.parse(raw) as Json) }
  if (!isStream) return { ...base, ...surface.json(JSON.parse(raw) as Json) }
  return { ...base, ...surface.events(eventsOf(raw)) }
}

/** A reader of its own, so that the gate's is not tested by itself. */
function eventsOf(raw: string): Array<{ event: string; data: string }> {
  return raw
    .replaceAll(/\r\n?/g, '\n')
    .split('\n\n')
    .map((block) => block.split('\n'))
    .map((lines) => ({ event: valuesOf(lines, 'event'), data: valuesOf(lines, 'data') }))
    .filter(({ data }) => data !== '')
}

function valuesOf(lines: readonly string[], field: string): string {
  return lines
    .filter((line) => line.startsWith(`${field}:`))
    .map((line) => line.slice(field.length + 1).replace(/^ /, ''))
    .join('\n')
}
