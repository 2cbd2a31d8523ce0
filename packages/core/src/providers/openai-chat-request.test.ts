import { expect, it } from 'vitest'
import type { GenerateInput } from '../inference/task.js'
import { chatBody } from './openai-chat-request.js'

const options = { maxTokensField: 'max_tokens', asksForUsage: true } as const
const native = { dialect: 'anthropic-messages', body: {} } as const
const picture = (url: string) => ({ type: 'image', url }) as const

const messagesOf = (input: GenerateInput) => chatBody(input, 'm', false, options)['messages']

it('puts the pictures of tools after the last answer of a turn, so that nothing stands between answers', () => {
  const messages: GenerateInput['messages'] = [
    {
      role: 'assistant',
      content: '',
      toolCalls: ['a', 'b', 'c'].map((id) => ({ id, name: 'look', arguments: '{}' })),
    },
    { role: 'tool', toolCallId: 'a', content: [{ type: 'text', text: 'one' }, picture('https://x/a.png')] },
    { role: 'tool', toolCallId: 'b', content: 'two' },
    { role: 'tool', toolCallId: 'c', content: [picture('https://x/c.png')] },
    { role: 'user', content: 'So?' },
  ]
  expect(messagesOf({ messages, native })).toEqual([
    expect.objectContaining({ role: 'assistant' }),
    { role: 'tool', tool_call_id: 'a', content: [{ type: 'text', text: 'one' }] },
    { role: 'tool', tool_call_id: 'b', content: 'two' },
    { role: 'tool', tool_call_id: 'c', content: '' },
    {
      role: 'user',
      content: [
        { type: 'image_url', image_url: { url: 'https://x/a.png' } },
        { type: 'image_url', image_url: { url: 'https://x/c.png' } },
      ],
    },
    { role: 'user', content: 'So?' },
  ])
  // The last message may be a tool's.
  expect(messagesOf({ messages: messages.slice(0, 2), native })).toHaveLength(3)
})

it('refuses what only another API has a word for, and hands on what a host says in this one', () => {
  const part = { type: 'native', native: { type: 'document', source: {} } } as const
  const messages = [{ role: 'user', content: [part] }] as const
  expect(() => messagesOf({ messages, native })).toThrow(/messages\[0\]\.content has a part of the type document/)
  expect(messagesOf({ messages })).toEqual([{ role: 'user', content: [part.native] }])
})
