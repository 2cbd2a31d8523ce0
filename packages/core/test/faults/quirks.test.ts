import { describe, expect, it } from 'vitest'
import { faultGate, type WireName } from './fault-gate.js'
import { ask, type SurfaceName } from './surfaces.js'

/** Asks once, with an upstream that answers these bytes. */
async function answered(wire: WireName, surface: SurfaceName, body: string, isStream = true, model = 'model') {
  const { url, upstream, rows } = await faultGate(wire)
  upstream.play(model, async (line) => {
    await line.head({ 'content-type': isStream ? 'text/event-stream' : 'application/json' })
    await line.send(body)
    line.end()
  })
  const heard = await ask(url, surface, model, isStream)
  return { heard, row: (await rows(1))[0], requests: upstream.requests }
}

const data = (...events: unknown[]) => events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('')
const named = (...events: Array<{ readonly type: string }>) =>
  events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('')

/** As deep as `JSON.parse` can read and `JSON.stringify` cannot write. */
const depth = 100_000
const deep = `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`

describe('what speaks the API of OpenAI', () => {
  const chunk = (delta: object, more: object = {}) => ({ choices: [{ index: 0, delta, finish_reason: null, ...more }] })
  const call = (fields: object) => chunk({ tool_calls: [fields] })
  const end = `${data(chunk({}, { finish_reason: 'tool_calls' }))}data: [DONE]\n\n`
  const two = [
    { name: 'weather', arguments: '{"city":"Rome"}' },
    { name: 'time', arguments: '{"zone":"UTC"}' },
  ]

  it.each([
    ['without indices', data(...two.map((each, at) => call({ id: `call_${at}`, type: 'function', function: each })))],
    ['all with the index 0', data(...two.map((each, at) => call({ index: 0, id: `call_${at}`, function: each })))],
    [
      'without indices, in pieces',
      data(
        ...two.flatMap(({ name, arguments: json }, at) => [
          call({ id: `call_${at}`, function: { name, arguments: '' } }),
          call({ function: { arguments: json.slice(0, 5) } }),
          call({ function: { arguments: json.slice(5) } }),
        ]),
      ),
    ],
    [
      'with a new id in every piece, which begins none',
      data(
        ...two.flatMap(({ name, arguments: json }, index) => [
          call({ index, id: `call_${index}`, function: { name, arguments: '' } }),
          call({ index, id: `odd_${index}`, function: { arguments: json } }),
        ]),
      ),
    ],
    [
      'with the name in every piece',
      data(
        ...two.flatMap(({ name, arguments: json }, index) => [
          call({ index, id: `call_${index}`, function: { name, arguments: json.slice(0, 3) } }),
          call({ index, id: `call_${index}`, function: { name, arguments: json.slice(3) } }),
        ]),
      ),
    ],
  ])('calls %s are two calls', async (_name, body) => {
    const { heard } = await answered('openai', 'messages', body + end)
    expect(heard).toMatchObject({ isWhole: true, calls: two })
  })

  it.each(['chat', 'messages'] as const)(
    'an answer that ends by an error is no good end, behind %s',
    async (surface) => {
      const choice = { finish_reason: 'error', error: { code: 502, message: 'the provider went away' } }
      const body = `${data(chunk({ content: 'Hello' }), chunk({}, choice))}data: [DONE]\n\n`
      const { heard, row } = await answered('openai', surface, body)
      expect(heard).toMatchObject({ isWhole: false, error: expect.any(String) })
      expect(row).toMatchObject({ outcome: 'error', error: 'upstream_failed' })
      const whole = JSON.stringify({
        choices: [{ index: 0, message: { role: 'assistant', content: 'Hel' }, ...choice }],
      })
      expect((await answered('openai', surface, whole, false)).heard).toMatchObject({ status: 502 })
    },
  )

  it('two calls at once of which the first never closes are no work without end', async () => {
    const names = [call({ index: 0, id: 'a', function: { name: 'f', arguments: '{"x":"' } })]
    const begun = data(...names, call({ index: 1, id: 'b', function: { name: 'g', arguments: '{}' } }))
    const piece = data(call({ index: 0, function: { arguments: '}'.repeat(10) } })).repeat(100_000)
    const { heard } = await answered('openai', 'messages', begun + piece + end)
    expect(heard).toMatchObject({ isWhole: true, calls: [{ name: 'f' }, { name: 'g', arguments: '{}' }] })
  })

  it('a hundred thousand thoughts in one event are no trouble', async () => {
    const details = Array.from({ length: 130_000 }, () => ({ text: 'a' }))
    const body = data(chunk({ reasoning_details: details }), chunk({ content: 'Hi' }, { finish_reason: 'stop' }))
    const { heard } = await answered('openai', 'messages', body)
    expect(heard).toMatchObject({ text: 'Hi', isWhole: true })
  })

  it.each([
    { prompt_tokens: Number.MAX_SAFE_INTEGER, completion_tokens: Number.MAX_SAFE_INTEGER },
    { prompt_tokens: -1, completion_tokens: 2 },
    { prompt_tokens: '7', completion_tokens: 2 },
    { prompt_tokens: 1.5, completion_tokens: 2 },
    { prompt_tokens: 1e300, completion_tokens: 2 },
    { prompt_tokens: 7, completion_tokens: 2, prompt_tokens_details: 'x', completion_tokens_details: [] },
    [],
    'x',
  ])('a usage that is none costs no answer: %j', async (usage) => {
    const message = { role: 'assistant', content: 'Hi' }
    const whole = JSON.stringify({ choices: [{ index: 0, message, finish_reason: 'stop' }], usage })
    const body = data(chunk({ content: 'Hi' }, { finish_reason: 'stop' }), { choices: [], usage })
    for (const surface of ['chat', 'messages'] as const) {
      for (const isStream of [false, true]) {
        const { heard, row } = await answered('openai', surface, isStream ? body : whole, isStream)
        expect(heard).toMatchObject({ status: 200, text: 'Hi', isWhole: true })
        expect(row).toMatchObject({ outcome: 'ok', usage: { inputTokens: expect.any(Number) } })
      }
    }
  })
})

describe("what speaks Anthropic's API", () => {
  const start = { type: 'message_start', message: { usage: { input_tokens: 3, output_tokens: 1 } } }
  const stop = [
    { type: 'message_delta', delta: { stop_reason: 'tool_use' }, usage: { output_tokens: 5 } },
    { type: 'message_stop' },
  ]

  it('a call that is whole where it begins keeps its arguments', async () => {
    const block = { type: 'tool_use', id: 'toolu_1', name: 'weather', input: { city: 'Rome' } }
    const body = named(
      start,
      { type: 'content_block_start', index: 0, content_block: block } as { type: string },
      { type: 'content_block_stop', index: 0 } as { type: string },
      ...stop,
    )
    for (const surface of ['chat', 'messages'] as const) {
      const { heard } = await answered('anthropic', surface, body)
      expect(heard).toMatchObject({ isWhole: true })
      if (surface === 'chat') expect(heard.calls).toEqual([{ name: 'weather', arguments: '{"city":"Rome"}' }])
    }
  })

  it('nonsense among what was relayed is billed for what could be read, and ends nothing', async () => {
    const piece = (text: string) => ({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })
    const begun = named(
      start,
      { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } } as { type: string },
      piece('Hello'),
    )
    const { url, upstream, row } = await faultGate('anthropic')
    upstream.play('model', async (line) => {
      await line.head({ 'content-type': 'text/event-stream' })
      await line.send(begun)
      await line.dribble('event: content_block_delta\ndata: {nonsense\n\n', 1_000, 20)
      await line.dribble(named(piece(' world')), 1_000, 20)
      line.end()
    })
    const response = await fetch(`${url}/v1/messages`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'model', max_tokens: 9, stream: true, messages: [{ role: 'user', content: 'x' }] }),
    })
    expect(await response.text()).toMatch(/Hello[\s\S]*world[\s\S]*event: error\ndata: [\s\S]*api_error/)
    expect(await row('model')).toMatchObject({ outcome: 'error', usage: { outputTokens: 3, estimated: true } })
  })
})

it.each<[WireName, SurfaceName, string]>([
  ['openai', 'chat', 'data: [DONE]\n\n'],
  ['openai', 'completions', 'data: [DONE]\n\n'],
  ['openai', 'messages', 'data: [DONE]\n\n'],
  ['openai', 'chat', `${data({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 0 } })}data: [DONE]\n\n`],
  ['anthropic', 'messages', named({ type: 'message_stop' })],
  ['anthropic', 'chat', named({ type: 'message_stop' })],
])('%s behind %s: an end alone is no answer', async (wire, surface, body) => {
  const { heard, row } = await answered(wire, surface, body)
  expect(heard).toMatchObject({ status: 502, error: expect.any(String) })
  expect(row).toMatchObject({ outcome: 'error', error: 'upstream_invalid' })
})

it.each(['chat', 'messages'] as const)(
  'an end without a reason is one, where something was said: %s',
  async (surface) => {
    const body = `${data({ choices: [{ index: 0, delta: { content: 'Hi' }, finish_reason: null }] })}data: [DONE]\n\n`
    const { heard, row } = await answered('openai', surface, body)
    expect(heard).toMatchObject({ status: 200, text: 'Hi', error: undefined })
    expect(row).toMatchObject({ outcome: 'ok' })
  },
)

describe("what speaks Google's API", () => {
  const event = (parts: unknown[], more: object = {}) => ({ candidates: [{ content: { parts }, ...more }] })

  it('last words are not lost where the last event has no blank line', async () => {
    const body = data(event([{ text: 'Hello ' }]), event([{ text: 'world.' }], { finishReason: 'STOP' })).trimEnd()
    expect((await answered('gemini', 'chat', body)).heard).toMatchObject({ text: 'Hello world.', isWhole: true })
  })

  it.each(['MALFORMED_FUNCTION_CALL', 'UNEXPECTED_TOOL_CALL', 'MALFORMED_RESPONSE'])(
    'an answer that is nothing, because of %s, is no good end',
    async (finishReason) => {
      const refused = { status: 502, error: 'upstream_invalid' }
      for (const parts of [[], [{ text: '' }]]) {
        const json = JSON.stringify({ ...event(parts, { finishReason }), usageMetadata: { promptTokenCount: 9 } })
        const whole = await answered('gemini', 'chat', json, false)
        expect(whole.heard).toMatchObject(refused)
        expect(whole.row).toMatchObject({ outcome: 'error', usage: { inputTokens: 9 } })
        const streamed = await answered('gemini', 'chat', `data: ${json}\n\n`)
        expect(streamed.heard).toMatchObject(refused)
        expect(streamed.row).toMatchObject({ outcome: 'error', usage: { inputTokens: 9 } })
      }
    },
  )

  it.each(['{"candidates":[]}', '{"candidates":[null]}', '{"candidates":["x"]}', '{"candidates":{}}'])(
    'an answer without a candidate is none: %s',
    async (json) => {
      expect((await answered('gemini', 'chat', json, false)).heard).toMatchObject({
        status: 502,
        error: 'upstream_invalid',
      })
    },
  )

  it('a call without a name is nonsense', async () => {
    const json = JSON.stringify(event([{ functionCall: { args: {} } }], { finishReason: 'STOP' }))
    for (const isStream of [false, true]) {
      const { heard } = await answered('gemini', 'chat', isStream ? `data: ${json}\n\n` : json, isStream)
      expect(heard).toMatchObject({ status: 502, error: 'upstream_invalid' })
    }
  })

  it.each(['../../other', 'a?key=b#c', '%2e%2e%2fx', 'a/../b', 'a b\r\nx-evil: 1', '..', 'ü:countTokens'])(
    'a name stays one piece of the path: %j',
    async (model) => {
      const { heard, requests } = await answered('gemini', 'chat', '{"candidates":[{}]}', false, model)
      expect(heard.status).toBe(200)
      expect(requests.map(({ path }) => path)).toEqual([`/v1beta/models/${encodeURIComponent(model)}:generateContent`])
      expect(requests[0]?.headers).not.toHaveProperty('x-evil')
    },
  )

  it('has no model whose name is no text', async () => {
    const { url, rows } = await faultGate('gemini')
    for (const isStream of [false, true]) {
      expect(await ask(url, 'chat', 'gemini-\ud800', isStream)).toMatchObject({ status: 404, error: 'model_not_found' })
    }
    expect(await rows(2)).toHaveLength(2)
  })

  it('keeps the query of its base URL apart from its own', async () => {
    const { url, upstream } = await faultGate('gemini', {}, undefined, (base) => `${base}?tenant=a`)
    expect(await ask(url, 'chat', 'model', true)).toMatchObject({ isWhole: true })
    expect(upstream.requests.map(({ path }) => path)).toEqual([
      '/v1beta/models/model:streamGenerateContent?alt=sse&tenant=a',
    ])
  })
})

describe('what nobody could write down again', () => {
  it.each<[WireName, string]>([
    [
      'gemini',
      `{"candidates":[{"finishReason":"STOP","content":{"parts":[{"functionCall":{"name":"f","args":${deep}}}]}}]}`,
    ],
    ['anthropic', `{"content":[{"type":"tool_use","id":"t","name":"f","input":${deep}}],"stop_reason":"tool_use"}`],
    ['bedrock', `{"output":{"message":{"content":[{"toolUse":{"toolUseId":"t","name":"f","input":${deep}}}]}}}`],
  ])('%s: arguments that are nested too deeply are nonsense of the upstream', async (wire, json) => {
    const { heard, row } = await answered(wire, 'chat', json, false)
    expect(heard).toMatchObject({ status: 502, error: 'upstream_invalid' })
    expect(row).toMatchObject({ outcome: 'error', error: 'upstream_invalid' })
  })
})
