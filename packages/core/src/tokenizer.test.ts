import { describe, expect, it } from 'vitest'
import { gptTokenizer } from './gpt-tokenizer.js'
import { countChatTokens, countUsage, type Tokenizer } from './tokenizer.js'

const words: Tokenizer = { name: 'words', count: (text) => text.split(' ').filter((word) => word !== '').length }

describe('countChatTokens', () => {
  it('frames messages as OpenAI does', () => {
    expect(countChatTokens(words, [])).toBe(3)
    expect(countChatTokens(words, [{ role: 'user', content: 'a b c' }])).toBe(3 + 3 + 1 + 3)
    expect(countChatTokens(words, [{ role: 'user', content: 'a', name: 'bob' }])).toBe(3 + 3 + 1 + 1 + 1 + 1)
  })

  it('counts nothing of what is nested too deeply to be sent, and does not fail', () => {
    const deep = JSON.parse(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`) as unknown
    expect(countChatTokens(words, [], [deep])).toBe(3)
  })

  it("counts what OpenAI's own example comes to", () => {
    const messages = [
      {
        role: 'system',
        content: 'You are a helpful, pattern-following assistant that translates corporate jargon into plain English.',
      },
      { role: 'system', name: 'example_user', content: 'New synergies will help drive top-line growth.' },
      { role: 'system', name: 'example_assistant', content: 'Things working well together will increase revenue.' },
      {
        role: 'system',
        name: 'example_user',
        content: "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
      },
      {
        role: 'system',
        name: 'example_assistant',
        content: "Let's talk later when we're less busy about how to do better.",
      },
      {
        role: 'user',
        content: "This late pivot means we don't have time to boil the ocean for the client deliverable.",
      },
    ]
    expect(countChatTokens(gptTokenizer('cl100k_base'), messages)).toBe(129)
    expect(countChatTokens(gptTokenizer('o200k_base'), messages)).toBe(124)
  })

  it("counts parts, pictures, tool calls and tools, ours and OpenAI's", () => {
    const text = { type: 'text', text: 'a b' }
    expect(countChatTokens(words, [{ role: 'user', content: [text, 'c', null, 7] }])).toBe(3 + 3 + 1 + 3)
    const picture = (part: unknown) => countChatTokens(words, [{ role: 'user', content: [part] }]) - 7
    expect(picture({ type: 'image', url: 'x', detail: 'low' })).toBe(85)
    expect(picture({ type: 'image', url: 'x' })).toBe(765)
    expect(picture({ type: 'image_url', image_url: { url: 'x', detail: 'low' } })).toBe(85)
    const call = { id: 'c', name: 'f', arguments: '{}' }
    const ours = countChatTokens(words, [{ role: 'assistant', content: '', toolCalls: [call] }])
    expect(ours).toBe(3 + 3 + 1 + 1)
    expect(countChatTokens(words, [{ role: 'assistant', content: null, tool_calls: [call] }])).toBe(ours)
    expect(countChatTokens(words, [], [{ name: 'f' }])).toBe(4)
  })
})

describe('countUsage', () => {
  it('is marked estimated', () => {
    expect(countUsage({ tokenizer: words, prompt: 'a b', completion: 'c' })).toEqual({
      inputTokens: 2,
      outputTokens: 1,
      estimated: true,
    })
    expect(countUsage({ tokenizer: words, prompt: [{ role: 'user', content: 'a' }] })).toEqual({
      inputTokens: 8,
      outputTokens: 0,
      estimated: true,
    })
  })
})
