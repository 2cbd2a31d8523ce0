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
  readonly inputAudio?: UsdAmount | undefined
  readonly inputImage?: UsdAmount | undefined
  readonly reasoning?: UsdAmount | undefined
  readonly outputAudio?: UsdAmount | undefined
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
 * @example { 'gpt-4o': { usdPerMillionTokens: { input: '2.50', output: 10 } }, 'onnx/*': { free: true } }
 */
export type PriceOverrides = Readonly<Record<string, PriceOverride>>

/** The rates that are known of a model; {@link Price} with gaps. */
export type Rates = { -readonly [Bucket in keyof Price]?: Price[Bucket] }

const usdAmount = z.union([z.string(), z.number()])

const priceOverride = z.union([
  z.strictObject({ free: z.literal(true) }),
  z
    .strictObject({
      usdPerMillionTokens: z
        .strictObject({
          input: usdAmount.optional(),
          output: usdAmount.optional(),
          cacheRead: usdAmount.optional(),
          cacheWrite: usdAmount.optional(),
          inputAudio: usdAmount.optional(),
          inputImage: usdAmount.optional(),
          reasoning: usdAmount.optional(),
          outputAudio: usdAmount.optional(),
        })
        .optional(),
      usdPerRow: usdAmount.optional(),
      usdPerRequest: usdAmount.optional(),
    })
    .refine((rates) => Object.values({ ...rates, ...rates.usdPerMillionTokens }).some((rate) => rate !== undefined), {
      message: 'give at least one rate, or free: true',
    }),
])

/** The schema of {@link PriceOverrides}. */
export const priceOverrides: z.ZodType<PriceOverrides> = z.record(z.string().min(1), priceOverride)

const free: Rates = Object.freeze({
  inputToken: 0,
  outputToken: 0,
  row: 0,
  request: 0,
})

/**
 * Reads overrides once; the result finds the narrowest for a target.
 *
 * @throws TollgateError `config_invalid`, naming the entry, for an amount that is not whole pico-USD
 */
export function compileOverrides(overrides: PriceOverrides): (target: Target) => Rates | undefined {
  const exact = new Map<string, Rates>()
  const beginnings: Array<readonly [beginning: string, rates: Rates]> = []
  for (const [written, override] of Object.entries(overrides)) {
    const key = written.toLowerCase()
    const star = key.indexOf('*')
    if (star !== -1 && star !== key.length - 1) {
      throw configInvalid(`overrides['${written}']: '*' may only be the last character.`)
    }
    if (exact.has(key) || beginnings.some(([beginning]) => `${beginning}*` === key)) {
      throw configInvalid(`overrides['${written}'] is given twice; letter case makes no difference.`)
    }
    const rates = 'free' in override ? free : ratesOf(written, override)
    if (star === -1) exact.set(key, rates)
    else beginnings.push([key.slice(0, -1), rates])
  }
  beginnings.sort(([left], [right]) => right.length - left.length)
  return ({ provider, model, version }) => {
    const bare = model.toLowerCase()
    const full = provider === '' ? bare : `${provider.toLowerCase()}/${bare}`
    const at = version === undefined ? '' : `@${version.toLowerCase()}`
    const found =
      at === ''
        ? (exact.get(full) ?? exact.get(bare))
        : (exact.get(full + at) ?? exact.get(bare + at) ?? exact.get(full) ?? exact.get(bare))
    if (found !== undefined) return found
    const startsName = (name: string) => beginnings.find(([beginning]) => name.startsWith(beginning))?.[1]
    return startsName(full) ?? startsName(bare)
  }
}

type RatesOverride = Exclude<PriceOverride, { free: true }>

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
  set('inputAudioToken', 'usdPerMillionTokens.inputAudio', tokens.inputAudio, 6)
  set('inputImageToken', 'usdPerMillionTokens.inputImage', tokens.inputImage, 6)
  set('reasoningToken', 'usdPerMillionTokens.reasoning', tokens.reasoning, 6)
  set('outputAudioToken', 'usdPerMillionTokens.outputAudio', tokens.outputAudio, 6)
  set('row', 'usdPerRow', override.usdPerRow, 12)
  set('request', 'usdPerRequest', override.usdPerRequest, 12)
  return rates
}
