import { expect, it } from 'vitest'
import { costNanoUsd } from '../money.js'
import { priceTable } from '../price-table.js'
import { estimateFromBody } from './limit-estimate.js'

it.each([
  ['pictures', { prompt: 'abc', n: 3 }, { inputTokens: 1, rows: 3 }],
  ['one picture', { prompt: 'abc' }, { inputTokens: 1, rows: 1 }],
  ['characters that are spoken', { input: 'abc', voice: 'ash' }, { inputTokens: 1, rows: 3 }],
  ['texts that are embedded', { input: 'abc' }, { inputTokens: 1 }],
  ['answers', { messages: ['abc'], max_tokens: 10, n: 3 }, { inputTokens: 1, maxOutputTokens: 30 }],
])('counts %s', (_what, body, estimate) => expect(estimateFromBody(body)).toEqual(estimate))

it('can be priced, whatever a caller asks for', () => {
  const most = Number.MAX_SAFE_INTEGER
  const estimate = estimateFromBody({ model: 'gpt-4o', prompt: 'a', max_tokens: most, n: most })
  const { inputTokens = 0, maxOutputTokens = 0, rows = 0 } = estimate ?? {}
  const usage = { inputTokens, outputTokens: maxOutputTokens, rows, estimated: true }
  const price = priceTable().price({ provider: 'openai', model: 'gpt-4o' }, usage)
  expect(price && costNanoUsd(usage, price)).toBeGreaterThan(1_000_000_000_000)
})
