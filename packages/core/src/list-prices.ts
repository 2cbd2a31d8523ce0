import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { parseUsd } from './money.js'
import type { Rates } from './price-overrides.js'
import type { Target } from './target.js'

type GenaiPrices = typeof import('@pydantic/genai-prices')
type ModelPrice = NonNullable<ReturnType<GenaiPrices['calcPrice']>>['model_price']

/** A model's list price. With tiers, one set of rates for every size of prompt at which a rate changes, the smallest first. */
export interface ListPrice {
  readonly tiers: ReadonlyArray<{ readonly abovePromptTokens: number; readonly rates: Rates }>
  /** The price depends on the date or the time of day: ask again later. */
  readonly changes: boolean
}

const require = createRequire(import.meta.url)
let loaded: { readonly prices: GenaiPrices; readonly version: string } | undefined

// The list is 0.5 MB of JavaScript: loaded when a price is first looked up, from this machine's disk, and never updated over the network.
function load() {
  if (loaded === undefined) {
    // Its manifest is not among its exports; it lies beside the directory of its entry.
    const manifest = join(dirname(require.resolve('@pydantic/genai-prices')), '..', 'package.json')
    const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }
    loaded = { prices: require('@pydantic/genai-prices') as GenaiPrices, version: `genai-prices-${version}` }
  }
  return loaded
}

/** Name and version of the price list. */
export function listVersion(): string {
  return load().version
}

/** Names that people use for a vendor of the list, besides its id there. */
const otherNames: ReadonlyMap<string, string> = new Map([
  ['azure-openai', 'azure'],
  ['bedrock', 'aws'],
  ['amazon-bedrock', 'aws'],
  ['gemini', 'google'],
  ['google-ai-studio', 'google'],
  ['vertex', 'google'],
  ['vertex-ai', 'google'],
  ['mistralai', 'mistral'],
  ['together-ai', 'together'],
  ['fireworks-ai', 'fireworks'],
  ['xai', 'x-ai'],
])

/**
 * Families whose weights nobody else can have, so that the model's name alone says who is paid. (`gpt-oss`, `deepseek`, `llama` and the
 * like run on anyone's machine, at anyone's price.)
 */
const closedFamilies: ReadonlyArray<readonly [name: RegExp, vendor: string]> = [
  [/^(?:gpt-(?!oss|j|neo)|chatgpt-|o[134](?:-|$)|text-embedding-(?:3-|ada-))/, 'openai'],
  [/^claude-/, 'anthropic'],
  [/^gemini-/, 'google'],
]

/**
 * Which vendor of the list a target is paid to. Only a name that is exactly a vendor's, one of its other names or the host of its API
 * counts: the list's own search takes `openai-compatible` for OpenAI. Without a provider, closed families alone are recognised.
 */
export function vendorOf({ provider, model }: Target): string | undefined {
  if (provider === '') return closedFamilies.find(([name]) => name.test(model.toLowerCase()))?.[1]
  const name = provider.toLowerCase()
  const id = otherNames.get(name) ?? name
  if (isVendor(id)) return id
  if (!/^[a-z0-9-]+(?:\.[a-z0-9-]+)+$/.test(name)) return undefined
  const byHost = load().prices.findProvider({ providerApiUrl: `https://${name}` })
  if (byHost === undefined) return undefined
  // The list's patterns match beginnings; `api.openai.com.example.org` is somebody else.
  return new RegExp(`^(?:${byHost.api_pattern})(?![^/])`).test(`https://${name}`) ? byHost.id : undefined
}

/** The list price of a vendor's model at a time, or `undefined` if the list has none (an entry without rates is none). */
export function listPrice(vendor: string, model: string, atMs: number): ListPrice | undefined {
  const { calcPrice } = load().prices
  const found = calcPrice({}, model, { providerId: vendor, timestamp: new Date(atMs) })
  if (found === null) return undefined
  const starts = new Set([0])
  for (const rate of Object.values(found.model_price)) {
    if (typeof rate === 'object') for (const tier of rate.tiers) starts.add(tier.start)
  }
  const tiers = [...starts]
    .sort((left, right) => left - right)
    .map((abovePromptTokens) => ({ abovePromptTokens, rates: ratesAt(found.model_price, abovePromptTokens) }))
  // A list that says nothing, or 0 throughout, does not know: what is free on purpose says so in an override.
  if (!tiers.some(({ rates }) => Object.values(rates).some((rate) => rate > 0))) return undefined
  return { tiers, changes: Array.isArray(found.model.prices) }
}

/** The list's names of what we carry, and how many of our units theirs is. Pages and searches have no bucket in a usage; of sound by the hour a row is a second. */
const buckets: ReadonlyArray<readonly [listed: string, bucket: keyof Rates, units: number]> = [
  ['input_mtok', 'inputToken', 1e6],
  ['output_mtok', 'outputToken', 1e6],
  ['cache_read_mtok', 'cacheReadToken', 1e6],
  ['cache_write_mtok', 'cacheWriteToken', 1e6],
  ['cache_write_1h_mtok', 'cacheWrite1hToken', 1e6],
  ['input_audio_mtok', 'inputAudioToken', 1e6],
  ['input_image_mtok', 'inputImageToken', 1e6],
  ['output_reasoning_mtok', 'reasoningToken', 1e6],
  ['output_audio_mtok', 'outputAudioToken', 1e6],
  ['output_image_mtok', 'outputImageToken', 1e6],
  ['input_audio_hours', 'row', 3_600],
  ['requests_kcount', 'request', 1e3],
]

function ratesAt(listed: ModelPrice, promptTokens: number): Rates {
  const rates: Rates = {}
  for (const [name, bucket, units] of buckets) {
    const rate = listed[name]
    if (rate === undefined) continue
    // The tier of the whole prompt prices every token of the request, as the vendors with tiers do.
    const usd =
      typeof rate === 'number'
        ? rate
        : rate.tiers.reduce((price, tier) => (tier.start <= promptTokens ? tier.price : price), rate.base)
    rates[bucket] = picoUsd(usd, units)
  }
  const { inputToken, cacheWriteToken } = rates
  // The list has it of Anthropic alone; whoever sells the same models bills as Anthropic does.
  if (inputToken !== undefined && cacheWriteToken !== undefined) {
    rates.cacheWrite1hToken ??= Math.max(cacheWriteToken, inputToken * 2)
  }
  return rates
}

// The list holds decimals as floats, some with their noise (0.30000000000000004): twelve places are the decimal. What is finer than a
// whole pico-USD is rounded up, so that a bill is never under.
function picoUsd(usd: number, units: number): number {
  return Math.ceil(parseUsd(usd.toFixed(12), 12) / units)
}

/** Does the list have a vendor of exactly this id? */
export function isVendor(id: string): boolean {
  return load().prices.findProvider({ providerId: id })?.id === id
}
