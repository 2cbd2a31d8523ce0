import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createOpenAI } from '@ai-sdk/openai'
import { generateText, type ModelMessage } from 'ai'
import { SignJWT } from 'jose'
import OpenAI from 'openai'
import { expect, it } from 'vitest'
import { type StoringUpstream, storingUpstream } from '../../../packages/core/test/storing-upstream.js'
import { jwtSecret, startGate } from './running-gate.js'

const secret = { RESPONSE_IDS_SECRET: 'a-secret-for-ids-of-responses-0123456789' }

function configFor(east: StoringUpstream, west: StoringUpstream): string {
  const file = join(mkdtempSync(join(tmpdir(), 'tollgate-')), 'gateway.json')
  const provider = (baseUrl: string) => ({ type: 'openai', baseUrl, apiKey: 'sk-upstream', retry: false })
  const smart = { targets: ['openai/gpt-4o', 'azure/gpt-4o'], strategy: 'weighted' }
  const providers = { openai: provider(east.baseUrl), azure: { ...provider(west.baseUrl), type: 'azure' } }
  writeFileSync(file, JSON.stringify({ providers, models: { smart, 'gpt-5': 'openai/gpt-4o' } }))
  return file
}

async function keyOf(tenant: string): Promise<string> {
  const claims = new SignJWT({ tenant, scope: 'chat' }).setSubject('ann').setProtectedHeader({ alg: 'HS256' })
  const key = new TextEncoder().encode(jwtSecret)
  return claims.setIssuer('tollgate').setAudience('tollgate').setIssuedAt().setExpirationTime('5m').sign(key)
}

async function start(file: string, variables: Readonly<Record<string, string>>) {
  const gate = await startGate({ GATEWAY_CONFIG: file, UNKNOWN_PRICE: 'allow', RATE_LIMIT_FREE: '1000', ...variables })
  const client = async (tenant: string) =>
    new OpenAI({ baseURL: `${gate.url}/v1`, apiKey: await keyOf(tenant), maxRetries: 0 })
  return { ...gate, a: await client('a'), b: await client('b') }
}

it('lets each tenant go on from its own responses, wherever they are, and after a restart', async () => {
  const [east, west] = [await storingUpstream('east'), await storingUpstream('west')]
  const file = configFor(east, west)
  const before = await start(file, secret)
  const after = await start(file, {
    RESPONSE_IDS_SECRET: `the-one-that-replaces-it-0123456789,${secret.RESPONSE_IDS_SECRET}`,
  })
  for (const provider of ['openai', 'azure', 'openai', 'azure', 'openai', 'azure']) {
    const { id } = await before.a.responses.create({ model: `${provider}/gpt-4o`, input: 'Hello' })
    const { data, response } = await after.a.responses
      .create({ model: 'smart', input: 'And?', previous_response_id: id })
      .withResponse()
    expect(data.output_text).toBe('4 items')
    expect((await after.a.responses.retrieve(id)).id).toBe(id)
    await expect(after.b.responses.retrieve(id)).rejects.toMatchObject({ status: 404 })
    await expect(
      after.b.responses.create({ model: 'smart', input: 'And?', previous_response_id: id }),
    ).rejects.toMatchObject({ status: 404, param: 'previous_response_id' })
    await before.a.responses.delete(id)
    expect(await after.line(response.headers.get('x-request-id') ?? '')).toMatchObject({ route: '/v1/responses' })
  }
  expect(after.lines.filter(({ route }) => route === '/v1/responses/{id}').map(({ status }) => status)).toContain(404)
})

it('is closed without a secret, and says how it is opened', async () => {
  const [east, west] = [await storingUpstream('east'), await storingUpstream('west')]
  const { a } = await start(configFor(east, west), {})
  const { id } = await a.responses.create({ model: 'smart', input: 'Hello' })
  await expect(a.responses.create({ model: 'smart', input: 'And?', previous_response_id: id })).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining('set RESPONSE_IDS_SECRET'),
  })
  await expect(a.responses.retrieve(id)).rejects.toMatchObject({ status: 404 })
  const allowed = await start(configFor(east, west), { RESPONSES_ALLOW: 'conversation,files' })
  await allowed.a.responses.create({ model: 'smart', input: 'Hello', conversation: 'conv_1' })
})

it('is gone on from by the AI SDK, which names items by their ids', async () => {
  const [east, west] = [await storingUpstream('east'), await storingUpstream('west')]
  const { url } = await start(configFor(east, west), secret)
  const model = createOpenAI({ baseURL: `${url}/v1`, apiKey: await keyOf('a') }).responses('gpt-5')
  const messages: ModelMessage[] = [{ role: 'user', content: 'Hello' }]
  for (const words of ['1 items', '4 items', '7 items']) {
    const answer = await generateText({ model, messages, maxRetries: 0 })
    expect(answer.text).toBe(words)
    messages.push(...answer.response.messages, { role: 'user', content: 'And?' })
  }
  const input = east.calls.at(-1)?.body['input'] as Array<{ type?: string; id?: string }>
  const named = input.flatMap(({ type, id }) => (type === 'item_reference' ? id : []))
  expect(named).toEqual(['rs_east1', 'msg_east1', 'rs_east2', 'msg_east2'])
})
