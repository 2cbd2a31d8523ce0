import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { openAiUpstream, upstreamKey } from '../../../packages/core/test/openai-upstream.js'
import { startProcess } from './server-process.js'

const operatorKey = 'the-operators-key-0123456789'

it('answers by what GATEWAY_CONFIG says, and by what it says after a change, unless that is wrong', async () => {
  const upstream = await openAiUpstream()
  onTestFinished(() => upstream.close())
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-'))
  const file = join(folder, 'gateway.yaml')
  const yaml = (models: string) => `# A comment
providers:
  gpt:
    type: openai
    baseUrl: ${upstream.baseUrl}
    apiKey: { env: GPT_KEY }
models:
${models}`
  writeFileSync(file, yaml('  one: gpt/first\n  tongue: { task: predict, targets: [onnx/language-id] }\n'))
  const variables = { API_KEY: operatorKey, GATEWAY_CONFIG: file, GPT_KEY: upstreamKey, UNKNOWN_PRICE: 'allow' }
  const server = startProcess(variables, folder)
  const [, url = ''] = await server.said(/listens on (\S+)/)
  const ask = async (model: string) =>
    (
      await fetch(`${url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'x-api-key': operatorKey, 'content-type': 'application/json' },
        body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hello' }] }),
      })
    ).status
  expect([await ask('one'), await ask('two'), await ask('gpt/any')]).toEqual([200, 404, 200])
  writeFileSync(file, yaml('  two: gpt/second\n'))
  await server.said(/is read again/)
  expect([await ask('one'), await ask('two')]).toEqual([404, 200])
  expect(upstream.calls.at(-1)?.body['model']).toBe('second')
  writeFileSync(file, yaml('  two: { targets: [gpt/second, nowhere/x] }\n'))
  await server.said(/is wrong, and what held goes on: .*nowhere\/x/)
  expect(await ask('two')).toBe(200)
  server.child.kill('SIGHUP')
  await server.said(/is wrong[\s\S]*is wrong/)
})

it('does not start by a configuration that is wrong', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-'))
  const file = join(folder, 'gateway.json')
  writeFileSync(file, '{"providers": {"gpt": {"type": "openai", "colour": 1}}}')
  const server = startProcess({ API_KEY: operatorKey, GATEWAY_CONFIG: file }, folder)
  expect(await server.ended).toBe(1)
  expect(server.output()).toMatch(/providers\.gpt.*colour/)
})

it.each([
  ['providers:\n  gpt:\n    apiKey: sk-private: x\n', 'line 3, column 13'],
  ['providers: { gpt: { apiKey: "sk-private" "x" } }', 'line 1, column'],
  ['providers: { gpt: { apiKey: *sk-private } }', 'an alias has no anchor'],
  // A template of which the braces stayed.
  ['providers: { gpt: { type: openai, apiKey: {{ sk-private }} } }', 'line 1, column 44'],
  ['', 'defineGateway'],
])('tells where a configuration is no YAML, and none of its words: %j', async (text, where) => {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-'))
  const file = join(folder, 'gateway.yaml')
  writeFileSync(file, text)
  const server = startProcess({ API_KEY: operatorKey, GATEWAY_CONFIG: file }, folder)
  expect(await server.ended).toBe(1)
  expect(server.output()).toContain(where)
  expect(server.output()).not.toContain('sk-private')
})
