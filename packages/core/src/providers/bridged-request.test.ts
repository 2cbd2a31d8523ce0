import { expect, it } from 'vitest'
import type { GenerateInput } from '../inference/task.js'
import { messagesBody } from './anthropic-request.js'
import { familyOf } from './bedrock-family.js'
import { converseBody } from './bedrock-request.js'

/** A conversation in which another model has called two tools at once. */
const called = (one: string, other: string): GenerateInput => ({
  messages: [
    { role: 'user', content: 'hello' },
    {
      role: 'assistant',
      content: [],
      toolCalls: [
        { id: one, name: 'f', arguments: '{}' },
        { id: other, name: 'f', arguments: '{}' },
      ],
    },
    { role: 'tool', toolCallId: other, content: 'b' },
    { role: 'tool', toolCallId: one, content: 'a' },
  ],
  tools: [{ name: 'f', parameters: { type: 'object' } }],
})

const apis = [
  [
    'Bedrock',
    /"toolUseId":"([^"]*)"/g,
    (input: GenerateInput) => converseBody(input, familyOf('anthropic.claude-sonnet-4-5-20250929-v1:0')),
  ],
  ['Anthropic', /"(?:tool_use_id|id)":"([^"]*)"/g, (input: GenerateInput) => messagesBody(input, 'claude', false, 100)],
] as const

it.each(apis)('calls of other models are told to %s by ids that it takes', (_api, ids, bodyOf) => {
  const idsOf = (one: string, other: string) =>
    [...JSON.stringify(bodyOf(called(one, other))).matchAll(ids)].map(([, id]) => id)
  expect(idsOf('toolu_01-a', 'call_2')).toEqual(['toolu_01-a', 'call_2', 'call_2', 'toolu_01-a'])
  for (const [one, other] of [
    ['functions.f:0', 'functions_f_0'],
    [`${'a'.repeat(80)}1`, `${'a'.repeat(80)}2`],
    ['', 'call|fc'],
  ] as const) {
    const [first, second, ...results] = idsOf(one, other)
    expect(first).toMatch(/^[\w-]{1,64}$/)
    expect(second).toMatch(/^[\w-]{1,64}$/)
    expect(first).not.toBe(second)
    expect(results).toEqual([second, first])
  }
})

it.each([
  ['an error', true, [{ text: 'The tool failed.' }]],
  ['no error', false, []],
])('%s of a tool that says nothing is told to Bedrock as it takes it', (_what, isError, content) => {
  const { messages } = called('x', 'y')
  const silent = messages.map((message) => (message.role === 'tool' ? { ...message, content: ' ', isError } : message))
  const body = converseBody({ messages: silent }, familyOf('anthropic.claude-sonnet-4-5-20250929-v1:0'))
  const last = (body['messages'] as Array<{ content: Array<{ toolResult: object }> }>).at(-1)
  expect(last?.content.map(({ toolResult }) => toolResult)).toMatchObject([{ content }, { content }])
})
