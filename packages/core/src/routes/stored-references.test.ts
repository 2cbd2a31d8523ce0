import { describe, expect, it } from 'vitest'
import { storedGate } from '../../test/stored-gate.js'
import { responseIds } from './response-ids.js'
import { type SharedKind, sharedKinds, withStoredReferences } from './stored-references.js'

const ids = responseIds({ secrets: ['a-secret-of-the-servers-0123456789'] })
const principal = { tenant: 'a', subject: 'ann', method: 'api-key', scopes: [] }
const read = (raw: object, allow: readonly SharedKind[] = [], known: typeof ids | null = ids) =>
  withStoredReferences(
    { model: 'm', input: 'hi', ...raw },
    { ids: known ?? undefined, principal, allow: new Set(allow) },
  )
const sealed = (id: string, account = 'openai') =>
  ids.seal(principal, { account, target: { provider: 'openai', model: 'm' }, id })
const user = { role: 'user', content: 'hi' }
const tool = (fields: object) => ({ tools: [fields] })

const shared: ReadonlyArray<readonly [SharedKind, path: string, raw: object]> = [
  ['conversation', 'conversation', { conversation: 'conv_1' }],
  ['conversation', 'conversation', { conversation: { id: 'conv_1' } }],
  ['prompt', 'prompt', { prompt: { id: 'pmpt_1', version: '2' } }],
  ['items', 'input[1].id', { input: [user, { type: 'item_reference', id: 'msg_1' }] }],
  ['items', 'input[0].id', { input: [{ id: 'msg_1' }] }],
  ['items', 'input[0].id', { input: [{ type: 'message', role: 'assistant', id: 'msg_1' }] }],
  ['items', 'input[0].id', { input: [{ type: 'reasoning', id: 'rs_1', summary: [] }] }],
  ['items', 'input[0].id', { input: [{ type: 'reasoning', id: 'rs_1', encrypted_content: null }] }],
  ['items', 'input[0].id', { input: [{ type: 'image_generation_call', id: 'ig_1' }] }],
  ['items', 'input[0].id', { input: [{ type: 'web_search_call', id: 'ws_1', status: 'completed' }] }],
  ['items', 'input[0].id', { input: [{ type: 'of_the_future', id: 'x_1' }] }],
  ['files', 'input[0].content[0].file_id', { input: [{ ...user, content: [{ type: 'input_file', file_id: 'f' }] }] }],
  ['files', 'input[0].output[0].file_id', { input: [{ type: 'function_call_output', output: [{ file_id: 'f' }] }] }],
  [
    'files',
    'tools[0].input_image_mask.file_id',
    tool({ type: 'image_generation', input_image_mask: { file_id: 'f' } }),
  ],
  [
    'files',
    'tools[0].container.file_ids',
    tool({ type: 'code_interpreter', container: { type: 'auto', file_ids: ['f'] } }),
  ],
  ['files', 'of_the_future.file_id', { of_the_future: { file_id: 'f' } }],
  ['vector-stores', 'tools[0].vector_store_ids', tool({ type: 'file_search', vector_store_ids: ['vs_1'] })],
  ['containers', 'tools[0].container', tool({ type: 'code_interpreter', container: 'cntr_1' })],
  ['containers', 'tools[0].environment.container_id', tool({ type: 'shell', environment: { container_id: 'cntr_1' } })],
  [
    'skills',
    'tools[0].environment.skills[0].skill_id',
    tool({ type: 'shell', environment: { skills: [{ skill_id: 's' }] } }),
  ],
  ['tunnels', 'tools[0].tunnel_id', tool({ type: 'mcp', tunnel_id: 't' })],
]

const kinds = sharedKinds

describe('what a request may name of the account that all share', () => {
  it.each(shared)('is no %s (%s), unless the operator allows it', (kind, path, raw) => {
    const others = kinds.filter((each) => each !== kind)
    expect(read(raw, others).refused?.errors).toMatchObject([{ path }])
    const { refused, body, account } = read(raw, [kind])
    expect({ refused, body, account }).toEqual({ body: { model: 'm', input: 'hi', ...raw } })
    const { refused: closed } = read(raw, others, null)
    expect(closed).toMatchObject({ code: 'invalid_request', errors: [{ path }] })
  })

  it.each([
    [
      'a conversation with all it holds',
      { input: [user, { role: 'assistant', content: 'x' }, { type: 'message', ...user, id: 'msg_1' }] },
    ],
    [
      'a call of a function',
      { input: [{ type: 'function_call', id: 'fc_1', call_id: 'c', name: 'n', arguments: '{}' }] },
    ],
    ['its output', { input: [{ type: 'function_call_output', id: 'x', call_id: 'c', output: 'file_id' }] }],
    ['a thought with its proof', { input: [{ type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'x' }] }],
    ['a picture that was made', { input: [{ type: 'image_generation_call', id: 'ig_1', result: 'aGk=' }] }],
    ['a new container', tool({ type: 'code_interpreter', container: { type: 'auto', file_ids: [] } })],
    [
      'parameters of its own',
      tool({ type: 'function', name: 'f', parameters: { properties: { file_id: 'x' }, container: 'y' } }),
    ],
    ['a schema of its own', { text: { format: { type: 'json_schema', name: 's', schema: { file_id: 'x' } } } }],
    ['remarks of its own', { metadata: { file_id: 'x', conversation: 'y' } }],
    [
      'what was cited',
      { input: [{ role: 'assistant', content: [{ type: 'output_text', annotations: [{ file_id: 'f' }] }] }] },
    ],
    ['nothing at all', { conversation: null, prompt: null, previous_response_id: null, background: false, tools: [] }],
  ])('is %s', (_name, raw) => {
    const body = { model: 'm', input: 'hi', ...raw }
    expect(read(raw, [], null)).toEqual({ body })
    // An id that was not given to this caller stays here.
    const withoutId = ({ id: _, ...item }: { id?: string }) => item
    const input = Array.isArray(body.input) ? body.input.map(withoutId) : body.input
    expect(read(raw)).toEqual({ body: { ...body, input } })
  })

  it('is what this caller was given, in the words of the upstream', () => {
    const input = [
      user,
      { type: 'item_reference', id: sealed('msg_1') },
      { type: 'function_call', id: sealed('fc_1'), call_id: 'c', name: 'n', arguments: '{}' },
      { type: 'mcp_approval_response', approval_request_id: sealed('mcpr_1'), approve: true },
    ]
    expect(read({ previous_response_id: sealed('resp_1'), input })).toEqual({
      account: 'openai',
      isBridgeable: false,
      body: {
        model: 'm',
        previous_response_id: 'resp_1',
        input: [
          user,
          { type: 'item_reference', id: 'msg_1' },
          { ...input[2], id: 'fc_1' },
          { ...input[3], approval_request_id: 'mcpr_1' },
        ],
      },
    })
    // To allow what is nobody's takes nothing from what is.
    expect(read({ input: [input[1], { id: 'msg_2' }] }, ['items'])).toMatchObject({
      account: 'openai',
      body: { input: [{ id: 'msg_1' }, { id: 'msg_2' }] },
    })
    // What holds all it stands for may go anywhere.
    expect(read({ input: [input[2]] })).not.toHaveProperty('account')
  })

  it('is not found if it was given to somebody else', () => {
    const other = { ...principal, tenant: 'b' }
    const foreign = ids.seal(other, { account: 'openai', target: { provider: 'openai', model: 'm' }, id: 'resp_1' })
    for (const id of [foreign, 'resp_1', '', 7]) {
      expect(read({ previous_response_id: id }).refused).toMatchObject({ errors: [{ path: 'previous_response_id' }] })
    }
    expect(read({ previous_response_id: foreign }).refused).toMatchObject({ code: 'not_found', status: 404 })
    expect(
      read({ previous_response_id: sealed('resp_1'), input: [{ id: sealed('msg_1', 'azure') }] }).refused,
    ).toMatchObject({
      code: 'invalid_request',
      errors: [{ path: 'input[0].id' }],
    })
  })

  it('is found however deep it stands', () => {
    let input: unknown = { file_id: 'f' }
    for (let depth = 0; depth < 100_000; depth += 1) input = [input]
    expect(read({ tools: [input] }).refused?.errors?.[0]?.path).toMatch(/^tools(?:\[0\])+\.file_id$/)
  })
})

describe('without a secret', () => {
  const ask = (more: object) => ({ model: 'west/gpt-4o', input: 'Hello', ...more }) as never

  it.each([
    ['previous_response_id', { previous_response_id: 'resp_west1' }],
    ['conversation', { conversation: 'conv_1' }],
    ['input[0].id', { input: [{ type: 'item_reference', id: 'msg_west1' }] }],
    ['background', { background: true }],
  ])('refuses %s, saying how to mend it, and asks nobody', async (param, more) => {
    const { ann, west } = await storedGate({ ids: null })
    for (const stream of [false, true]) {
      const asked = ann.responses.create({ ...(ask(more) as object), stream } as never)
      const error = { message: expect.stringMatching(/send |the operator|ask for/) }
      await expect(asked).rejects.toMatchObject({ status: 400, code: 'invalid_request', param, error })
    }
    expect(west.calls).toEqual([])
  })

  it('passes ids as the upstream gives them out', async () => {
    const { ann } = await storedGate({ ids: null })
    const { id, output } = await ann.responses.create(ask({}))
    expect([id, ...output.map((item) => item.id)]).toEqual(['resp_west1', 'rs_west1', 'msg_west1'])
  })

  it('lets pass what the operator allows', async () => {
    const { ann, west } = await storedGate({ ids: null, allow: ['conversation', 'items'] })
    const { output } = await ann.responses.create(ask({ conversation: 'conv_1' }))
    expect(west.calls[0]?.body).toMatchObject({ conversation: 'conv_1' })
    expect((await ann.responses.create(ask({ input: output }))).output_text).toBe('2 items')
  })
})
