import fc from 'fast-check'
import type OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { secret, storedGate } from '../../test/stored-gate.js'
import { responseIds } from './response-ids.js'

const ids = responseIds({ secrets: [secret] })
const ofA = { tenant: 'a', subject: 'ann', method: 'api-key', scopes: [] } as const
const own = (id: string | null | undefined) => ids.open(ofA, String(id))?.id
/** What the upstream wrote, if all ids are its own again. */
const inItsWords = (text: string) => text.replace(/"((?:resp|msg|rs)_[\w-]{60,})"/g, (_, id) => `"${own(id)}"`)

type Params = OpenAI.Responses.ResponseCreateParamsNonStreaming
const ask = (model: string, more: Omit<Partial<Params>, 'stream'> = {}) => ({ model, input: 'Hello', ...more })
const refusalOf = (asked: PromiseLike<unknown>) =>
  Promise.resolve(asked).then(
    () => expect.unreachable(),
    ({ status, error }: { status: number; error: unknown }) => ({ status, error }),
  )

describe('a caller of its own stored responses', () => {
  it('goes on from one, and the upstream reads its own ids', async () => {
    const { ann, east } = await storedGate()
    const first = await ann.responses.create(ask('sure'))
    const second = await ann.responses.create(ask('sure', { previous_response_id: first.id }))
    const third = await ann.responses.create({ ...ask('sure', { previous_response_id: second.id }), stream: true })
    const told = new Set<string | null | undefined>()
    for await (const event of third) {
      if ('response' in event) told.add(event.response.id).add(event.response.previous_response_id)
      if (event.type === 'response.completed') expect(event.response.output_text ?? '').toBe('')
      if (event.type === 'response.output_text.done') expect(event.text).toBe('7 items')
    }
    expect([first.output_text, second.output_text]).toEqual(['1 items', '4 items'])
    expect(second.previous_response_id).toBe(first.id)
    expect([...told].map(own)).toEqual(['resp_east3', 'resp_east2'])
    expect(told.has(second.id)).toBe(true)
    expect(east.calls.map(({ body }) => body['previous_response_id'])).toEqual([undefined, 'resp_east1', 'resp_east2'])
  })

  it('gets the bytes of the upstream, but for the ids', async () => {
    const { url, east, ann } = await storedGate()
    const { id } = await ann.responses.create(ask('sure'))
    const asked: Array<readonly [string, string, unknown?]> = [
      ['POST', '', ask('sure')],
      ['POST', '', { ...ask('sure'), previous_response_id: id, stream: true }],
      ['GET', `/${id}`],
      ['GET', `/${id}?stream=true`],
      ['GET', `/${id}/input_items`],
      ['DELETE', `/${id}`],
    ]
    for (const [method, path, body] of asked) {
      const from = east.written.length
      const response = await fetch(`${url}/v1/responses${path}`, {
        method,
        headers: { authorization: 'Bearer a ann', 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const text = await response.text()
      expect(response.status).toBe(200)
      expect(text).not.toMatch(/"(?:resp|msg|rs)_east/)
      expect(inItsWords(text)).toBe(east.written.slice(from).join(''))
    }
  })

  it('fetches, lists, streams and deletes it', async () => {
    const { ann, east } = await storedGate()
    const first = await ann.responses.create(ask('sure'))
    const second = await ann.responses.create(ask('sure', { previous_response_id: first.id }))
    const fetched = await ann.responses.retrieve(second.id, { include: ['reasoning.encrypted_content'] })
    expect(fetched).toEqual(second)
    expect(east.calls.at(-1)?.path).toBe('/v1/responses/resp_east2?include%5B%5D=reasoning.encrypted_content')

    const pages = await ann.responses.inputItems.list(second.id, { limit: 1, order: 'asc' })
    const items: OpenAI.Responses.ResponseItem[] = []
    for await (const item of pages) items.push(item)
    expect(items.map(({ id }) => own(id))).toEqual(['msg_east1i0', 'rs_east1', 'msg_east1', 'msg_east2i0'])
    expect(first.output.map(({ id }) => id)).toEqual(items.slice(1, 3).map(({ id }) => id))

    const types: string[] = []
    for await (const event of await ann.responses.retrieve(second.id, { stream: true, starting_after: 5 })) {
      types.push(`${event.sequence_number} ${event.type}`)
    }
    expect(types.slice(0, 2)).toEqual(['6 response.output_text.delta', '7 response.output_text.delta'])
    expect(types.at(-1)).toBe('10 response.completed')

    await ann.responses.delete(second.id)
    expect(await refusalOf(ann.responses.retrieve(second.id))).toMatchObject({ status: 404 })
    expect((await ann.responses.retrieve(first.id)).id).toBe(first.id)
  })

  it('passes on that the upstream does not cancel what was not in the background', async () => {
    const { ann, east } = await storedGate()
    const { id } = await ann.responses.create(ask('sure'))
    expect(await refusalOf(ann.responses.cancel(id))).toMatchObject({ status: 400 })
    expect(east.calls.at(-1)).toMatchObject({ method: 'POST', path: '/v1/responses/resp_east1/cancel', body: {} })
  })

  it('finds it after a restart, on another server', async () => {
    const before = await storedGate()
    const { id } = await before.ann.responses.create(ask('sure'))
    const after = await storedGate({ upstreams: before.upstreams })
    expect((await after.ann.responses.retrieve(id)).id).toBe(id)
    const next = await after.ann.responses.create(ask('sure', { previous_response_id: id }))
    expect([next.output_text, next.previous_response_id]).toEqual(['4 items', id])
  })
})

describe('a caller of another tenant', () => {
  it('learns nothing from an id, whatever it asks', async () => {
    const { ann, bob, calls } = await storedGate()
    const { id } = await ann.responses.create(ask('sure'))
    const gone = await ann.responses.create(ask('sure'))
    await ann.responses.delete(gone.id)
    const asked = calls().length
    const questions = (client: OpenAI, of: string) => [
      client.responses.retrieve(of),
      client.responses.delete(of),
      client.responses.inputItems.list(of),
      client.responses.cancel(of),
      client.responses.retrieve(of, { stream: true }),
    ]
    const others = await Promise.all(questions(bob, id).map(refusalOf))
    const unknown = await Promise.all(questions(bob, 'resp_67ccd2bed1ec8190').map(refusalOf))
    const changed = await Promise.all(questions(ann, `${id.slice(0, -2)}xx`).map(refusalOf))
    expect(calls()).toHaveLength(asked)
    const forgotten = await Promise.all(questions(ann, gone.id).map(refusalOf))
    expect(others[0]).toMatchObject({ status: 404, error: { code: 'not_found', param: null } })
    for (const answers of [others, unknown, changed, forgotten]) expect(answers).toEqual(Array(5).fill(others[0]))
  })

  it('cannot go on from it, and is told the same of ids that never were', async () => {
    const { ann, bob, calls } = await storedGate()
    const { id, output } = await ann.responses.create(ask('sure'))
    const gone = await ann.responses.create(ask('sure'))
    await ann.responses.delete(gone.id)
    const asked = calls().length
    const told = await refusalOf(bob.responses.create(ask('sure', { previous_response_id: id })))
    expect(told).toMatchObject({ status: 404, error: { param: 'previous_response_id' } })
    const create = (client: OpenAI, of: string) =>
      refusalOf(client.responses.create({ ...ask('sure', { previous_response_id: of }), stream: true }))
    expect(await create(bob, 'resp_east1')).toEqual(told)
    expect(await create(ann, 'resp_east1')).toEqual(told)
    const reference = [{ type: 'item_reference' as const, id: String(output[1]?.id) }]
    const item = await refusalOf(bob.responses.create({ model: 'sure', input: reference }))
    expect(item).toMatchObject({ status: 404, error: { param: 'input[0].id' } })
    expect(calls()).toHaveLength(asked)
    // Of its own what the upstream has forgotten.
    expect(await create(ann, gone.id)).toEqual(told)
  })

  it('cannot have an id sealed for itself by sending what is in it', async () => {
    const { ann, bob, east } = await storedGate()
    const { id, output } = await ann.responses.create(ask('sure'))
    const item = String(output[1]?.id)
    const [, inIt = ''] = /"(msg_east1)"/.exec(Buffer.from(item.slice(4), 'base64url').toString('latin1')) ?? []
    expect(inIt).toBe('msg_east1')
    const user = { role: 'user' as const, content: 'Hello' }
    const input = [
      { ...user, type: 'message', id: inIt },
      { ...user, type: 'message', id: item },
      { type: 'function_call', id: inIt, call_id: 'c', name: 'n', arguments: '{}' },
      { type: 'mcp_approval_response', approval_request_id: inIt, approve: true },
    ]
    const made = await bob.responses.create({ ...ask('sure'), input: input as never })
    const { data } = await bob.responses.inputItems.list(made.id)
    expect(data).toHaveLength(4)
    expect(JSON.stringify(east.calls.slice(1))).not.toMatch(/(?:msg|resp)_east1\b/)
    expect(data.map((each) => ids.open({ ...ofA, tenant: 'b' }, String(each.id))?.id)).not.toContain(inIt)
    expect(await refusalOf(bob.responses.retrieve(id))).toMatchObject({ status: 404 })
  })

  it('is answered alike whatever it makes up', async () => {
    const { url, calls } = await storedGate()
    const headers = { authorization: 'Bearer b bob' }
    const get = async (path: string) => {
      const response = await fetch(`${url}/v1/responses/${path}`, { headers })
      return [response.status, await response.text()]
    }
    const unknown = await get('resp_1')
    const made = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !/^[\s./\\]*$/.test(text))
    await fc.assert(
      fc.asyncProperty(made, async (text) => {
        expect(await get(encodeURIComponent(text))).toEqual(unknown)
      }),
      // Each is a request of the thousand that the rule lets pass.
      { numRuns: 200 },
    )
    expect(await get(`resp_${'A'.repeat(6_000)}`)).toEqual(unknown)
    expect(await get('%E0%A4%A')).toMatchObject([400, expect.stringContaining('percent-encoding')])
    expect(calls()).toEqual([])
  })

  it('of the same tenant may, unless ids are for the principal', async () => {
    const { ann, client } = await storedGate()
    const { id } = await ann.responses.create(ask('sure'))
    expect((await client('a carl').responses.retrieve(id)).id).toBe(id)
    const strict = await storedGate({ ids: responseIds({ secrets: [secret], scope: 'principal' }) })
    const { id: hers } = await strict.ann.responses.create(ask('sure'))
    expect((await strict.ann.responses.retrieve(hers)).id).toBe(hers)
    expect(await refusalOf(strict.client('a carl').responses.retrieve(hers))).toMatchObject({ status: 404 })
  })
})

describe('policies', () => {
  it('hold for the model that answered, by whatever name it was asked for', async () => {
    const { ann, client, calls } = await storedGate()
    const { id } = await ann.responses.create(ask('sure'))
    const asked = calls().length
    const limited = client('a ann', { 'x-models': 'gpt-4o-mini' })
    for (const refused of [limited.responses.retrieve(id), limited.responses.delete(id)]) {
      expect(await refusalOf(refused)).toMatchObject({ status: 403, error: { code: 'model_not_allowed' } })
    }
    expect(calls()).toHaveLength(asked)
    const allowed = client('a ann', { 'x-models': 'gpt-4o' })
    expect((await allowed.responses.retrieve(id)).id).toBe(id)
  })

  it('count requests, and bill nothing', async () => {
    const budget = { name: 'budget', measure: 'money', per: 'tenant', limit: '1', calendar: 'month' } as const
    const { ann, rows, limiter } = await storedGate({
      rules: [{ name: 'rpm', measure: 'requests', per: 'tenant', limit: 4 }, budget],
    })
    const { id } = await ann.responses.create(ask('sure'))
    await ann.responses.retrieve(id)
    for await (const _ of await ann.responses.retrieve(id, { stream: true }));
    await ann.responses.delete(id)
    expect(await refusalOf(ann.responses.retrieve(id))).toMatchObject({ status: 429 })
    await expect.poll(() => rows).toHaveLength(4)
    const [made, ...others] = rows
    expect(made).toMatchObject({ route: '/v1/responses', provider: 'east', model: 'gpt-4o', outcome: 'ok' })
    expect(made?.costNanoUsd).toBe((made?.usage?.inputTokens ?? 0) * 1_000 + 2 * 10_000)
    for (const row of others) {
      expect(row).toMatchObject({ provider: 'east', model: 'gpt-4o', outcome: 'ok', status: 200 })
      expect(row).not.toHaveProperty('usage')
      expect(row).not.toHaveProperty('costNanoUsd')
    }
    const standing = await limiter.standing({ headers: {}, socket: {} } as never, { principal: ofA } as never)
    expect(standing.find(({ rule }) => rule === 'budget')).toMatchObject({ used: made?.costNanoUsd, held: 0 })
  })

  it('refuse other methods and other paths', async () => {
    const { url, ann } = await storedGate()
    const { id } = await ann.responses.create(ask('sure'))
    const send = async (method: string, path: string) => {
      const headers = { authorization: 'Bearer a ann' }
      return (await fetch(`${url}/v1/responses/${id}${path}`, { method, headers })).status
    }
    expect(await send('PUT', '')).toBe(405)
    expect(await send('GET', '/cancel')).toBe(405)
    expect(await send('DELETE', '/input_items')).toBe(405)
    expect(await send('GET', '/constructor')).toBe(404)
    expect(await send('GET', '/input_items/more')).toBe(404)
    expect(await send('HEAD', '')).toBe(200)
    expect(await refusalOf(ann.responses.inputItems.list(id, { after: 'msg_east1' }))).toMatchObject({
      status: 404,
      error: { param: 'query.after' },
    })
  })
})
