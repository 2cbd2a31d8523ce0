import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { z } from 'zod'
import { configInvalid } from './errors.js'
import { isVendor, listPrice, listVersion, vendorOf } from './list-prices.js'
import type { Price } from './money.js'
import { checkedOptions, functionOption } from './options.js'
import { compileOverrides, type PriceOverrides, priceOverrides, type Rates } from './price-overrides.js'
import type { Target } from './target.js'
import { promptTokens, totalTokens, type Usage } from './usage.js'

export type { PriceOverride, PriceOverrides, UsdAmount, UsdPerMillionTokens } from './price-overrides.js'

/** Knows what models cost. */
export interface PriceTable {
  /**
   * The price of a model, in pico-USD per token. `undefined` is *unknown*, and never means free.
   * With `usage`: the price of the tier that the prompt's size falls into, and `undefined` too if something was used that has no price
   * (output of an embedding model, rows of a model priced by token).
   */
  price(target: Target, usage?: Usage): Price | undefined
  /** Which prices these are, for the ledger: `genai-prices-0.1.8`, and with overrides a digest of them. */
  readonly version: string
}

export interface PriceTableOptions {
  /** Prices of your own; they win over the list. Default none. */
  readonly overrides?: PriceOverrides | undefined
  /**
   * Which vendor of the list bills for a provider of yours: `{ 'my-proxy': 'openai' }`. `false` keeps a provider off the list;
   * `{ '': false }` switches off the recognition of `gpt-…`, `claude-…` and `gemini-…` when no provider is named. Default none.
   */
  readonly vendors?: Readonly<Record<string, string | false>> | undefined
  /** False prices by overrides alone, and never loads the list. Default true. */
  readonly list?: boolean | undefined
  /** Milliseconds since the epoch, for prices that change by date or time of day. Default `Date.now`. */
  readonly now?: (() => number) | undefined
}

const priceTableOptions = z.strictObject({
  overrides: priceOverrides.optional(),
  vendors: z.record(z.string(), z.union([z.string().min(1), z.literal(false)])).optional(),
  list: z.boolean().default(true),
  now: functionOption<() => number>().default(() => Date.now),
})

interface Tier {
  readonly abovePromptTokens: number
  readonly rates: Rates
  readonly price: Price
}

interface Known {
  readonly tiers: readonly Tier[]
  readonly validUntilMs: number
}

/** Characters. A longer name is no vendor's model; it is neither searched for in the list nor remembered. */
const longestName = 512

/** A price that changes by date or time of day is looked up again when the minute changes; others once. */
const minuteMs = 60_000

/**
 * Prices by model: your overrides, then the list prices of `@pydantic/genai-prices`, pinned with this package's dependencies and never
 * fetched while the server runs. The list is loaded (about 60 ms, once a process) by the first look-up that no override answers, or by
 * reading `version`. A model of a provider that is not a vendor of the list (vLLM, Ollama, `openai-compatible`) has no list price,
 * whatever its name.
 *
 * @throws TollgateError `config_invalid` for overrides or vendors that cannot be read
 * @example
 * const prices = priceTable({ overrides: { 'ollama/*': { free: true }, 'gpt-4o': { usdPerMillionTokens: { input: '2', output: '8' } } } })
 * prices.price({ provider: 'openai', model: 'gpt-4o-mini' })
 */
export function priceTable(options: PriceTableOptions = {}): PriceTable {
  const { overrides = {}, vendors = {}, list, now } = checkedOptions('priceTable', priceTableOptions, options)
  const override = compileOverrides(overrides)
  const vendorByProvider = new Map(Object.entries(vendors).map(([name, vendor]) => [name.toLowerCase(), vendor]))
  for (const vendor of vendorByProvider.values()) {
    if (vendor !== false && !isVendor(vendor)) {
      throw configInvalid(
        `priceTable: vendors: the price list has no vendor '${vendor}'; write its id there, as 'openai' or 'x-ai'.`,
      )
    }
  }
  const digest = Object.keys(overrides).length === 0 ? undefined : hash('sha256', JSON.stringify(overrides)).slice(0, 8)
  // Model names may be the callers' words: bounded.
  const memo = new LRUCache<string, Known>({ max: 1_000 })

  const lookUp = (target: Target, nowMs: number): Known => {
    const { rates: own, validUntilMs } = override(target, nowMs)
    if (own !== undefined) return { tiers: [tierOf(0, own)], validUntilMs }
    const given = vendorByProvider.get(target.provider.toLowerCase())
    const offList = !list || given === false || target.model.length > longestName
    const vendor = offList ? undefined : (given ?? vendorOf(target))
    const listed = vendor === undefined ? undefined : listPrice(vendor, target.model, nowMs)
    if (listed === undefined) return { tiers: [], validUntilMs }
    return {
      tiers: listed.tiers.map(({ abovePromptTokens, rates }) => tierOf(abovePromptTokens, rates)),
      validUntilMs: listed.changes ? Math.min(validUntilMs, nowMs - (nowMs % minuteMs) + minuteMs) : validUntilMs,
    }
  }

  const find = (target: Target): Known => {
    const { provider, model, version = '' } = target
    const nowMs = now()
    if (model.length > longestName) return lookUp(target, nowMs)
    const key = `${provider.length}:${provider}${model.length}:${model}${version}`
    const known = memo.get(key)
    if (known !== undefined && nowMs < known.validUntilMs) return known
    const found = lookUp(target, nowMs)
    memo.set(key, found)
    return found
  }

  return {
    price(target, usage) {
      const { tiers } = find(target)
      let tier = tiers[0]
      if (tier === undefined || usage === undefined) return tier?.price
      if (tiers.length > 1) {
        const prompt = promptTokens(usage)
        for (const each of tiers) if (prompt > each.abovePromptTokens) tier = each
      }
      return covers(tier.rates, usage) ? tier.price : undefined
    },
    get version() {
      const parts = [...(list ? [listVersion()] : []), ...(digest === undefined ? [] : [`overrides-${digest}`])]
      return parts.join('+') || 'none'
    },
  }
}

function tierOf(abovePromptTokens: number, rates: Rates): Tier {
  const { inputToken = 0, outputToken = 0, ...others } = rates
  return { abovePromptTokens, rates, price: Object.freeze({ inputToken, outputToken, ...others }) }
}

/** Is there a price for each thing that was used, its own or the one it falls back to? */
function covers(rates: Rates, usage: Usage): boolean {
  // An estimate may tell the same in tokens and in rows: where rows alone have a price, they are what counts.
  const { inputToken, outputToken, row } = rates
  if (usage.estimated && row !== undefined && (usage.rows ?? 0) > 0 && (inputToken ?? outputToken) === undefined)
    return true
  if (rates.inputToken === undefined) {
    if (usage.inputTokens > 0) return false
    if ((usage.cacheReadTokens ?? 0) > 0 && rates.cacheReadToken === undefined) return false
    if ((usage.cacheWriteTokens ?? 0) > 0 && rates.cacheWriteToken === undefined) return false
    const { cacheWrite1hToken = rates.cacheWriteToken } = rates
    if ((usage.cacheWrite1hTokens ?? 0) > 0 && cacheWrite1hToken === undefined) return false
    if ((usage.inputAudioTokens ?? 0) > 0 && rates.inputAudioToken === undefined) return false
    if ((usage.inputImageTokens ?? 0) > 0 && rates.inputImageToken === undefined) return false
  }
  if (rates.outputToken === undefined) {
    if (usage.outputTokens > 0) return false
    if ((usage.reasoningTokens ?? 0) > 0 && rates.reasoningToken === undefined) return false
    if ((usage.outputAudioTokens ?? 0) > 0 && rates.outputAudioToken === undefined) return false
    if ((usage.outputImageTokens ?? 0) > 0 && rates.outputImageToken === undefined) return false
  }
  // Rows come with tokens (one is priced) or alone (then only a price for rows, or for the request, says what they cost).
  return (usage.rows ?? 0) === 0 || rates.row !== undefined || rates.request !== undefined || totalTokens(usage) > 0
}
