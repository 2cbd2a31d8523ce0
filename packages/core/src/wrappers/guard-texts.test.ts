import { describe, expect, it } from 'vitest'
import type { GenerateInput } from '../inference/task.js'
import { changedFields, changedJson, changedTexts, textsOf } from './guard-texts.js'

const shout = (text: string) => text.replaceAll('pii', 'GONE')

describe('changedJson', () => {
  it.each([
    ['{"a": "pii",  "pii": ["x", "pii"]}', '{"a": "GONE",  "GONE": ["x", "GONE"]}'],
    ['{"a": "\\u0070ii \\"q\\" \\\\"}', `${JSON.stringify('GONE "q" \\').replace(/^/, '{"a": ')}}`],
    ['pii', 'GONE'],
    ['{"a": "pii', '{"a": "GONE'],
    ['{"a": "\\u00e9"}', '{"a": "\\u00e9"}'],
  ])('of %s', (json, changed) => expect(changedJson(json, shout)).toBe(changed))

  it('reads numbers as they are written', () => {
    const text = '{"a":6304000000000000000,"b":[1.0,-2e3]}'
    expect(changedJson(text, (each) => (each === '6304000000000000000' ? '[CARD]' : each))).toBe(
      '{"a":"[CARD]","b":[1.0,-2e3]}',
    )
  })

  it('reads a megabyte of quotes that are not closed', () => {
    changedJson(`"${'\\"'.repeat(500_000)}`, shout)
    changedJson('"'.repeat(1_000_000), shout)
  })
})

describe('changedFields', () => {
  const data = `data:image/png;base64,${'pii0'.repeat(20)}`
  it.each<[string, unknown, unknown]>([
    ["OpenAI's chat", { content: [{ type: 'text', text: 'pii' }] }, { content: [{ type: 'text', text: 'GONE' }] }],
    [
      'symbols',
      { type: 'pii', role: 'pii', id: 'pii', model: 'pii', tool_call_id: 'pii' },
      { type: 'pii', role: 'pii', id: 'pii', model: 'pii', tool_call_id: 'pii' },
    ],
    [
      'calls',
      { function: { name: 'f', arguments: '{"pii":"\\u0070ii"}' } },
      { function: { name: 'f', arguments: '{"GONE":"GONE"}' } },
    ],
    ['pictures', { image_url: { url: data } }, { image_url: { url: data } }],
    ['what only begins as one', { url: `${data} pii` }, { url: `${data.replaceAll('pii', 'GONE')} GONE` }],
    ['a text that begins as one', { text: data }, { text: data.replaceAll('pii', 'GONE') }],
    ['bytes', { source: { type: 'base64', data: 'pii' } }, { source: { type: 'base64', data: 'pii' } }],
    ['sounds', { input_audio: { data: 'pii', format: 'wav' } }, { input_audio: { data: 'pii', format: 'wav' } }],
    ['documents', { source: { type: 'text', data: 'pii' } }, { source: { type: 'text', data: 'GONE' } }],
    [
      "Anthropic's calls",
      { type: 'tool_use', id: 'x', input: { id: 'pii', n: 1, pii: [{ type: 'pii' }] } },
      { type: 'tool_use', id: 'x', input: { id: 'GONE', n: 1, GONE: [{ type: 'GONE' }] } },
    ],
    [
      'thoughts',
      { type: 'thinking', thinking: 'pii', signature: 'pii' },
      { type: 'thinking', thinking: 'GONE', signature: 'pii' },
    ],
    [
      'names of fields',
      { properties: { 'pii 1': { type: 'string' }, pii: 1 } },
      { properties: { 'GONE 1': { type: 'string' }, pii: 1 } },
    ],
    [
      'samples in a schema',
      { enum: [1, 'pii'], examples: [{ id: 'pii', type: 'pii' }], default: { role: 'pii' }, const: { model: 'pii' } },
      {
        enum: [1, 'GONE'],
        examples: [{ id: 'GONE', type: 'GONE' }],
        default: { role: 'GONE' },
        const: { model: 'GONE' },
      },
    ],
    ["Anthropic's samples", { input_examples: [{ id: 'pii' }] }, { input_examples: [{ id: 'GONE' }] }],
    [
      'what a caller calls like one',
      { properties: { default: { type: 'pii', description: 'pii', default: { id: 'pii' } } } },
      { properties: { default: { type: 'pii', description: 'GONE', default: { id: 'GONE' } } } },
    ],
    ['documents of vLLM', { documents: [{ id: 'pii', text: 'pii' }] }, { documents: [{ id: 'GONE', text: 'GONE' }] }],
    ['metadata', { metadata: { user_id: 'pii', id: 'pii' } }, { metadata: { user_id: 'GONE', id: 'GONE' } }],
    ['what stands where nobody knows', { x: { y: [['pii']] } }, { x: { y: [['GONE']] } }],
    ['no text', { a: 1, b: null, c: true }, { a: 1, b: null, c: true }],
  ])('of %s', (_what, value, changed) => expect(changedFields(value, shout)).toEqual(changed))
})

const input: GenerateInput = {
  messages: [
    { role: 'system', content: 'pii 1', name: 'pii 2' },
    {
      role: 'assistant',
      content: [
        { type: 'reasoning', text: 'pii 3', signature: 'pii' },
        { type: 'text', text: 'pii 4' },
        { type: 'image', url: 'https://x.example/pii' },
        { type: 'image', url: 'data:image/png;base64,piii' },
        { type: 'native', native: { type: 'document', text: 'pii 5' } },
      ],
      toolCalls: [{ id: 'pii', name: 'f', arguments: '{"to":"pii 6"}' }],
    },
    { role: 'tool', toolCallId: 'pii', content: 'pii 7' },
  ],
  tools: [{ name: 'f', description: 'pii 8', parameters: { properties: { a: { default: 'pii 9' } } } }],
  responseFormat: { type: 'json-schema', name: 'n', schema: { description: 'pii 10' } },
  toolChoice: { name: 'f' },
  stop: ['pii 11'],
  user: 'pii 12',
  temperature: 0.5,
}

it('changes a request in our words, all of it', () => {
  const { messages, tools, responseFormat, toolChoice, stop, user, temperature, native } = changedTexts(input, shout)
  const [system, assistant, tool] = messages
  expect(system).toEqual({ role: 'system', content: 'GONE 1', name: 'GONE 2' })
  expect(assistant).toEqual({
    role: 'assistant',
    content: [
      { type: 'reasoning', text: 'GONE 3', signature: 'pii' },
      { type: 'text', text: 'GONE 4' },
      { type: 'image', url: 'https://x.example/GONE' },
      { type: 'image', url: 'data:image/png;base64,piii' },
      { type: 'native', native: { type: 'document', text: 'GONE 5' } },
    ],
    toolCalls: [{ id: 'pii', name: 'f', arguments: '{"to":"GONE 6"}' }],
  })
  expect(tool).toEqual({ role: 'tool', toolCallId: 'pii', content: 'GONE 7' })
  expect(JSON.stringify([tools, responseFormat, stop, user])).not.toContain('pii')
  expect({ toolChoice, temperature, native }).toEqual({
    toolChoice: { name: 'f' },
    temperature: 0.5,
    native: undefined,
  })
})

it('tells all texts, each once', () => {
  const texts = textsOf({ ...input, native: undefined as never })
  expect(texts.filter((text) => text.includes('pii')).map((text) => Number(/\d+$/.exec(text)?.[0] ?? 0))).toEqual(
    expect.arrayContaining([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
  )
  expect(new Set(texts).size).toBe(texts.length)
})
