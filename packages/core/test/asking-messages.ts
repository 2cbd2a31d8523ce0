import type Anthropic from '@anthropic-ai/sdk'

export const weather: Anthropic.Tool = {
  name: 'weather',
  description: 'The weather of a city.',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
}

/** A request of the Messages API. */
export const ask = (
  model: string,
  more: Partial<Anthropic.MessageCreateParamsNonStreaming> & Record<string, unknown> = {},
) => ({
  model,
  max_tokens: 20_000,
  messages: [{ role: 'user' as const, content: 'Hello' }],
  ...more,
})
