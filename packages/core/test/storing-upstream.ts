import type { IncomingMessage, ServerResponse } from 'node:http'
import { wordsOf } from './fixture-upstream.js'
import { listen } from './listen.js'

interface Item {
  readonly id: string
  readonly type: string
  readonly [field: string]: unknown
}

interface Kept {
  readonly response: Readonly<Record<string, unknown>> & { readonly id: string; readonly output: readonly Item[] }
  /** The conversation before it, and its own input. */
  readonly items: readonly Item[]
}

export interface StoringCall {
  readonly method: string
  /** With its query. */
  readonly path: string
  readonly key: string
  readonly body: Readonly<Record<string, unknown>>
}

/** Words of a stored conversation: what follows is answered by how many there were. */
const count = (items: readonly Item[]) => wordsOf(JSON.stringify(items)).length

/**
 * An upstream of OpenAI's Responses API that stores what it answers, each key an account of its own, until the test is over. It answers `n items` where the conversation has so many, after a thought; what it writes
 * of JSON nobody else would write so. Accounts whose key is in `sick` fail.
 */
export async function storingUpstream(name: string, options: { readonly pauseMs?: number } = {}) {
  const accounts = new Map<string, Map<string, Kept>>()
  const calls: StoringCall[] = []
  /** The bytes of each answer. */
  const written: string[] = []
  const sick = new Set<string>()
  let made = 0
  /** Events of a stream after which its connection breaks. */
  const broken = { after: Number.POSITIVE_INFINITY }

  async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk as Buffer)
    const text = Buffer.concat(chunks).toString('utf8')
    const body = (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>
    const key = String(req.headers.authorization).replace('Bearer ', '')
    const { pathname, searchParams } = new URL(req.url ?? '', 'http://x')
    calls.push({ method: req.method ?? '', path: req.url ?? '', key, body })
    const kept = accounts.get(key) ?? new Map<string, Kept>()
    accounts.set(key, kept)
    const send = (status: number, value: unknown) => {
      const bytes = odd(value)
      written.push(bytes)
      res.writeHead(status, { 'content-type': 'application/json' }).end(bytes)
    }
    const fail = (status: number, message: string, code: string | null = null, param: string | null = null) =>
      send(status, { error: { message, type: 'invalid_request_error', param, code } })
    if (sick.has(key)) return fail(500, 'sick')

    const [, , route, id, what] = pathname.split('/')
    if (route !== 'responses') return fail(404, 'Unknown path')
    if (id !== undefined) {
      const found = kept.get(decodeURIComponent(id))
      if (found === undefined) return fail(404, `Response with id '${id}' not found.`)
      if (what === 'cancel') return fail(400, `Cannot cancel a synchronous response.`)
      if (what === 'input_items') {
        const after = searchParams.get('after')
        const from = after === null ? 0 : found.items.findIndex((item) => item.id === after) + 1
        const to = from + Number(searchParams.get('limit') ?? 20)
        const data = found.items.slice(from, to)
        const [first_id, last_id] = [data[0]?.id ?? null, data.at(-1)?.id ?? null]
        return send(200, { object: 'list', data, first_id, last_id, has_more: to < found.items.length })
      }
      if (req.method === 'DELETE') {
        kept.delete(found.response.id)
        return send(200, { id: found.response.id, object: 'response.deleted', deleted: true })
      }
      if (searchParams.get('stream') !== 'true') return send(200, found.response)
      return stream(res, found.response, Number(searchParams.get('starting_after') ?? -1))
    }

    const { previous_response_id: previous, input } = body
    const before = previous === undefined || previous === null ? undefined : kept.get(String(previous))
    if (typeof previous === 'string' && before === undefined) {
      const message = `Previous response with id '${previous}' not found.`
      return fail(400, message, 'previous_response_not_found', 'previous_response_id')
    }
    const stored = new Map(
      [...kept.values()].flatMap(({ items, response }) =>
        [...items, ...response.output].map((item) => [item.id, item]),
      ),
    )
    made += 1
    const items: Item[] = []
    const given = (typeof input === 'string' ? [{ role: 'user', content: input }] : input) as Item[]
    for (const [index, item] of given.entries()) {
      const isByItsId =
        item.type === 'item_reference' || (item.type === 'reasoning' && item['encrypted_content'] === undefined)
      const known = isByItsId
        ? stored.get(String(item.id))
        : Object.assign({ id: `msg_${name}${made}i${index}`, type: 'message' }, item)
      if (known === undefined) return fail(404, `Item with id '${String(item.id)}' not found.`)
      items.push(known as Item)
    }
    const conversation = [...(before?.items ?? []), ...(before?.response.output ?? []), ...items]
    const part = { type: 'output_text', text: `${conversation.length} items`, annotations: [], logprobs: [] }
    const tokens = count(conversation)
    const response = {
      id: `resp_${name}${made}`,
      object: 'response',
      created_at: 1_760_000_000,
      status: 'completed',
      error: null,
      incomplete_details: null,
      model: body['model'],
      previous_response_id: previous ?? null,
      metadata: { id: 'resp_of_the_caller', note: '"id": "resp_none"' },
      output: [
        { id: `rs_${name}${made}`, type: 'reasoning', summary: [] },
        { id: `msg_${name}${made}`, type: 'message', status: 'completed', role: 'assistant', content: [part] },
      ],
      usage: { input_tokens: tokens, output_tokens: 2, total_tokens: tokens + 2 },
      odd: true,
    }
    if (body['store'] !== false) kept.set(response.id, { response, items: conversation })
    if (body['stream'] === true) return stream(res, response, -1)
    send(200, response)
  }

  async function stream(res: ServerResponse, response: Kept['response'], after: number): Promise<void> {
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    const begun = { ...response, status: 'in_progress', output: [], usage: null }
    const [thought, message] = response.output as [Item, Item]
    const text = String((message['content'] as Item[])[0]?.['text'])
    const place = { item_id: message.id, output_index: 1, content_index: 0 }
    const events: Array<readonly [string, object]> = [
      ['response.created', { response: begun }],
      ['response.in_progress', { response: begun }],
      ['response.output_item.added', { output_index: 0, item: thought }],
      ['response.output_item.done', { output_index: 0, item: thought }],
      ['response.output_item.added', { output_index: 1, item: { ...message, content: [] } }],
      ['response.content_part.added', { ...place, part: { type: 'output_text', text: '', annotations: [] } }],
      ...wordsOf(text).map((delta) => ['response.output_text.delta', { ...place, delta, logprobs: [] }] as const),
      ['response.output_text.done', { ...place, text, logprobs: [] }],
      ['response.output_item.done', { output_index: 1, item: message }],
      ['response.completed', { response }],
    ]
    for (const [sequence_number, [type, fields]] of events.entries()) {
      if (sequence_number <= after) continue
      if (options.pauseMs !== undefined) await new Promise((resolve) => setTimeout(resolve, options.pauseMs))
      if (sequence_number > broken.after) return void res.destroy()
      const bytes = `event: ${type}\ndata: ${odd({ type, sequence_number, ...fields }).replaceAll('\n', '')}\n\n`
      written.push(bytes)
      res.write(bytes)
    }
    res.end()
  }

  const { url } = await listen((req, res) => void answer(req, res).catch(() => res.destroy()))
  return {
    baseUrl: `${url}/v1`,
    calls,
    written,
    sick,
    broken,
  }
}

export type StoringUpstream = Awaited<ReturnType<typeof storingUpstream>>

/** JSON as nobody's encoder writes it: what is read and written anew does not look like this. */
function odd(value: unknown): string {
  return JSON.stringify(value, null, ' ').replace('"odd": true', '"odd" :  1.50e+2 , "\\u006fdd": "\\u0041\\/ 你好"')
}
