import { configInvalid } from './errors.js'
import type { Price } from './money.js'
import type { PriceTable } from './price-table.js'

/**
 * A table whose prices are so many percent higher (or, negative, lower): what a tenant pays for what you pay. Exact in pico-USD, rounded up; the version says it, for the ledger.
 *
 * @param percent with four decimal places at most, −100 or more: `'12.5'`
 * @throws TollgateError `config_invalid` for what is no such number
 * @example cost({ prices, pricesOf: (principal) => (principal?.tenant === 'acme' ? markedUp(prices, 20) : undefined) })
 */
export function markedUp(prices: PriceTable, percent: number | string): PriceTable {
  const text = String(percent).trim()
  const match = /^(-?)(\d{1,7})(?:\.(\d{1,4}))?$/.exec(text)
  if (match === null) throw configInvalid(`'${text}' is not a percentage with four decimal places at most.`)
  const [, sign, whole = '', fraction = ''] = match
  const tenThousandths = BigInt(whole) * 10_000n + BigInt(fraction.padEnd(4, '0'))
  const factor = 1_000_000n + (sign === '-' ? -tenThousandths : tenThousandths)
  if (factor < 0n) throw configInvalid(`'${text}' percent would be less than nothing: -100 at the least.`)
  const scaled = (price: number) => Number((BigInt(price) * factor + 999_999n) / 1_000_000n)
  return {
    version: `${prices.version}${sign === '-' ? '' : '+'}${text}%`,
    price(target, usage) {
      const price = prices.price(target, usage)
      if (price === undefined) return undefined
      return Object.fromEntries(
        Object.entries(price).map(([bucket, each]) => [bucket, scaled(each)]),
      ) as unknown as Price
    },
  }
}
