import { describe, expect, it } from 'vitest'
import { costNanoUsd } from '../money.js'
import { priceTable } from '../price-table.js'
import { estimateFromBody } from './limit-estimate.js'

const text = 'word '.repeat(30_000)
const base64 = 'iVBORw0KGgo'.repeat(10_000)
const messages = [{ role: 'user', content: 'Hi' }]

it('can be priced, whatever a caller asks for', () => {
  const most = Number.MAX_SAFE_INTEGER
  const estimate = estimateFromBody({ model: 'gpt-4o', prompt: 'a', max_tokens: most, n: most, best_of: most })
  const { inputTokens = 0, maxOutputTokens = 0 } = estimate ?? {}
  const usage = { inputTokens, outputTokens: maxOutputTokens, estimated: true }
  const price = priceTable().price({ provider: 'openai', model: 'gpt-4o' }, usage)
  expect(price && costNanoUsd(usage, price)).toBeGreaterThan(1_000_000_000_000)
})

it('knows nothing of what is no request to a model', () => {
  for (const body of [null, [], 'text', 7, {}, { model: 'gpt-4o' }, { name: 'x', suffix: 'y' }]) {
    expect(estimateFromBody(body)).toBeUndefined()
  }
})

describe('the bound of the output', () => {
  it.each([
    ['of a chat', { messages, max_tokens: 7 }, 7],
    ['of a chat, by its newer name', { messages, max_completion_tokens: 7 }, 7],
    ['of a response', { input: 'Hi', max_output_tokens: 7 }, 7],
    ['of a response with a prompt of the account', { input: 'Hi', prompt: { id: 'p' }, max_output_tokens: 7 }, 7],
    ['of a completion', { prompt: 'Hi', max_tokens: 7 }, 7],
    ['that an upstream may take, of two', { messages, max_completion_tokens: 1, max_tokens: 9 }, 9],
    ['of all answers', { messages, max_tokens: 7, n: 3 }, 21],
    ['of all answers, in quotes', { messages, max_tokens: 7, n: '3' }, 21],
    ['of all that are written to choose from', { prompt: 'Hi', max_tokens: 7, n: 2, best_of: 5 }, 35],
    ['of all prompts', { prompt: ['Hi', 'Ho'], max_tokens: 7, n: 2 }, 28],
    ['of prompts that are tokens', { prompt: [[1], [2], [3]], max_tokens: 7 }, 21],
    ['of one prompt that is tokens', { prompt: [1, 2, 3], max_tokens: 7 }, 7],
    ['of another API, which holds for none', { messages, max_output_tokens: 1 }, undefined],
    ['of a chat, for a response', { input: 'Hi', max_tokens: 1, max_completion_tokens: 1 }, undefined],
    ['of a chat, for a response too', { input: 'Hi', messages: [], max_tokens: 1 }, undefined],
    ['of a response, for a completion', { prompt: 'Hi', max_output_tokens: 1 }, undefined],
  ])('is that %s', (_, body, most) => {
    expect(estimateFromBody(body)?.maxOutputTokens).toBe(most)
  })
})

it('tells how many answers are not bounded', () => {
  expect(estimateFromBody({ messages, n: 8 })).toMatchObject({ answers: 8 })
  expect(estimateFromBody({ prompt: ['a', 'b'], best_of: 3 })).toMatchObject({ answers: 6 })
  expect(estimateFromBody({ messages })).not.toHaveProperty('answers')
})

describe('text is counted', () => {
  const deep = JSON.parse(`${'['.repeat(2_000)}${JSON.stringify(text)}${']'.repeat(2_000)}`) as unknown
  const parameters = { type: 'object', properties: { data: { type: 'string', description: text } } }
  const tool = { type: 'function', function: { name: 'save', parameters } }
  const source = { type: 'text', media_type: 'text/plain', data: text }
  it.each([
    ['that begins as media do', { messages: [{ role: 'user', content: `data:image/png;base64,${text}` }] }],
    ['however deep it is', { messages: [{ role: 'user', content: deep }] }],
    ['of a document', { messages: [{ role: 'user', content: [{ type: 'document', source }] }] }],
    ['beside a medium', { messages: [{ role: 'user', content: [{ image_url: { url: 'https://x', note: text } }] }] }],
    [
      'in what a tool was given',
      { messages: [{ role: 'assistant', content: [{ type: 'tool_use', input: { data: text } }] }] },
    ],
    ['in the schema of a tool', { messages, tools: [tool] }],
    ['in functions', { messages, functions: [{ name: 'f', parameters }] }],
    [
      'in the schema of an answer',
      { messages, response_format: { type: 'json_schema', json_schema: { schema: parameters } } },
    ],
    ['in the schema of a response', { input: 'Hi', text: { format: { schema: parameters } } }],
    [
      'in names of a schema',
      { messages, tools: [{ ...tool, function: { parameters: { properties: { [text]: {} } } } }] },
    ],
    ['that an answer is predicted to be', { messages, prediction: { type: 'content', content: text } }],
    ['after a completion', { prompt: 'Hi', suffix: text }],
    ['of documents beside the messages', { messages, documents: [{ text }] }],
  ])('%s', (_, body) => {
    const { inputTokens = 0 } = estimateFromBody(body) ?? {}
    expect(inputTokens).toBeGreaterThanOrEqual(text.length / 3)
    const counted = estimateFromBody(body, (piece) => piece.length)?.inputTokens ?? 0
    expect(counted).toBeGreaterThanOrEqual(text.length)
  })
})

describe('a medium is counted by the piece', () => {
  it.each([
    ['a picture', { type: 'image_url', image_url: { url: `data:image/png;base64,${base64}`, detail: 'high' } }],
    ['a picture elsewhere', { type: 'image_url', image_url: { url: 'https://example.com/a.png' } }],
    ['a picture of a response', { type: 'input_image', image_url: `data:image/png;base64,${base64}` }],
    ['a picture for Anthropic', { type: 'image', source: { type: 'base64', media_type: 'image/png', data: base64 } }],
    ['a file', { type: 'input_file', filename: 'a.pdf', file_data: `data:application/pdf;base64,${base64}` }],
  ])('%s', (_, part) => {
    const { inputTokens = 0 } = estimateFromBody({ messages: [{ role: 'user', content: [part] }] }) ?? {}
    expect(inputTokens).toBeGreaterThanOrEqual(1_500)
    expect(inputTokens).toBeLessThan(1_530)
  })
})

it('tells sound from text, which costs less', () => {
  const part = { type: 'input_audio', input_audio: { data: base64, format: 'wav' } }
  const asked = { messages: [{ role: 'user', content: [part, part] }], modalities: ['text', 'audio'] }
  expect(estimateFromBody(asked)).toMatchObject({ inputAudioTokens: 3_000, speaks: true })
  expect(estimateFromBody(asked)?.inputTokens).toBeLessThan(100)
  expect(estimateFromBody({ messages, modalities: ['text'] })).not.toHaveProperty('speaks')
})
