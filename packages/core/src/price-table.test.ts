import { describe, expect, it } from 'vitest'
import { costNanoUsd, formatUsd } from './money.js'
import { type PriceTableOptions, priceTable } from './price-table.js'
import type { Target } from './target.js'
import type { Usage } from './usage.js'

const used = (over: Partial<Usage> = {}): Usage => ({ inputTokens: 0, outputTokens: 0, estimated: false, ...over })
const target = (name: string): Target => {
  const slash = name.indexOf('/')
  return { provider: name.slice(0, slash), model: name.slice(slash + 1) }
}

describe('list prices', () => {
  const prices = priceTable()

  it('are whole pico-USD per token', () => {
    expect(prices.price(target('openai/gpt-4o'))).toEqual({
      inputToken: 2_500_000,
      cacheReadToken: 1_250_000,
      outputToken: 10_000_000,
    })
    expect(prices.price(target('anthropic/claude-3-5-haiku-latest'))).toMatchObject({
      inputToken: 800_000,
      cacheReadToken: 80_000,
      cacheWriteToken: 1_000_000,
      outputToken: 4_000_000,
    })
  })

  it('know dated names, letter case and other names of a vendor', () => {
    const listed = prices.price(target('openai/gpt-4o'))
    expect(prices.price(target('openai/gpt-4o-2024-11-20'))).toEqual(listed)
    expect(prices.price(target('OpenAI/GPT-4o'))).toEqual(listed)
    expect(prices.price(target('api.openai.com/gpt-4o'))).toEqual(listed)
    expect(prices.price(target('gemini/gemini-2.5-pro'))).toEqual(prices.price(target('google/gemini-2.5-pro')))
  })

  it.each([
    ['eu.anthropic.claude-sonnet-4-5-20250929-v1:0', 3_300_000, 16_500_000],
    ['global.anthropic.claude-opus-4-5-20251101-v1:0', 5_000_000, 25_000_000],
    [
      'arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0',
      3_300_000,
      16_500_000,
    ],
    ['amazon.nova-pro-v1:0', 800_000, 3_200_000],
    ['meta.llama3-3-70b-instruct-v1:0', 720_000, 720_000],
    ['openai.gpt-oss-120b-1:0', 150_000, 600_000],
  ])("know Bedrock's ids, its inference profiles and ARNs that end with them: %s", (model, inputToken, outputToken) => {
    expect(prices.price({ provider: 'bedrock', model })).toMatchObject({ inputToken, outputToken })
  })

  it('take the tier of the whole prompt, cached tokens included', () => {
    const model = { provider: 'google', model: 'gemini-2.5-pro' }
    const below = prices.price(model, used({ inputTokens: 100_000, cacheReadTokens: 100_000 }))
    const above = prices.price(model, used({ inputTokens: 100_000, cacheReadTokens: 100_001 }))
    expect(below).toMatchObject({ inputToken: 1_250_000, outputToken: 10_000_000 })
    expect(above).toMatchObject({ inputToken: 2_500_000, outputToken: 15_000_000 })
    expect(prices.price(model)).toEqual(below)
  })

  it('take an hour of sound as rows of a second', () => {
    const price = prices.price(target('openai/whisper-1'), used({ rows: 60 }))
    expect(price && formatUsd(costNanoUsd(used({ rows: 60 }), price))).toBe('0.006')
    expect(prices.price(target('openai/whisper-1'), used({ inputTokens: 5 }))).toBeUndefined()
  })

  it('follow the time of day and the date', () => {
    let nowMs = Date.UTC(2026, 0, 5, 12)
    const clocked = priceTable({ now: () => nowMs })
    const day = clocked.price(target('deepseek/deepseek-chat'))
    nowMs = Date.UTC(2026, 0, 5, 20)
    const night = clocked.price(target('deepseek/deepseek-chat'))
    expect(day).toBeDefined()
    expect(night).toBeDefined()
    expect(night).not.toEqual(day)
    nowMs = Date.UTC(2025, 0, 1)
    const before = priceTable({ now: () => nowMs }).price(target('openai/o3'))
    nowMs = Date.UTC(2025, 11, 1)
    expect(priceTable({ now: () => nowMs }).price(target('openai/o3'))?.inputToken).toBeLessThan(
      before?.inputToken ?? 0,
    )
  })

  it.each([
    'openai-compatible/gpt-4o',
    'my-openai/gpt-4o',
    'ollama/gpt-4o',
    'vllm/deepseek-chat',
    'local/claude-3-5-haiku-latest',
    'api.openai.com.example.org/gpt-4o',
    'localhost/gpt-4o',
    'constructor/gpt-4o',
    '__proto__/gpt-4o',
    'openai/gpt-4o-of-my-own',
    'openai/',
    'google/gemma-3',
    'openai/moderation',
    '/gpt-oss-120b',
    '/deepseek-chat',
    '/llama-3.3-70b',
    '/',
  ])('are unknown for %s', (name) => {
    expect(prices.price(target(name))).toBeUndefined()
    expect(prices.price(target(name), used({ inputTokens: 5 }))).toBeUndefined()
  })

  it('are found without a provider for families that only their vendor has', () => {
    for (const [model, provider] of [
      ['gpt-4o', 'openai'],
      ['o3', 'openai'],
      ['claude-3-5-haiku-latest', 'anthropic'],
      ['gemini-2.5-pro', 'google'],
    ] as const) {
      expect(prices.price({ provider: '', model })).toEqual(prices.price({ provider, model }))
      expect(priceTable({ vendors: { '': false } }).price({ provider: '', model })).toBeUndefined()
    }
  })

  it('are unknown for what they do not cover', () => {
    const embedding = target('openai/text-embedding-3-small')
    expect(prices.price(embedding, used({ inputTokens: 10 }))).toMatchObject({ inputToken: 20_000 })
    expect(prices.price(embedding, used({ inputTokens: 10, outputTokens: 1 }))).toBeUndefined()
    expect(prices.price(target('openai/gpt-4o'), used({ rows: 3 }))).toBeUndefined()
  })

  it('say which list they are', () => {
    expect(prices.version).toMatch(/^genai-prices-\d+\.\d+\.\d+$/)
    expect(priceTable({ list: false }).version).toBe('none')
    const one = priceTable({ overrides: { a: { free: true } } }).version
    expect(one).toMatch(/^genai-prices-[\d.]+\+overrides-[0-9a-f]{8}$/)
    expect(priceTable({ overrides: { b: { free: true } } }).version).not.toBe(one)
  })
})

describe('prices that change', () => {
  const rate = (input: string, from?: string) => ({
    usdPerMillionTokens: { input, output: '1' },
    ...(from === undefined ? {} : { from }),
  })

  it('hold from their time on, to the millisecond', () => {
    let time = Date.parse('2026-12-31T22:59:59.999Z')
    const prices = priceTable({
      list: false,
      now: () => time,
      overrides: { m: [rate('3', '2027-06-01T00:00:00Z'), rate('1'), rate('2', '2027-01-01T00:00:00+01:00')] },
    })
    const input = () => prices.price({ provider: 'p', model: 'm' })?.inputToken
    expect(input()).toBe(1_000_000)
    time += 1
    expect(input()).toBe(2_000_000)
    time = Date.parse('2030-01-01T00:00:00Z')
    expect(input()).toBe(3_000_000)
  })

  it('leave what would hold without them until the first has come', () => {
    let time = Date.parse('2026-01-01T00:00:00Z')
    const prices = priceTable({
      now: () => time,
      overrides: {
        'gpt-4o': [rate('7', '2027-01-01T00:00:00Z')],
        'p/own': [rate('7', '2027-01-01T00:00:00Z')],
        'p/*': rate('5'),
        none: [rate('7', '2027-01-01T00:00:00Z')],
      },
    })
    const inputs = () =>
      (['openai/gpt-4o', 'p/own', 'q/none'] as const).map((name) => {
        const [provider = '', model = ''] = name.split('/')
        return prices.price({ provider, model })?.inputToken
      })
    expect(inputs()).toEqual([2_500_000, 5_000_000, undefined])
    time = Date.parse('2027-01-01T00:00:00Z')
    expect(inputs()).toEqual([7_000_000, 7_000_000, 7_000_000])
  })
})

describe('overrides', () => {
  const rate = (input: number) => ({ usdPerMillionTokens: { input, output: 0 } })
  const prices = priceTable({
    overrides: {
      'gpt-4o': rate(1),
      'openai/gpt-4o': rate(2),
      'openai/gpt-4o@2': rate(3),
      'openai/gpt-*': rate(4),
      'openai/*': rate(5),
      'gpt-4o-m*': rate(6),
      'meta-llama/Llama-3': rate(7),
      'onnx/*': { free: true },
      'iris@2': { usdPerRow: '0.000001' },
    },
  })

  it.each<[Target, number | undefined]>([
    [{ provider: '', model: 'gpt-4o' }, 1],
    [{ provider: 'azure', model: 'gpt-4o' }, 1],
    [{ provider: 'openai', model: 'gpt-4o' }, 2],
    [{ provider: 'openai', model: 'gpt-4o', version: '1' }, 2],
    [{ provider: 'openai', model: 'gpt-4o', version: '2' }, 3],
    [{ provider: 'openai', model: 'gpt-4o-mini' }, 4],
    [{ provider: 'openai', model: 'whatever' }, 5],
    [{ provider: 'vllm', model: 'GPT-4o-mini' }, 6],
    [{ provider: 'vllm', model: 'meta-llama/Llama-3' }, 7],
    [{ provider: 'onnx', model: 'anything' }, 0],
    [{ provider: 'vllm', model: 'llama-3' }, undefined],
  ])('%j costs %s', (asked, usd) => {
    expect(prices.price(asked)?.inputToken).toBe(usd === undefined ? undefined : usd * 1_000_000)
  })

  it('free is a price: 0 for everything, rows included', () => {
    const free = prices.price(target('onnx/iris'), used({ rows: 5, inputTokens: 3, outputTokens: 2 }))
    expect(free && costNanoUsd(used({ rows: 5, inputTokens: 3, outputTokens: 2 }), free)).toBe(0)
  })

  it('price rows, and then nothing else', () => {
    const iris = { provider: 'local', model: 'iris', version: '2' }
    const price = prices.price(iris, used({ rows: 3 }))
    expect(price && formatUsd(costNanoUsd(used({ rows: 3 }), price))).toBe('0.000003')
    expect(prices.price(iris, used({ inputTokens: 1, rows: 3 }))).toBeUndefined()
    // An estimate in two measures of the same is priced by the one that has a price.
    expect(prices.price(iris, { ...used({ inputTokens: 1, rows: 3 }), estimated: true })).toEqual(price)
    expect(prices.price({ ...iris, version: '3' })).toBeUndefined()
  })

  it('a bucket left out is billed at the one it falls back to', () => {
    const usage = used({ cacheReadTokens: 1_000_000, reasoningTokens: 1_000_000 })
    const price = priceTable({ overrides: { m: { usdPerMillionTokens: { input: '0.5', output: 2 } } } }).price(
      { provider: '', model: 'm' },
      usage,
    )
    expect(price && formatUsd(costNanoUsd(usage, price))).toBe('2.5')
  })

  it("bill a provider of one's own at a vendor's prices", () => {
    const mapped = priceTable({ vendors: { 'My-Proxy': 'openai', openai: false } })
    expect(mapped.price(target('my-proxy/gpt-4o'))?.inputToken).toBe(2_500_000)
    expect(mapped.price(target('openai/gpt-4o'))).toBeUndefined()
  })

  it('alone, without the list', () => {
    const alone = priceTable({ list: false, overrides: { 'x/y': { free: true } } })
    expect(alone.price(target('x/y'))).toBeDefined()
    expect(alone.price(target('openai/gpt-4o'))).toBeUndefined()
  })

  it.each<[string, PriceTableOptions, RegExp]>([
    ['no rate', { overrides: { m: {} } }, /overrides\.m.*(rate|free)/],
    ['an unknown rate', { overrides: { m: { usdPerMillionTokens: { inputs: 1 } } } } as never, /overrides\.m/],
    ['free: false', { overrides: { m: { free: false } } } as never, /overrides\.m/],
    ['free with a price', { overrides: { m: { free: true, usdPerRow: 1 } } }, /overrides\.m/],
    [
      'a negative rate',
      { overrides: { m: { usdPerMillionTokens: { input: -1 } } } },
      /overrides\['m'\]\.usdPerMillionTokens\.input/,
    ],
    ['too fine a rate', { overrides: { m: { usdPerMillionTokens: { input: '0.0000001' } } } }, /at most 6/],
    ['a word', { overrides: { m: { usdPerRequest: 'cheap' } } }, /usdPerRequest/],
    ['a time without zone', { overrides: { m: [{ from: '2027-01-01', free: true }] } }, /overrides\.m/],
    ['no price at all', { overrides: { m: [] } }, /overrides\.m/],
    ['two prices since ever', { overrides: { m: [{ free: true }, { usdPerRow: 1 }] } }, /same time/],
    ['a star within', { overrides: { 'a*b': { free: true } } }, /\*/],
    ['the same name twice', { overrides: { A: { free: true }, a: { free: true } } }, /twice/],
    ['an unknown vendor', { vendors: { p: 'openia' } }, /openia/],
    ['an unknown option', { override: {} } as never, /override/],
  ])('refuse %s', (_name, options, message) => {
    expect(() => priceTable(options)).toThrow(
      expect.objectContaining({ code: 'config_invalid', message: expect.stringMatching(message) }),
    )
  })
})

it('does not take a name that holds a separator for another', () => {
  const prices = priceTable({ list: false, overrides: { 'p/m@1': { free: true } } })
  expect(prices.price({ provider: 'p', model: 'm', version: '1' })).toBeDefined()
  for (const separator of ['\0', ':', '/', '']) {
    expect(prices.price({ provider: 'p', model: `m${separator}1` })).toBeUndefined()
    expect(prices.price({ provider: `p${separator}m`, model: '', version: '1' })).toBeUndefined()
  }
  expect(priceTable().price({ provider: 'openai', model: 'gpt-4o'.padEnd(100_000, '-') })).toBeUndefined()
})

it('holds a bounded number of models', () => {
  const prices = priceTable({ overrides: { known: { free: true } } })
  for (let index = 0; index < 3_000; index += 1) prices.price({ provider: 'p', model: `made-up-${index}` })
  expect(prices.price({ provider: 'p', model: 'known' })).toBeDefined()
})
