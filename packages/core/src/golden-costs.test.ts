import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { costNanoUsd } from './money.js'
import { priceTable } from './price-table.js'
import { usageFromAnthropic } from './wire/anthropic-usage.js'
import { usageFromBedrock } from './wire/bedrock-usage.js'
import { usageFromGemini } from './wire/gemini-usage.js'
import { usageFromOpenAi } from './wire/openai-usage.js'

interface Golden {
  readonly name: string
  readonly from: keyof typeof readers
  readonly usage: never
  readonly usdPerMillionTokens: Readonly<Record<string, string>>
  readonly arithmetic: string
  readonly costNanoUsd: number
}

const readers = {
  openai: usageFromOpenAi,
  anthropic: usageFromAnthropic,
  bedrock: usageFromBedrock,
  gemini: usageFromGemini,
}
const file = new URL('../test/golden/costs.json', import.meta.url)
const golden = JSON.parse(readFileSync(file, 'utf8')) as Golden[]

describe('what vendors report costs what was worked out by hand', () => {
  it.each(golden)('$name: $arithmetic', ({ from, usage, usdPerMillionTokens, costNanoUsd: wanted, arithmetic }) => {
    const read = readers[from](usage)
    const prices = priceTable({ list: false, overrides: { m: { usdPerMillionTokens } } })
    const price = prices.price({ provider: '', model: 'm' }, read)
    expect(read === undefined || price === undefined ? undefined : costNanoUsd(read, price)).toBe(wanted)
    // The file is its own proof: the sum that is written out is the cost.
    const [micro] = /= ([\d.]+) micro-USD/.exec(arithmetic)?.slice(1) ?? []
    expect(Math.ceil(Math.round(Number(micro) * 1e6) / 1e3)).toBe(wanted)
  })
})

describe('counts that are none', () => {
  it.each([null, undefined, {}, { input_tokens: -1, output_tokens: 1 }, { input_tokens: 1.5, output_tokens: 1 }])(
    'of Anthropic are no usage: %j',
    (usage) => expect(usageFromAnthropic(usage as never)).toBeUndefined(),
  )
  it.each([null, undefined, {}, { inputTokens: -1, outputTokens: 1 }, { inputTokens: 1, outputTokens: 0.5 }])(
    'of Bedrock are no usage: %j',
    (usage) => expect(usageFromBedrock(usage as never)).toBeUndefined(),
  )
  it.each([null, undefined, { promptTokenCount: -1 }, { candidatesTokenCount: 'x' }, { thoughtsTokenCount: 0.5 }])(
    'of Gemini are no usage: %j',
    (usage) => expect(usageFromGemini(usage as never)).toBeUndefined(),
  )
  it('never make a bucket negative', () => {
    const usage = usageFromGemini({
      promptTokenCount: 10,
      cachedContentTokenCount: 50,
      candidatesTokenCount: 3,
      promptTokensDetails: [{ modality: 'AUDIO', tokenCount: 90 }],
      candidatesTokensDetails: [{ modality: 'AUDIO', tokenCount: 9 }],
    })
    expect(usage).toEqual({
      inputTokens: 0,
      cacheReadTokens: 10,
      outputTokens: 0,
      outputAudioTokens: 3,
      estimated: false,
    })
  })
})
