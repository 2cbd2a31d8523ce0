import { type FieldError, TollgateError } from './errors.js'
import { isUsage, type Usage } from './usage.js'

/** One US dollar in nano-USD, the integer that all money here is kept in. A number holds up to 9,007,199 USD exactly. */
export const nanoUsdPerUsd = 1_000_000_000

/**
 * Prices of a model, in pico-USD (10⁻¹² USD) per unit, whole numbers: a price list's "0.0375 USD per million tokens" is 37,500.
 * A bucket without a price of its own is billed at the one it falls back to.
 */
export interface Price {
  readonly inputToken: number
  readonly outputToken: number
  /** Falls back to `inputToken`. */
  readonly cacheReadToken?: number
  /** Falls back to `inputToken`. */
  readonly cacheWriteToken?: number
  /** Falls back to `cacheWriteToken`. */
  readonly cacheWrite1hToken?: number
  /** Falls back to `inputToken`. */
  readonly inputAudioToken?: number
  /** Falls back to `inputToken`. */
  readonly inputImageToken?: number
  /** Falls back to `outputToken`. */
  readonly reasoningToken?: number
  /** Falls back to `outputToken`. */
  readonly outputAudioToken?: number
  /** Falls back to `outputToken`. */
  readonly outputImageToken?: number
  /** One row predicted. Falls back to 0. */
  readonly row?: number
  /** Once a request. Falls back to 0. */
  readonly request?: number
}

/**
 * What a usage costs, in whole nano-USD. Exact, then rounded up once: a bill is never under, and at most one nano-USD over.
 *
 * @throws TollgateError `internal` for counts or prices that are not whole numbers ≥ 0
 */
export function costNanoUsd(usage: Usage, price: Price): number {
  if (!isUsage(usage))
    throw new TollgateError('internal', 'A usage with a count that is not a whole number, 0 or more.')
  const { inputToken, outputToken } = price
  // BigInt: a count times a price may pass 2^53. Twelve short products; measured well below a microsecond.
  const pico =
    product(usage.inputTokens, inputToken) +
    product(usage.cacheReadTokens, price.cacheReadToken ?? inputToken) +
    product(usage.cacheWriteTokens, price.cacheWriteToken ?? inputToken) +
    product(usage.cacheWrite1hTokens, price.cacheWrite1hToken ?? price.cacheWriteToken ?? inputToken) +
    product(usage.inputAudioTokens, price.inputAudioToken ?? inputToken) +
    product(usage.inputImageTokens, price.inputImageToken ?? inputToken) +
    product(usage.outputTokens, outputToken) +
    product(usage.reasoningTokens, price.reasoningToken ?? outputToken) +
    product(usage.outputAudioTokens, price.outputAudioToken ?? outputToken) +
    product(usage.outputImageTokens, price.outputImageToken ?? outputToken) +
    product(usage.rows, price.row ?? 0) +
    product(1, price.request ?? 0)
  const nano = (pico + 999n) / 1000n
  if (nano > BigInt(Number.MAX_SAFE_INTEGER))
    throw new TollgateError('internal', 'A cost over 9,007,199 USD for one request.')
  return Number(nano)
}

function product(count: number | undefined, price: number): bigint {
  if (count === undefined || count === 0 || price === 0) return 0n
  if (!Number.isSafeInteger(price) || price < 0) {
    throw new TollgateError('internal', 'A price that is not whole pico-USD, 0 or more.')
  }
  return BigInt(count) * BigInt(price)
}

/**
 * Reads a decimal amount of US dollars exactly: `'2.50'`, `0.15`, `'0.000000001'`.
 *
 * @param digits decimal places of the result's unit: 9 gives nano-USD (the default), 12 pico-USD
 * @throws TollgateError `config_invalid` for what is not a plain decimal ≥ 0, has more places than the unit, or passes 2^53
 */
export function parseUsd(amount: string | number, digits = 9): number {
  const text = typeof amount === 'number' ? plainDecimal(amount) : amount.trim()
  const match = /^(\d+)(?:\.(\d*))?$/.exec(text)
  const fraction = match?.[2]?.replace(/0+$/, '') ?? ''
  if (match === null || fraction.length > digits) throw badAmount(amount, digits)
  const units = BigInt(match[1] as string) * 10n ** BigInt(digits) + BigInt(fraction.padEnd(digits, '0') || '0')
  if (units > BigInt(Number.MAX_SAFE_INTEGER)) throw badAmount(amount, digits)
  return Number(units)
}

/** Nano-USD as a decimal amount without trailing zeros: `1500` is `'0.0000015'`. A sum over 9,007,199 USD as the number has it, to a few nano-USD. */
export function formatUsd(nanoUsd: number): string {
  if (!Number.isInteger(nanoUsd)) throw new TollgateError('internal', `${nanoUsd} is not a whole number of nano-USD.`)
  const sign = nanoUsd < 0 ? '-' : ''
  const padded = String(BigInt(Math.abs(nanoUsd))).padStart(10, '0')
  const fraction = padded.slice(-9).replace(/0+$/, '')
  return `${sign}${padded.slice(0, -9)}${fraction === '' ? '' : `.${fraction}`}`
}

/** Nano-USD as a JSON number of US dollars, for people and charts; sums belong in nano-USD. */
export function usdNumber(nanoUsd: number): number {
  return Number(formatUsd(nanoUsd))
}

// 1e-7 and the like, as a price list read from JSON gives them: the number's own shortest digits, with the point moved.
function plainDecimal(amount: number): string {
  const text = String(amount)
  const match = /^(\d)(?:\.(\d+))?e-(\d+)$/.exec(text)
  if (match === null) return text
  const [, whole = '', fraction = '', places] = match
  return `0.${'0'.repeat(Number(places) - 1)}${whole}${fraction}`
}

function badAmount(amount: string | number, digits: number): TollgateError {
  const errors: FieldError[] = [{ path: 'amount', message: `a decimal ≥ 0 with at most ${digits} places` }]
  return new TollgateError('config_invalid', `'${amount}' is not an amount of US dollars.`, { errors })
}
