import { createClient, isTollgateClientError, responseOf } from '@tollgate/client'
import { hashPassword } from '@tollgate/core/stores/password-hash'
import { describe, expect, it } from 'vitest'
import {
  answerBytes,
  answerEvents,
  answerJson,
  formOf,
  mediaUpstream,
} from '../../../packages/core/test/media-upstream.js'
import { wordsOf } from '../../../packages/core/test/openai-upstream.js'
import { apiKey, startGate, startGateway } from './running-gate.js'

const messages = [{ role: 'user' as const, content: 'What is the time?' }]
const upstreamText = wordsOf().join('')

describe('@tollgate/client, against the server', () => {
  it('asks, and is told what it cost; a repeated question is answered from the cache', async () => {
    const { url } = await startGateway()
    const client = createClient({ baseUrl: url, apiKey })
    const first = await client.inference({ prompt: 'Hello', user_id: 'u1' })
    expect(first).toMatchObject({ response: upstreamText, model: 'gpt-4o-mini', cached: false })
    const cost = (first.prompt_tokens * 150 + first.completion_tokens * 600) / 1e9
    expect(first.estimated_cost_usd).toBe(cost)
    const second = await client.inference({ prompt: 'Hello', user_id: 'u1' })
    expect(second).toMatchObject({ response: upstreamText, cached: true, estimated_cost_usd: 0 })
    expect(second.request_id).not.toBe(first.request_id)
    expect(second.request_id).toBe(responseOf(second)?.requestId)
  })

  it('chats, whole and streamed', async () => {
    const { url } = await startGateway()
    const client = createClient({ baseUrl: url, apiKey })
    const whole = await client.chat({ model: 'gpt-4o-mini', messages })
    expect(whole.choices[0]?.message.content).toBe(upstreamText)
    let text = ''
    for await (const piece of client.chat.stream({ model: 'gpt-4o-mini', messages }).text()) text += piece
    expect(text).toBe(upstreamText)
  })

  it('embeds, predicts and lists', async () => {
    const { url } = await startGate()
    const client = createClient({ baseUrl: url, apiKey })
    const { embeddings } = await client.embed({ model: 'echo', input: ['a', 'b'] })
    expect(embeddings).toHaveLength(2)
    expect(embeddings[0]).toBeInstanceOf(Float32Array)
    expect(await client.predict({ text: 'Wo ist der Bahnhof?' })).toMatchObject({
      prediction: 'de',
      result: 'de',
      model_version: '1.0.0',
    })
    expect((await client.models.list()).map(({ id }) => id).sort()).toEqual(['echo', 'iris', 'language-id'])
    expect(await client.models.get('iris')).toMatchObject({
      task: 'predict',
      versions: [{ version: '1.0.0', latest: true }],
    })
    expect(await client.health()).toMatchObject({ status: 'ok', gpu_available: expect.any(Boolean) })
  })

  it('makes pictures, speaks and hears, from a stream too', async () => {
    const usage = { type: 'tokens', input_tokens: 14, output_tokens: 45, input_token_details: { audio_tokens: 14 } }
    const events = [
      { type: 'transcript.text.delta', delta: 'hi' },
      { type: 'transcript.text.done', text: 'hi', usage },
    ]
    const upstream = await mediaUpstream({
      answer(call, res) {
        if (call.path.endsWith('/speech')) return answerBytes('sound', 'audio/mpeg')(call, res)
        if (upstream.calls.length === 4) return answerEvents(events)(call, res)
        return answerJson({ created: 1, data: [{ b64_json: 'A' }], text: 'hi', usage })(call, res)
      },
    })
    const { url, line } = await startGate({
      OPENAI_API_KEY: 'sk-upstream-0123456789',
      OPENAI_BASE_URL: upstream.baseUrl,
      MODEL_NAME: 'gpt-4o-mini',
      PRICES: JSON.stringify({ 'gpt-image-1': { usdPerMillionTokens: { input: '5', output: '40' } } }),
    })
    const client = createClient({ baseUrl: url, apiKey })
    const edited = await client.images.edit({ model: 'gpt-image-1', prompt: 'a hat', image: new Blob(['png']) })
    expect(edited.data).toEqual([{ b64_json: 'A' }])
    expect(responseOf(edited)?.costUsd).toBe((14 * 5 + 45 * 40) / 1e6)
    const spoken = await client.audio.speech({ model: 'gpt-4o-mini-tts', input: 'hi', voice: 'alloy' })
    expect(new TextDecoder().decode(await spoken.bytes())).toBe('sound')
    const content = new Blob(['a'.repeat(200_000)]).stream()
    const heard = await client.audio.transcribe({ model: 'gpt-4o-transcribe', file: { content, name: 'a.wav' } })
    expect(heard).toMatchObject({ text: 'hi', usage })
    const form = await formOf(upstream.calls[2] as never)
    expect([form.get('model'), (form.get('file') as File).size]).toEqual(['gpt-4o-transcribe', 200_000])
    expect(await line(responseOf(heard)?.requestId ?? '')).toMatchObject({ completion_tokens: 45, status: 200 })
    const stream = client.audio.transcribe.stream({ model: 'gpt-4o-transcribe', file: new File(['RIFF'], 'a.wav') })
    expect(await stream.final()).toEqual({ text: 'hi', usage })
  })

  it('predicts many rows in their order, and a wrong row is its own failure', async () => {
    const { url } = await startGate()
    const client = createClient({ baseUrl: url, apiKey })
    const flowers = [
      [5.1, 3.5, 1.4, 0.2],
      [6.7, 3.0, 5.2, 2.3],
      [5.9, 3.0, 4.2, 1.5],
    ]
    const rows: unknown[] = Array.from({ length: 2500 }, (_, index) => ({ features: flowers[index % 3] }))
    rows[1234] = { features: [1, 2, 3] }
    const items = await client.predictBatch(rows, { chunkSize: 500, concurrency: 3 })
    expect(items).toHaveLength(2500)
    const species = ['setosa', 'virginica', 'versicolor']
    items.forEach((item, index) => {
      expect(item.index).toBe(index)
      if (index === 1234) expect(item.status).toBe('error')
      else expect(item).toMatchObject({ status: 'ok', value: { prediction: species[index % 3] } })
    })
  })

  it('logs in with a password, and is who it says', async () => {
    const users = [
      {
        username: 'ada',
        password_hash: await hashPassword('correct horse battery'),
        tenant: 'acme',
        tier: 'pro',
        scopes: ['predict'],
      },
    ]
    const { url, lines } = await startGate({ USERS: JSON.stringify(users), PASSWORD_GRANT: 'true' })
    const credentials = { username: 'ada', password: 'correct horse battery' }
    const client = createClient({ baseUrl: url, credentials })
    const both = await Promise.all([client.predict({ text: 'Bonjour tout le monde' }), client.models.list()])
    expect(both[0]).toMatchObject({ prediction: 'fr' })
    expect(responseOf(both[0])?.rateLimit).toBeDefined()
    // One login served both.
    await expect.poll(() => lines.filter(({ path }) => path === '/v1/token')).toHaveLength(1)
    expect(lines.find(({ path }) => path === '/v1/predict')).toMatchObject({ tenant: 'acme', user: 'ada' })
    const wrong = createClient({ baseUrl: url, credentials: { ...credentials, password: 'wrong' } })
    await expect(wrong.models.list()).rejects.toSatisfy((error) => isTollgateClientError(error))
  })

  it('tells refusals by their code', async () => {
    const { url } = await startGate({ API_KEY_TIER: 'free', RATE_LIMIT_FREE: '1' })
    const client = createClient({ baseUrl: url, apiKey, maxAttempts: 1 })
    await expect(client.predict({ text: 'a', model: 'nope' })).rejects.toSatisfy((error) =>
      isTollgateClientError(error, 'model_not_found'),
    )
    const limited = await client.predict({ text: 'a' }).then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(limited).toMatchObject({ code: 'rate_limited', status: 429 })
    expect((limited as { retryAfterMs?: number }).retryAfterMs).toBeGreaterThan(0)
  })
})
