import { z } from 'zod'
import { configInvalid, TollgateError } from '../errors.js'
import type { RequestContext } from '../http/context.js'
import { type Handler, middleware } from '../http/handler.js'
import { type Branch, earlierCalls, onDispatch, onUsage, type RecordedCall } from '../http/record-usage.js'
import { costNanoUsd, formatUsd, parseUsd } from '../money.js'
import { checkedOptions, functionOption, objectOption } from '../options.js'
import { priceOverrides } from '../price-overrides.js'
import { type PriceOverrides, type PriceTable, priceTable } from '../price-table.js'
import type { Principal } from '../principal.js'
import type { Target } from '../target.js'

/**
 * What to do with a model whose price nobody knows. `reject`: refuse before it is called. `allow`: let it pass; `costNanoUsd` stays
 * `undefined`, never 0. `flatUsd`: bill this much for the request.
 */
export type UnknownPrice = 'reject' | 'allow' | { readonly flatUsd: string | number }

export interface CostOptions {
  /** Default: a `priceTable` with `overrides`. */
  readonly prices?: PriceTable | undefined
  /** Prices of your own, on top of the list. Not together with `prices`. */
  readonly overrides?: PriceOverrides | undefined
  /** Prices of whoever calls, instead of `prices`: a tenant's own, or `markedUp(prices, 20)`. `undefined`: those of `prices`. */
  readonly pricesOf?: ((principal: Principal | undefined) => PriceTable | undefined) | undefined
  /** Default `'reject'`. */
  readonly unknownPrice?: UnknownPrice | undefined
  /** Tell the caller in `X-Tollgate-Cost-Usd`, where the cost is known before the headers go out. Default true. */
  readonly headers?: boolean | undefined
}

const costOptions = z.strictObject({
  prices: objectOption<PriceTable>('a PriceTable, for example priceTable()', 'price').optional(),
  overrides: priceOverrides.optional(),
  pricesOf: functionOption<NonNullable<CostOptions['pricesOf']>>().optional(),
  unknownPrice: z
    .union([z.enum(['reject', 'allow']), z.strictObject({ flatUsd: z.union([z.string(), z.number()]) })])
    .default('reject'),
  headers: z.boolean().default(true),
})

/** After so many models without a price, further ones are no longer warned of. */
const mostWarnings = 1_000

/**
 * Turns recorded usage into money at once: a route can put `context.costNanoUsd` into its answer. Refuses a call to a model without a
 * price before it goes out. An answer from the cache costs 0.
 *
 * Reads `principal`, `usage`, `target`, `cache`, `log`; writes `costNanoUsd` (whole nano-USD).
 *
 * @throws TollgateError `price_unknown` where a target is about to be dispatched; `config_invalid` for wrong options
 * @example
 * app.use(cost({ overrides: { 'onnx/*': { free: true } }, unknownPrice: { flatUsd: '0.01' } }))
 */
export function cost(options: CostOptions = {}): Handler {
  const checked = checkedOptions('cost', costOptions, options)
  if (checked.prices !== undefined && checked.overrides !== undefined) {
    throw configInvalid('cost: give prices or overrides, not both; priceTable({ overrides }) takes them together.')
  }
  const { unknownPrice, headers, pricesOf } = checked
  const shared = checked.prices ?? priceTable({ overrides: checked.overrides })
  const tableOf = (context: RequestContext) => pricesOf?.(context.principal) ?? shared
  const flatNanoUsd = typeof unknownPrice === 'object' ? parseUsd(unknownPrice.flatUsd) : undefined
  const warned = new Set<string>()

  const warnOnce = (context: RequestContext, target: Target) => {
    const name = nameOf(target)
    if (warned.has(name) || warned.size >= mostWarnings) return
    warned.add(name)
    const then =
      flatNanoUsd === undefined ? 'its cost is unknown' : `each request is billed ${formatUsd(flatNanoUsd)} USD`
    const message = `No price is known for ${name}: ${then}. Add it to the overrides of cost().`
    if (context.log === undefined) process.emitWarning(message, 'TollgateWarning')
    else context.log.warn({ provider: target.provider, model: target.model }, message)
  }

  const refuseUnpriced = (context: RequestContext, target: Target) => {
    if (tableOf(context).price(target) !== undefined) return
    if (unknownPrice === 'reject') {
      throw new TollgateError(
        'price_unknown',
        `No price is known for ${nameOf(target)}, so it was not called. Name another model, or have its price added to the overrides of cost().`,
      )
    }
    warnOnce(context, target)
  }

  return middleware('cost', (context, _req, res) => {
    let last: { readonly target: Target; readonly branch: Branch } | undefined
    onDispatch(context, (_context, target, branch) => {
      last = { target, branch }
      refuseUnpriced(context, target)
    })
    onUsage(context, (_context, call) => {
      // What was dispatched beside it is another model.
      const own = costOf(context, call, last?.branch === call.branch ? last?.target : undefined)
      const earlier = earlierCalls(context)
      const nanoUsd = earlier === undefined ? own : sum(earlier.costNanoUsd, own)
      context.costNanoUsd = nanoUsd
      if (headers && nanoUsd !== undefined && !res.headersSent) res.setHeader('x-tollgate-cost-usd', formatUsd(nanoUsd))
    })
  })

  function costOf(
    context: RequestContext,
    { target, usage }: RecordedCall,
    dispatched: Target | undefined,
  ): number | undefined {
    if (context.cache === 'hit' || context.cache === 'collapsed') return 0
    // A handler that names no provider means the one it was let through with: a local `gpt-4o` must not become OpenAI's.
    const named =
      target.provider === '' && dispatched !== undefined ? { ...target, provider: dispatched.provider } : target
    // The model that answered is priced; where the list does not know its dated name, the one that was asked for.
    const prices = tableOf(context)
    const price =
      prices.price(named, usage) ??
      (dispatched?.provider === named.provider ? prices.price(dispatched, usage) : undefined)
    if (price !== undefined) return costNanoUsd(usage, price)
    warnOnce(context, named)
    return flatNanoUsd
  }
}

/** What is not known makes the sum unknown. */
function sum(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? undefined : one + other
}

// The name may be the caller's word: short enough to log and to keep.
function nameOf({ provider, model }: Target): string {
  const name = model.slice(0, 256)
  return provider === '' ? `'${name}'` : `'${provider}/${name}'`
}
