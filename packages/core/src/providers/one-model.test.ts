import { expect, it, onTestFinished } from 'vitest'
import { openAiUpstream, upstreamKey } from '../../test/openai-upstream.js'
import type { Call } from '../inference/model.js'
import { openAiCompatible } from './openai-compatible.js'

const call: Call = { signal: new AbortController().signal, requestId: 'r-1' }
const messages = [{ role: 'user' as const, content: 'hello' }]

async function start(patchBody: ReadonlyArray<{ pointer: string; value: unknown }> = []) {
  const upstream = await openAiUpstream({})
  const provider = openAiCompatible({ name: 'up', baseUrl: upstream.baseUrl, apiKey: upstreamKey, patchBody })
  onTestFinished(async () => {
    await provider.close?.()
    await upstream.close()
  })
  return { upstream, provider }
}

it.each([{ Model: 'dear' }, { MODEL: 'dear' }, { models: ['dear'] }, { fallbacks: ['dear'] }])(
  'sends no body with %j beside the model that was allowed',
  async (fields) => {
    const { upstream, provider } = await start()
    const body = { model: 'cheap', messages, input: 'hello', ...fields }
    const native = { dialect: 'openai-chat', body } as const
    const chat = provider.model('generate', 'cheap')
    await expect(chat?.run({ messages, native }, call)).rejects.toMatchObject({ code: 'invalid_request' })
    await expect(chat?.stream?.({ messages, native }, call)[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'invalid_request',
      errors: [{ path: Object.keys(fields)[0] }],
    })
    await expect(
      provider
        .model('embed', 'cheap')
        ?.run({ inputs: ['hello'], native: { dialect: 'openai-embeddings', body } }, call),
    ).rejects.toMatchObject({ code: 'invalid_request' })
    await expect(
      provider.model('media', 'cheap')?.run({ path: '/images/generations', body: { json: body } }, call),
    ).rejects.toMatchObject({ code: 'invalid_request' })
    expect(upstream.calls).toEqual([])
  },
)

it('sends what the server itself has set', async () => {
  const { upstream, provider } = await start([{ pointer: '/models', value: ['other'] }])
  await provider.model('generate', 'cheap')?.run({ messages }, call)
  expect(upstream.calls[0]?.body).toMatchObject({ model: 'cheap', models: ['other'] })
})
