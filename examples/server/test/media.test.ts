import { Readable } from 'node:stream'
import OpenAI, { toFile, toStreamingFile } from 'openai'
import { expect, it } from 'vitest'
import { answerJson, formOf, mediaUpstream } from '../../../packages/core/test/media-upstream.js'
import { apiKey, post, startGate } from './running-gate.js'

const usage = { type: 'tokens', input_tokens: 14, output_tokens: 45, input_token_details: { audio_tokens: 14 } }

async function start(variables: Readonly<Record<string, string>> = {}) {
  const upstream = await mediaUpstream({ answer: answerJson({ created: 1, data: [], text: 'hi', usage }) })
  const running = await startGate({
    OPENAI_API_KEY: 'sk-upstream-0123456789',
    OPENAI_BASE_URL: upstream.baseUrl,
    MODEL_NAME: 'gpt-4o-mini',
    ...variables,
  })
  const client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey, maxRetries: 0 })
  return { ...running, upstream, client }
}

const sound = (bytes: number) =>
  toStreamingFile(Readable.from([Buffer.alloc(bytes / 2), Buffer.alloc(bytes / 2)]), 'a.wav')

it('hears a file that is larger than other bodies may be, wherever its model stands', async () => {
  const { client, upstream, line } = await start()
  const { data, response } = await client.audio.transcriptions
    .create({ file: sound(4_000_000), model: 'gpt-4o-transcribe' })
    .withResponse()
  expect(data.text).toBe('hi')
  const got = await formOf(upstream.calls[0] as never)
  expect([got.get('model'), (got.get('file') as File).size]).toEqual(['gpt-4o-transcribe', 4_000_000])
  expect(await line(response.headers.get('x-request-id') ?? '')).toMatchObject({
    route: '/v1/audio/transcriptions',
    model: 'gpt-4o-transcribe',
    status: 200,
    completion_tokens: 45,
  })
})

it('makes, changes and speaks', async () => {
  const { client, upstream } = await start()
  await client.images.generate({ model: 'gpt-image-1', prompt: 'a fox' })
  await client.images.edit({ model: 'gpt-image-1', prompt: 'a hat', image: await toFile(Buffer.from('png'), 'p.png') })
  await client.images.createVariation({ model: 'dall-e-2', image: await toFile(Buffer.from('png'), 'p.png') })
  await client.audio.speech.create({ model: 'tts-1', voice: 'alloy', input: 'Hi' })
  await client.audio.translations.create({ model: 'whisper-1', file: await toFile(Buffer.from('wav'), 'a.wav') })
  const paths = ['images/generations', 'images/edits', 'images/variations', 'audio/speech', 'audio/translations']
  expect(upstream.calls.map(({ path }) => path)).toEqual(paths.map((path) => `/v1/${path}`))
})

it('has a limit for forms, and another for what is kept', async () => {
  const { client, url, upstream } = await start({ MAX_UPLOAD_BYTES: '2000000' })
  const upload = client.audio.transcriptions.create({ model: 'gpt-4o-transcribe', file: sound(4_000_000) })
  await expect(upload).rejects.toMatchObject({ status: 413 })
  expect(await upstream.calls[0]?.broken).toBe(true)
  const body = { model: 'gpt-image-1', prompt: 'x'.repeat(1_500_000) }
  expect((await post(`${url}/v1/images/generations`, body)).status).toBe(413)
  const form = { 'content-type': 'multipart/form-data; boundary=x' }
  expect((await post(`${url}/v1/chat/completions`, 'x'.repeat(1_500_000), form)).status).toBe(413)
  expect(upstream.calls).toHaveLength(1)
})

it('asks who calls', async () => {
  const { url, upstream } = await start()
  const told = await post(`${url}/v1/images/edits`, { model: 'gpt-image-1' }, { authorization: 'Bearer nobody' })
  expect([told.status, await told.json()]).toMatchObject([401, { error: { type: 'authentication_error' } }])
  expect((await fetch(`${url}/v1/audio/speech`, { headers: { authorization: `Bearer ${apiKey}` } })).status).toBe(405)
  expect(upstream.calls).toEqual([])
})
