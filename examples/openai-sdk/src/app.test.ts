import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import OpenAI from 'openai'
import { expect, it, onTestFinished } from 'vitest'
import { openAiUpstream, upstreamKey } from '../../../packages/core/test/openai-upstream.js'
import { makeApp } from './app.ts'

it('meters a call that the handler makes by hand', async () => {
  const upstream = await openAiUpstream({
    'gpt-4o-mini': { text: 'Short.', usage: { prompt_tokens: 1000, completion_tokens: 10, total_tokens: 1010 } },
  })
  onTestFinished(() => upstream.close())
  const lines: string[] = []
  const openai = new OpenAI({ baseURL: upstream.baseUrl, apiKey: upstreamKey, maxRetries: 0 })
  const app = makeApp({
    openai,
    apiKey: 'the-key-of-the-test',
    destination: { write: (line) => void lines.push(line) },
  })
  const server: Server = app.listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/summary`, {
    method: 'POST',
    headers: { authorization: 'Bearer the-key-of-the-test', 'content-type': 'application/json' },
    body: JSON.stringify({ text: 'A long story.' }),
  })
  // gpt-4o-mini is 0.15 and 0.60 US dollars per million tokens: 1,000 × 150 + 10 × 600 nano-USD.
  expect(await answer.json()).toEqual({ summary: 'Short.', cost_usd: '0.000156' })
  await expect.poll(() => lines.join('')).toContain('"cost_usd":0.000156')
  expect(JSON.parse(lines.join(''))).toMatchObject({ tenant: 'acme', prompt_tokens: 1000, completion_tokens: 10 })
})

it('bills a caller who leaves before the answer', async () => {
  const upstream = await openAiUpstream({
    'gpt-4o-mini': { delayMs: 200, usage: { prompt_tokens: 1000, completion_tokens: 10, total_tokens: 1010 } },
  })
  onTestFinished(() => upstream.close())
  const lines: string[] = []
  const openai = new OpenAI({ baseURL: upstream.baseUrl, apiKey: upstreamKey, maxRetries: 0 })
  const app = makeApp({
    openai,
    apiKey: 'the-key-of-the-test',
    destination: { write: (line) => void lines.push(line) },
  })
  const server: Server = app.listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const leaving = new AbortController()
  const sent = upstream.next()
  const answer = fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/summary`, {
    method: 'POST',
    headers: { authorization: 'Bearer the-key-of-the-test', 'content-type': 'application/json' },
    body: JSON.stringify({ text: 'A long story.' }),
    signal: leaving.signal,
  }).catch(() => 'left')
  await sent
  leaving.abort()
  expect(await answer).toBe('left')
  await expect.poll(() => lines.join('')).toContain('"cost_usd":0.000156')
  expect(JSON.parse(lines.join(''))).toMatchObject({ status: 499, aborted: true, prompt_tokens: 1000 })
})
