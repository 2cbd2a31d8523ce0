import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isTollgateError } from './errors.js'
import { costNanoUsd, formatUsd, nanoUsdPerUsd, type Price, parseUsd, usdNumber } from './money.js'
import type { Usage } from './usage.js'

const count = fc.integer({ min: 0, max: 10_000_000 })
const rate = fc.integer({ min: 0, max: 1_000_000_000 })
const usage: fc.Arbitrary<Usage> = fc.record(
  {
    inputTokens: count,
    outputTokens: count,
    cacheReadTokens: count,
    cacheWriteTokens: count,
    cacheWrite1hTokens: count,
    inputAudioTokens: count,
    inputImageTokens: count,
    reasoningTokens: count,
    outputAudioTokens: count,
    outputImageTokens: count,
    rows: count,
    estimated: fc.boolean(),
  },
  { requiredKeys: ['inputTokens', 'outputTokens', 'estimated'] },
)
const price: fc.Arbitrary<Price> = fc.record(
  {
    inputToken: rate,
    outputToken: rate,
    cacheReadToken: rate,
    cacheWriteToken: rate,
    cacheWrite1hToken: rate,
    inputAudioToken: rate,
    inputImageToken: rate,
    reasoningToken: rate,
    outputAudioToken: rate,
    outputImageToken: rate,
    row: rate,
    request: rate,
  },
  { requiredKeys: ['inputToken', 'outputToken'] },
)

/** The same sum, written out a second time. */
function exactPico(used: Usage, at: Price): bigint {
  const rows: Array<[number | undefined, number]> = [
    [used.inputTokens, at.inputToken],
    [used.cacheReadTokens, at.cacheReadToken ?? at.inputToken],
    [used.cacheWriteTokens, at.cacheWriteToken ?? at.inputToken],
    [used.cacheWrite1hTokens, at.cacheWrite1hToken ?? at.cacheWriteToken ?? at.inputToken],
    [used.inputAudioTokens, at.inputAudioToken ?? at.inputToken],
    [used.inputImageTokens, at.inputImageToken ?? at.inputToken],
    [used.outputTokens, at.outputToken],
    [used.reasoningTokens, at.reasoningToken ?? at.outputToken],
    [used.outputAudioTokens, at.outputAudioToken ?? at.outputToken],
    [used.outputImageTokens, at.outputImageToken ?? at.outputToken],
    [used.rows, at.row ?? 0],
    [1, at.request ?? 0],
  ]
  return rows.reduce((sum, [tokens, each]) => sum + BigInt(tokens ?? 0) * BigInt(each), 0n)
}

describe('costNanoUsd', () => {
  it('is exact, and rounded up by less than one nano-USD', () => {
    fc.assert(
      fc.property(usage, price, (used, at) => {
        const over = BigInt(costNanoUsd(used, at)) * 1_000n - exactPico(used, at)
        expect(over >= 0n && over < 1_000n).toBe(true)
      }),
    )
  })

  it('never falls when more is used', () => {
    fc.assert(
      fc.property(usage, price, count, (used, at, more) => {
        const larger = { ...used, outputTokens: used.outputTokens + more }
        expect(costNanoUsd(larger, at)).toBeGreaterThanOrEqual(costNanoUsd(used, at))
      }),
    )
  })

  it('bills GPT-4o by the cent', () => {
    const gpt4o = { inputToken: 2_500_000, cacheReadToken: 1_250_000, outputToken: 10_000_000 }
    const used = {
      inputTokens: 1_000,
      cacheReadTokens: 2_000,
      outputTokens: 500,
      reasoningTokens: 100,
      estimated: false,
    }
    expect(formatUsd(costNanoUsd(used, gpt4o))).toBe('0.011')
  })

  it('one token of a nano-USD fraction is one nano-USD, not 0', () => {
    expect(costNanoUsd({ inputTokens: 1, outputTokens: 0, estimated: false }, { inputToken: 1, outputToken: 0 })).toBe(
      1,
    )
  })

  it.each([
    [
      { inputTokens: 0.5, outputTokens: 0 },
      { inputToken: 1, outputToken: 1 },
    ],
    [
      { inputTokens: -1, outputTokens: 0 },
      { inputToken: 1, outputToken: 1 },
    ],
    [
      { inputTokens: Number.NaN, outputTokens: 0 },
      { inputToken: 1, outputToken: 1 },
    ],
    [{ outputTokens: 1 }, { inputToken: 1, outputToken: 1 }],
    [
      { inputTokens: 1, outputTokens: 0 },
      { inputToken: 0.5, outputToken: 1 },
    ],
    [
      { inputTokens: 1, outputTokens: 0 },
      { inputToken: -1, outputToken: 1 },
    ],
    [
      { inputTokens: 1, outputTokens: 0 },
      { inputToken: Number.NaN, outputToken: 1 },
    ],
    [
      { inputTokens: 2 ** 53 - 1, outputTokens: 0 },
      { inputToken: 2 ** 53 - 1, outputToken: 1 },
    ],
  ])('refuses %j at %j', (used, at) => {
    expect(() => costNanoUsd({ estimated: false, ...used } as Usage, at)).toThrow(
      expect.objectContaining({ code: 'internal' }),
    )
  })
})

describe('parseUsd and formatUsd', () => {
  it("are each other's inverse", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (nanoUsd) => {
        expect(parseUsd(formatUsd(nanoUsd))).toBe(nanoUsd)
      }),
    )
  })

  it('read a decimal of any form exactly', () => {
    fc.assert(
      fc.property(fc.nat({ max: 9_000 }), fc.nat({ max: 999_999_999 }), fc.nat({ max: 3 }), (whole, nano, zeros) => {
        const text = `${'0'.repeat(zeros)}${whole}.${String(nano).padStart(9, '0')}${'0'.repeat(zeros)}`
        expect(parseUsd(` ${text} `)).toBe(whole * nanoUsdPerUsd + nano)
      }),
    )
  })

  it('read a number as its shortest decimal', () => {
    fc.assert(
      fc.property(fc.nat({ max: 9_000 }), fc.nat({ max: 12 }), (digits, places) => {
        expect(parseUsd(Number(`${digits}e-${places}`), 12)).toBe(digits * 10 ** (12 - places))
      }),
    )
    expect(parseUsd(0.1)).toBe(100_000_000)
    expect(parseUsd(1e-7)).toBe(100)
  })

  it.each(['', ' ', '.5', '-1', '+1', '1e3', '0x10', '1,5', '1.2.3', '٣', 'NaN', '0.0000000001', '9007199.254740992'])(
    'refuse %j',
    (amount) => {
      expect(() => parseUsd(amount)).toThrow(expect.objectContaining({ code: 'config_invalid' }))
    },
  )

  it.each([-1, Number.NaN, Number.POSITIVE_INFINITY, 1e-10, 1e-25, 5e-324, 1e21, 2.5e-10])('refuse %d', (amount) => {
    expect(() => parseUsd(amount)).toThrow(expect.objectContaining({ code: 'config_invalid' }))
  })

  it('write signs and fractions', () => {
    expect([0, 1, 1_500, -1_500, nanoUsdPerUsd, 2_500_000_000].map(formatUsd)).toEqual([
      '0',
      '0.000000001',
      '0.0000015',
      '-0.0000015',
      '1',
      '2.5',
    ])
    expect(() => formatUsd(0.5)).toThrow()
    expect(() => formatUsd(Number.NaN)).toThrow()
    expect(() => formatUsd(Number.POSITIVE_INFINITY)).toThrow()
  })

  it('writes sums beyond what a number holds exactly as the number has them', () => {
    expect(formatUsd(2 ** 53)).toBe('9007199.254740992')
    expect(formatUsd(-1e19)).toBe('-10000000000')
    expect(usdNumber(1e19)).toBe(1e10)
    expect(usdNumber(1_500)).toBe(0.0000015)
  })

  it('throw errors of ours', () => {
    try {
      parseUsd('x')
      expect.unreachable()
    } catch (error) {
      expect(isTollgateError(error)).toBe(true)
    }
  })
})
