import { expect, it } from 'vitest'
import { faultGate, type WireName } from './fault-gate.js'

const text = 'many words in here '.repeat(100)
const base64 = 'iVBORw0KGgo'.repeat(1_000)
const call = { role: 'assistant', tool_calls: [{ id: 'a', type: 'custom', custom: { name: 'f', input: text } }] }
const source = { type: 'text', media_type: 'text/plain', data: text }
const found = { type: 'search_result', source: 's', title: 't', content: [{ type: 'text', text }] }
const asking = { role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'f', input: {} }] }
const ids = Array.from({ length: 500 }, (_, index) => index)

it.each<[string, WireName, string, object]>([
  [
    'output of a custom tool',
    'openai',
    '/v1/responses',
    { input: [{ type: 'custom_tool_call_output', call_id: 'c', output: text }] },
  ],
  [
    'output of a tool elsewhere',
    'openai',
    '/v1/responses',
    { input: [{ type: 'mcp_call', id: 'x', name: 'f', arguments: '{}', output: text }] },
  ],
  [
    'a file',
    'openai',
    '/v1/responses',
    { input: [{ role: 'user', content: [{ type: 'input_file', file_data: base64 }] }] },
  ],
  ['tokens', 'openai', '/v1/completions', { prompt: ids }],
  ['lists of tokens', 'openai', '/v1/completions', { prompt: [ids, ids] }],
  ['what comes after', 'openai', '/v1/completions', { prompt: 'a', suffix: text }],
  [
    'sound',
    'openai',
    '/v1/chat/completions',
    { messages: [{ role: 'user', content: [{ type: 'input_audio', input_audio: { data: base64, format: 'wav' } }] }] },
  ],
  ['a call of a custom tool', 'openai', '/v1/chat/completions', { messages: [call] }],
  [
    'a document',
    'anthropic',
    '/v1/messages',
    { max_tokens: 9, messages: [{ role: 'user', content: [{ type: 'document', source }] }] },
  ],
  [
    'what a tool has found',
    'anthropic',
    '/v1/messages',
    {
      max_tokens: 9,
      messages: [asking, { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a', content: [found] }] }],
    },
  ],
])(
  '%s is in the bill of a call that is left before its upstream has told its usage',
  async (_name, wire, path, body) => {
    for (const stream of [false, true]) {
      const { url, upstream, rows } = await faultGate(wire)
      const leaving = new AbortController()
      upstream.play('model', async (line) => {
        leaving.abort()
        await line.silence()
      })
      const asked = fetch(`${url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'model', stream, ...body }),
        signal: leaving.signal,
      })
      await expect(asked).rejects.toThrow()
      const [row] = await rows(1)
      expect(row).toMatchObject({ outcome: 'aborted', usage: { estimated: true } })
      expect(row?.usage?.inputTokens).toBeGreaterThan(350)
      expect(row?.usage?.inputTokens).toBeLessThan(2_500)
    }
  },
)
