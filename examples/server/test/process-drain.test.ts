import { describe, expect, it, onTestFinished } from 'vitest'
import { openAiUpstream, upstreamKey } from '../../../packages/core/test/openai-upstream.js'
import { address, startProcess } from './server-process.js'

describe('the server as a process', () => {
  it('lets an open stream end before it does, and refuses new work meanwhile', async () => {
    const upstream = await openAiUpstream()
    onTestFinished(() => upstream.close())
    // Long enough for the signal and two requests to come in between.
    upstream.script('m', { text: 'word '.repeat(400), split: 'bytes', delayMs: 10 })
    const server = startProcess({
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: upstreamKey,
      MODEL_NAME: 'm',
      API_KEY: 'key-of-the-drain-test',
    })
    const [, url = ''] = await server.said(address)
    const ask = () =>
      fetch(`${url}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: 'Bearer key-of-the-drain-test', 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'Hi' }], stream: true }),
      })
    const stream = await ask()
    const reader = (stream.body as ReadableStream<Uint8Array>).getReader()
    let text = Buffer.from((await reader.read()).value ?? []).toString()
    server.child.kill('SIGTERM')
    await server.said(/draining 1 open requests/)
    expect((await ask()).status).toBe(503)
    expect(await (await fetch(`${url}/ready`)).json()).toMatchObject({ status: 'draining' })
    for (let part = await reader.read(); part.done !== true; part = await reader.read()) {
      text += Buffer.from(part.value).toString()
    }
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
    expect(await server.ended).toBe(0)
  })

  it('cuts a stream that does not end within the bound', async () => {
    const upstream = await openAiUpstream()
    onTestFinished(() => upstream.close())
    upstream.script('m', { stallAfter: 2 })
    const server = startProcess({
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: upstreamKey,
      MODEL_NAME: 'm',
      API_KEY: 'key-of-the-drain-test',
      DRAIN_SECONDS: '1',
    })
    const [, url = ''] = await server.said(address)
    const sent = upstream.next()
    const stream = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: 'Bearer key-of-the-drain-test', 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'Hi' }], stream: true }),
    })
    const reading = stream.text().then(
      () => 'ended',
      () => 'cut',
    )
    server.child.kill('SIGTERM')
    expect(await server.ended).toBe(0)
    expect(await reading).toBe('cut')
    expect(await (await sent).broken).toBe(true)
  })

  it.each([
    ['the bound', 1, 0],
    ['a second signal', 2, 1],
  ])('bills and logs what is cut by %s, also before the upstream has answered', async (_why, signals, exitCode) => {
    const upstream = await openAiUpstream({ m: { stallAfter: -1 } })
    onTestFinished(() => upstream.close())
    const server = startProcess({
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: upstreamKey,
      MODEL_NAME: 'm',
      API_KEY: 'key-of-the-drain-test',
      PRICES: JSON.stringify({ m: { usdPerMillionTokens: { input: '1', output: '1' } } }),
      DRAIN_SECONDS: signals === 1 ? '0' : '60',
    })
    const [, url = ''] = await server.said(address)
    const answers = [false, true].map(async (stream) => {
      const sent = upstream.next()
      const answer = fetch(`${url}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: 'Bearer key-of-the-drain-test', 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'Hi' }], stream }),
      }).catch(() => 'cut')
      return { call: await sent, answer }
    })
    const calls = await Promise.all(answers)
    server.child.kill('SIGTERM')
    await server.said(/draining 2 open requests/)
    if (signals === 2) server.child.kill('SIGTERM')
    expect(await server.ended).toBe(exitCode)
    for (const { call, answer } of calls) {
      expect(await answer).toBe('cut')
      expect(await call.broken).toBe(true)
    }
    const lines = server.output().match(/^\{.*"path":"\/v1\/chat\/completions".*$/gm) ?? []
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(
      Array.from({ length: 2 }, () =>
        expect.objectContaining({ aborted: true, status: 499, prompt_tokens: 8, cost_usd: 0.000008 }),
      ),
    )
  })
})
