import { createRequire } from 'node:module'
import { describe, expect, it } from 'vitest'
import { listPrice } from './list-prices.js'
import { costNanoUsd } from './money.js'
import { priceTable } from './price-table.js'
import type { Usage } from './usage.js'

const list = createRequire(import.meta.url)('@pydantic/genai-prices') as typeof import('@pydantic/genai-prices')
const vendors = [
  'openai',
  'anthropic',
  'google',
  'mistral',
  'groq',
  'deepseek',
  'x-ai',
  'azure',
  'aws',
  'cohere',
  'together',
]
const atMs = Date.UTC(2026, 9, 1, 12)

describe('listPrice', () => {
  it('bills what is kept for an hour at twice the input, where the list has a price for five minutes alone', () => {
    const at = (vendor: string, model: string) => listPrice(vendor, model, atMs)?.tiers[0]?.rates
    const bedrock = at('aws', 'us.anthropic.claude-sonnet-4-5-20250929-v1:0')
    expect(bedrock).toMatchObject({ inputToken: 3_300_000, cacheWriteToken: 4_125_000, cacheWrite1hToken: 6_600_000 })
    // Anthropic's own are in the list, and the same.
    expect(at('anthropic', 'claude-sonnet-4-5')).toMatchObject({ inputToken: 3_000_000, cacheWrite1hToken: 6_000_000 })
    expect(at('openai', 'gpt-4o')).not.toHaveProperty('cacheWrite1hToken')
  })

  it('bills every model of the big vendors as the list itself computes it, to the nano-USD', () => {
    const prices = priceTable({ now: () => atMs })
    let compared = 0
    for (const vendor of vendors) {
      for (const model of list.findProvider({ providerId: vendor })?.models ?? []) {
        for (const inputTokens of [1_000, 150_000, 300_000]) {
          const usage: Usage = { inputTokens, cacheReadTokens: 500, outputTokens: 1_234, estimated: false }
          const price = prices.price({ provider: vendor, model: model.id }, usage)
          if (price === undefined || price.cacheReadToken === undefined) continue
          const theirs = list.calcPrice(
            { input_tokens: inputTokens + 500, cache_read_tokens: 500, output_tokens: 1_234 },
            model.id,
            { providerId: vendor, timestamp: new Date(atMs) },
          )
          expect(costNanoUsd(usage, price) / 1e9, `${vendor}/${model.id}`).toBeCloseTo(
            theirs?.total_price ?? Number.NaN,
            8,
          )
          compared += 1
        }
      }
    }
    expect(compared).toBeGreaterThan(300)
  })

  it('has no price for an entry without rates', () => {
    for (const vendor of vendors) {
      for (const { id, prices } of list.findProvider({ providerId: vendor })?.models ?? []) {
        const empty = !Array.isArray(prices) && Object.keys(prices).length === 0
        if (empty) expect(listPrice(vendor, id, atMs), `${vendor}/${id}`).toBeUndefined()
      }
    }
  })
})
