import { z } from 'zod'
import { configInvalid } from './errors.js'
import { type Price, parseUsd } from './money.js'
import type { Target } from './target.js'

/** An amount of US dollars: a decimal string, or a number as JSON has it. Whole pico-USD per token: at most 6 decimal places per million. */
export type UsdAmount = string | number

/** US dollars per million tokens, by bucket. A bucket that is left out falls back as {@link Price} says. */
export interface UsdPerMillionTokens {
  readonly input?: UsdAmount | undefined
  readonly output?: UsdAmount | undefined
  readonly cacheRead?: UsdAmount | undefined
  readonly cacheWrite?: UsdAmount | undefined
  readonly cacheWrite1h?: UsdAmount | undefined
  readonly inputAudio?: UsdAmount | undefined
  readonly inputImage?: UsdAmount | undefined
  readonly reasoning?: UsdAmount | undefined
  readonly outputAudio?: UsdAmount | undefined
  readonly outputImage?: UsdAmount | undefined
}

/** What a model costs you: rates, or `free: true` for one that costs nothing on purpose (a local model, an echo). */
export type PriceOverride =
  | { readonly free: true }
  | {
      readonly usdPerMillionTokens?: UsdPerMillionTokens | undefined
      readonly usdPerRow?: UsdAmount | undefined
      readonly usdPerRequest?: UsdAmount | undefined
    }

/**
 * Prices of your own, by `model`, `provider/model`, either with `@version`, or a beginning of one followed by `*`. Letter case is ignored.
 * The narrowest wins: with version before without, with provider before without, exact before `*`, a longer beginning before a shorter.
 *
 * A list has prices that change: the one with the latest `from` that has come holds, and before the first what would hold without the entry. Costs that were recorded stay what they were.
 *
 * @example { 'gpt-4o': { usdPerMillionTokens: { input: '2.50', output: 10 } }, 'onnx/*': { free: true } }
 */
export type PriceOverrides = Readonly<Record<string, PriceOverride | readonly DatedPriceOverride[]>>

/** A price that holds from a time on, until the next one of its list. */
export type DatedPriceOverride = PriceOverride & {
  /** ISO 8601 with its zone: `2027-01-01T00:00:00Z`. Without it: since ever; one of a list at most. */
  readonly from?: string | undefined
}

/** The rates that are known of a model; {@link Price} with gaps. */
export type Rates = { -readonly [Bucket in keyof Price]?: Price[Bucket] }

const usdAmount = z.union([z.string(), z.number()])

const from = z.iso.datetime({ offset: true, error: 'must be a time as ISO 8601 with its zone: 2027-01-01T00:00:00Z' })

const priceOverride = z.union([
  z.strictObject({ free: z.literal(true), from: from.optional() }),
  z
    .strictObject({
      from: from.optional(),
      usdPerMillionTokens: z
        .strictObject({
          input: usdAmount.optional(),
          output: usdAmount.optional(),
          cacheRead: usdAmount.optional(),
          cacheWrite: usdAmount.optional(),
          cacheWrite1h: usdAmount.optional(),
          inputAudio: usdAmount.optional(),
          inputImage: usdAmount.optional(),
          reasoning: usdAmount.optional(),
          outputAudio: usdAmount.optional(),
          outputImage: usdAmount.optional(),
        })
        .optional(),
      usdPerRow: usdAmount.optional(),
      usdPerRequest: usdAmount.optional(),
    })
    .refine(
      (rates) =>
        Object.values({ ...rates, ...rates.usdPerMillionTokens, from: undefined }).some((rate) => rate !== undefined),
      {
        message: 'give at least one rate, or free: true',
      },
    ),
])

/** The schema of {@link PriceOverrides}. */
export const priceOverrides: z.ZodType<PriceOverrides> = z.record(
  z.string().min(1),
  z.union([priceOverride, z.array(priceOverride).min(1)]),
)

const free: Rates = Object.freeze({
  inputToken: 0,
  outputToken: 0,
  row: 0,
  request: 0,
})

/** What holds at a time, and until when. */
interface Found {
  readonly rates: Rates | undefined
  readonly validUntilMs: number
}

/** Newest first. */
type Dated = ReadonlyArray<{ readonly fromMs: number; readonly rates: Rates }>

/**
 * Reads overrides once; the result finds the narrowest for a target at a time.
 *
 * @throws TollgateError `config_invalid`, naming the entry, for an amount that is not whole pico-USD, and for two prices from the same time
 */
export function compileOverrides(overrides: PriceOverrides): (target: Target, nowMs: number) => Found {
  const exact = new Map<string, Dated>()
  const beginnings: Array<readonly [beginning: string, dated: Dated]> = []
  for (const [written, override] of Object.entries(overrides)) {
    const key = written.toLowerCase()
    const star = key.indexOf('*')
    if (star !== -1 && star !== key.length - 1) {
      throw configInvalid(`overrides['${written}']: '*' may only be the last character.`)
    }
    if (exact.has(key) || beginnings.some(([beginning]) => `${beginning}*` === key)) {
      throw configInvalid(`overrides['${written}'] is given twice; letter case makes no difference.`)
    }
    const dated = datedOf(written, [override].flat())
    if (star === -1) exact.set(key, dated)
    else beginnings.push([key.slice(0, -1), dated])
  }
  beginnings.sort(([left], [right]) => right.length - left.length)
  return ({ provider, model, version }, nowMs) => {
    const bare = model.toLowerCase()
    const full = provider === '' ? bare : `${provider.toLowerCase()}/${bare}`
    const at = version === undefined ? '' : `@${version.toLowerCase()}`
    const names = at === '' ? [full, bare] : [full + at, bare + at, full, bare]
    let validUntilMs = Number.POSITIVE_INFINITY
    const ruling = (dated: Dated): Rates | undefined => {
      const index = dated.findIndex(({ fromMs }) => fromMs <= nowMs)
      // Before the first of a list nothing is said yet.
      const next = index === -1 ? dated.at(-1) : dated[index - 1]
      if (next !== undefined) validUntilMs = Math.min(validUntilMs, next.fromMs)
      return dated[index]?.rates
    }
    for (const name of names) {
      const dated = exact.get(name)
      const rates = dated === undefined ? undefined : ruling(dated)
      if (rates !== undefined) return { rates, validUntilMs }
    }
    for (const name of [full, bare]) {
      for (const [beginning, dated] of beginnings) {
        const rates = name.startsWith(beginning) ? ruling(dated) : undefined
        if (rates !== undefined) return { rates, validUntilMs }
      }
    }
    return { rates: undefined, validUntilMs }
  }
}

function datedOf(written: string, list: readonly DatedPriceOverride[]): Dated {
  const dated = list
    .map((override) => ({
      fromMs: override.from === undefined ? Number.NEGATIVE_INFINITY : Date.parse(override.from),
      rates: 'free' in override ? free : ratesOf(written, override),
    }))
    .sort((one, other) => (one.fromMs < other.fromMs ? 1 : -1))
  if (new Set(dated.map(({ fromMs }) => fromMs)).size < dated.length) {
    throw configInvalid(`overrides['${written}']: two prices hold from the same time; give each a \`from\` of its own.`)
  }
  return dated
}

type RatesOverride = Exclude<PriceOverride, { readonly free: true }>

function ratesOf(written: string, override: RatesOverride): Rates {
  const rates: Rates = {}
  const set = (bucket: keyof Rates, path: string, amount: UsdAmount | undefined, digits: number) => {
    if (amount === undefined) return
    try {
      rates[bucket] = parseUsd(amount, digits)
    } catch {
      throw configInvalid(
        `overrides['${written}'].${path}: a decimal amount of US dollars, 0 or more, with at most ${digits} decimal places.`,
      )
    }
  }
  const tokens = override.usdPerMillionTokens ?? {}
  // A dollar per million tokens is 10⁶ pico-USD per token; a dollar per row or request is 10¹².
  set('inputToken', 'usdPerMillionTokens.input', tokens.input, 6)
  set('outputToken', 'usdPerMillionTokens.output', tokens.output, 6)
  set('cacheReadToken', 'usdPerMillionTokens.cacheRead', tokens.cacheRead, 6)
  set('cacheWriteToken', 'usdPerMillionTokens.cacheWrite', tokens.cacheWrite, 6)
  set('cacheWrite1hToken', 'usdPerMillionTokens.cacheWrite1h', tokens.cacheWrite1h, 6)
  set('inputAudioToken', 'usdPerMillionTokens.inputAudio', tokens.inputAudio, 6)
  set('inputImageToken', 'usdPerMillionTokens.inputImage', tokens.inputImage, 6)
  set('reasoningToken', 'usdPerMillionTokens.reasoning', tokens.reasoning, 6)
  set('outputAudioToken', 'usdPerMillionTokens.outputAudio', tokens.outputAudio, 6)
  set('outputImageToken', 'usdPerMillionTokens.outputImage', tokens.outputImage, 6)
  set('row', 'usdPerRow', override.usdPerRow, 12)
  set('request', 'usdPerRequest', override.usdPerRequest, 12)
  return rates
}
