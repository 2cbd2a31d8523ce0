import fc from 'fast-check'
import { expect, it } from 'vitest'
import { markedUp } from './marked-up-prices.js'
import { priceTable } from './price-table.js'

const target = { provider: '', model: 'm' }
const table = (input: string) =>
  priceTable({ list: false, overrides: { m: { usdPerMillionTokens: { input, output: '10' } } } })

it.each([
  [20, '2.50', 3_000_000],
  ['12.5', '2.50', 2_812_500],
  [0, '2.50', 2_500_000],
  [-50, '2.50', 1_250_000],
  [-100, '2.50', 0],
  ['0.0001', '0.000001', 2],
])('%s %% on %s a million', (percent, input, pico) => {
  expect(markedUp(table(input), percent).price(target)?.inputToken).toBe(pico)
})

it('is never under, and at most one pico-USD over', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 1e9 }),
      fc.integer({ min: -1_000_000, max: 10_000_000 }),
      (micro, tenThousandths) => {
        const sign = tenThousandths < 0 ? '-' : ''
        const digits = String(Math.abs(tenThousandths)).padStart(5, '0')
        const percent = `${sign}${digits.slice(0, -4)}.${digits.slice(-4)}`
        const price =
          markedUp(table(`0.${String(micro % 1_000_000).padStart(6, '0')}`), percent).price(target)?.inputToken ?? -1
        const exact = BigInt(micro % 1_000_000) * (1_000_000n + BigInt(tenThousandths))
        expect(BigInt(price) * 1_000_000n >= exact).toBe(true)
        expect(BigInt(price) * 1_000_000n < exact + 1_000_000n).toBe(true)
      },
    ),
  )
})

it('says so in its version, leaves unknown what is unknown, and refuses what is no percentage', () => {
  const prices = table('1')
  expect(markedUp(prices, 20).version).toBe(`${prices.version}+20%`)
  expect(markedUp(prices, 20).price({ provider: '', model: 'other' })).toBeUndefined()
  for (const wrong of ['', 'x', '1e3', '0.00001', '-100.0001', Number.NaN])
    expect(() => markedUp(prices, wrong)).toThrow(/percent/)
})
