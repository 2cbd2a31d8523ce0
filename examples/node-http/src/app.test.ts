import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { makeListener } from './app.ts'

it('guards, answers and counts without a framework', async () => {
  const server = createServer(makeListener('the-key-of-the-test')).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const ask = (key: string) =>
    fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'echo', messages: [{ role: 'user', content: 'Hello there' }] }),
    })
  expect(await (await ask('the-key-of-the-test')).json()).toMatchObject({
    choices: [{ message: { role: 'assistant', content: 'Hello there' } }],
  })
  const refused = await ask('another-key')
  expect(refused.status).toBe(401)
  expect(await refused.json()).toMatchObject({ error: { code: 'invalid_api_key' } })
  expect((await fetch(`${url}/nowhere`)).status).toBe(404)
  await expect.poll(async () => (await fetch(`${url}/metrics`)).text()).toContain('http_response_status_code="401"')
})
