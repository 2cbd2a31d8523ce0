import { expect, it, onTestFinished } from 'vitest'
import { openAiUpstream, upstreamKey } from '../../test/openai-upstream.js'
import type { Call } from '../inference/model.js'
import { openAiCompatible } from './openai-compatible.js'

const call: Call = { signal: new AbortController().signal, requestId: 'r-1' }
const hello = { messages: [{ role: 'user' as const, content: 'hello' }] }

it.each([
  ['a b', 'x', /'a b' is no name/],
  ['x-token', 'the-secret\n', /x-token has characters/],
  ['x-token', 'the-secret\u20ac', /x-token has characters/],
  ['Transfer-Encoding', 'chunked', /Transfer-Encoding cannot be set/],
  ['expect', '100-continue', /expect cannot be set/],
])('refuses the header %s: %j when it is configured', (field, value, words) => {
  const make = () => openAiCompatible({ name: 'up', baseUrl: 'http://h.example/v1', headers: { [field]: value } })
  expect(make).toThrow(expect.objectContaining({ code: 'config_invalid', message: expect.stringMatching(words) }))
  expect(make).not.toThrow(/the-secret/)
})

it('goes on with the next key after one that cannot be sent', async () => {
  const upstream = await openAiUpstream({})
  const keys = [`${upstreamKey}\n`, upstreamKey]
  const apiKey = () => keys.shift() ?? upstreamKey
  const provider = openAiCompatible({ name: 'up', baseUrl: upstream.baseUrl, apiKey, maxConnections: 1 })
  onTestFinished(async () => {
    await provider.close?.()
    await upstream.close()
  })
  const model = provider.model('generate', 'm')
  await expect(model?.run(hello, call)).rejects.toMatchObject({ code: 'internal' })
  expect(await model?.run(hello, call)).toMatchObject({ output: { finishReason: 'stop' } })
})
