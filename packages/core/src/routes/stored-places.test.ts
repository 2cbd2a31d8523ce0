import { describe, expect, it } from 'vitest'
import { storedGate } from '../../test/stored-gate.js'

const ask = (model: string, previous?: string) => ({
  model,
  input: 'Hello',
  ...(previous === undefined ? {} : { previous_response_id: previous }),
})

describe('what goes on from a stored response', () => {
  it('goes to the account that has it, whatever the weights, and each key is one', async () => {
    const { ann, calls } = await storedGate()
    const asked = new Set<string>()
    for (let round = 0; round < 24; round += 1) {
      // Two at once: the keys of a provider share calls by how many are under way.
      const firsts = await Promise.all([ann.responses.create(ask('any')), ann.responses.create(ask('any'))])
      for (const first of firsts) {
        const made = calls().length
        const next = await ann.responses.create(ask('any', first.id))
        expect(next.output_text).toBe('4 items')
        expect((await ann.responses.retrieve(first.id)).id).toBe(first.id)
        expect(calls()).toHaveLength(made + 2)
      }
    }
    for (const { key, body } of calls()) if (body['previous_response_id'] !== undefined) asked.add(key)
    expect([...asked].sort()).toEqual(['key-1', 'key-2', 'key-3'])
  })

  it('stays with the one that an answer fell back to, and falls back to no other', async () => {
    const { ann, east, west } = await storedGate()
    east.sick.add('key-1').add('key-2')
    const first = await ann.responses.create(ask('sure'))
    east.sick.clear()
    const made = east.calls.length
    const next = await ann.responses.create(ask('sure', first.id))
    expect(next.output_text).toBe('4 items')
    for await (const event of await ann.responses.create({ ...ask('sure', next.id), stream: true })) {
      if (event.type === 'response.output_text.done') expect(event.text).toBe('7 items')
    }
    west.sick.add('key-3')
    await expect(ann.responses.create(ask('sure', first.id))).rejects.toMatchObject({ status: 502 })
    expect(east.calls).toHaveLength(made)
  })

  it('may turn to another model of the same account', async () => {
    const { ann, west } = await storedGate()
    const first = await ann.responses.create(ask('west/gpt-4o'))
    expect((await ann.responses.create(ask('western', first.id))).output_text).toBe('4 items')
    expect(west.calls.map(({ body }) => body['model'])).toEqual(['gpt-4o', 'gpt-4o-mini'])
  })

  it.each(['western', 'both'])('is refused where the model is of another (%s)', async (model) => {
    const { ann, west } = await storedGate({ models: { both: { targets: ['western', 'west/gpt-4o'] } } })
    const first = await ann.responses.create(ask('east/gpt-4o'))
    await expect(ann.responses.create(ask(model, first.id))).rejects.toMatchObject({ status: 400, param: 'model' })
    expect(west.calls).toEqual([])
  })

  it('is sent beside the first attempt only to who has it', async () => {
    const { ann, east, west } = await storedGate()
    const [fromEast, fromWest] = [
      await ann.responses.create(ask('east/gpt-4o')),
      await ann.responses.create(ask('west/gpt-4o')),
    ]
    for (const { id } of [fromEast, fromWest]) {
      expect((await ann.responses.create(ask('hedged', id))).output_text).toBe('4 items')
      for await (const event of await ann.responses.create({ ...ask('hedged', id), stream: true })) {
        if (event.type === 'response.output_text.done') expect(event.text).toBe('4 items')
      }
    }
    const named = (calls: typeof east.calls) => calls.flatMap(({ body }) => body['previous_response_id'] ?? [])
    expect(new Set(named(east.calls))).toEqual(new Set(['resp_east1']))
    expect(new Set(named(west.calls))).toEqual(new Set(['resp_west1']))
  })

  it('is refused by models that store nothing, and passes them by', async () => {
    const { ann, west } = await storedGate({ models: { mixed: { targets: ['plain/gpt-4o', 'east/gpt-4o'] } } })
    const first = await ann.responses.create(ask('sure'))
    const refused = { status: 400, param: 'previous_response_id' }
    await expect(ann.responses.create(ask('plain/gpt-4o', first.id))).rejects.toMatchObject(refused)
    expect((await ann.responses.create(ask('mixed', first.id))).output_text).toBe('4 items')
    expect(west.calls).toEqual([])
  })
})

describe('items of stored responses', () => {
  it('are known by their ids, and lead to who has them', async () => {
    const { ann, west } = await storedGate()
    const first = await ann.responses.create(ask('west/gpt-4o'))
    const [thought, message] = first.output as unknown as [{ id: string }, { id: string }]
    const reference = { type: 'item_reference' as const, id: message.id }
    const user = { role: 'user' as const, content: 'And now?' }
    for (const input of [
      [...first.output, user],
      [reference, user],
      [{ id: thought.id } as never, user],
    ]) {
      for (let round = 0; round < 4; round += 1) {
        const answer = await ann.responses.create({ model: 'any', input: input as never })
        expect(answer.output_text).toBe(`${input.length} items`)
      }
    }
    expect(west.calls[1]?.body['input']).toMatchObject([{ id: 'rs_west1' }, { id: 'msg_west1' }, user])
    expect(west.calls).toHaveLength(13)
  })

  it('need not be there for models that could not read them: thoughts', async () => {
    const { ann, west } = await storedGate({ models: { mixed: { targets: ['plain/gpt-4o', 'west/gpt-4o'] } } })
    const { output } = await ann.responses.create(ask('east/gpt-4o'))
    // Put into the words of chat completions, which this upstream does not have.
    await ann.responses.create({ model: 'mixed', input: output as never }).catch(() => {})
    expect(west.calls.map(({ path }) => path)).toEqual(['/v1/chat/completions'])
    expect(west.calls[0]?.body['messages']).toMatchObject([{ role: 'assistant', content: [{ text: '1 items' }] }])
    await expect(ann.responses.create({ model: 'west/gpt-4o', input: output as never })).rejects.toMatchObject({
      status: 400,
      param: 'model',
    })
  })

  it('cannot be of two upstreams at once', async () => {
    const { ann } = await storedGate()
    const [one, other] = [
      await ann.responses.create(ask('east/gpt-4o')),
      await ann.responses.create(ask('west/gpt-4o')),
    ]
    const input = [{ type: 'item_reference' as const, id: String(other.output[1]?.id) }]
    await expect(ann.responses.create({ ...ask('any', one.id), input })).rejects.toMatchObject({
      status: 400,
      param: 'input[0].id',
    })
  })
})

describe('guards', () => {
  const guarded = (guard: object) => ({ guarded: { targets: ['east/gpt-4o'], guards: [guard as never] } })

  it('read what is new', async () => {
    const shout = { name: 'shout', input: () => ({ change: (text: string) => text.toUpperCase() }) }
    const { ann, east } = await storedGate({ models: guarded(shout) })
    const first = await ann.responses.create(ask('guarded'))
    expect((await ann.responses.create(ask('guarded', first.id))).output_text).toBe('4 items')
    expect(east.calls[1]?.body).toMatchObject({ input: 'HELLO', previous_response_id: 'resp_east1' })
  })

  it('that read answers leave nothing that is stored', async () => {
    const reader = { name: 'reader', output: { window: 1, check: () => 'pass' } }
    const { ann, east } = await storedGate({ models: guarded(reader) })
    const first = await ann.responses.create(ask('east/gpt-4o'))
    const refused = { status: 400, param: 'previous_response_id' }
    await expect(ann.responses.create(ask('guarded', first.id))).rejects.toMatchObject(refused)
    await expect(ann.responses.create(ask('guarded'))).rejects.toMatchObject({ status: 404 })
    expect(east.calls.map(({ path }) => path)).toEqual(['/v1/responses', '/v1/chat/completions'])
  })
})

describe('the bill of what goes on', () => {
  it('is what the upstream says, though the caller has left', async () => {
    const { url, ann, rows } = await storedGate({ pauseMs: 20 })
    const first = await ann.responses.create({ ...ask('east/gpt-4o'), input: 'word '.repeat(5_000) })
    const leaving = new AbortController()
    const response = await fetch(`${url}/v1/responses`, {
      method: 'POST',
      headers: { authorization: 'Bearer a ann', 'content-type': 'application/json' },
      body: JSON.stringify({ ...ask('sure', first.id), stream: true }),
      signal: leaving.signal,
    })
    await response.body?.getReader().read()
    leaving.abort()
    await expect.poll(() => rows).toHaveLength(2)
    expect(rows[1]?.usage).toMatchObject({ estimated: false })
    expect(rows[1]?.usage?.inputTokens).toBeGreaterThan(5_000)
  })
})
