import { expect, it } from 'vitest'
import { costNanoUsd } from '../money.js'
import { priceTable } from '../price-table.js'
import { estimateFromBody } from './limit-estimate.js'

it('can be priced, whatever a caller asks for', () => {
  const most = Number.MAX_SAFE_INTEGER
  const estimate = estimateFromBody({ model: 'gpt-4o', prompt: 'a', max_tokens: most, n: most })
  const { inputTokens = 0, maxOutputTokens = 0 } = estimate ?? {}
  const usage = { inputTokens, outputTokens: maxOutputTokens, estimated: true }
  const price = priceTable().price({ provider: 'openai', model: 'gpt-4o' }, usage)
  expect(price && costNanoUsd(usage, price)).toBeGreaterThan(1_000_000_000_000)
})
