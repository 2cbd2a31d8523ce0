import express from 'express'
import OpenAI from 'openai'
import { onTestFinished } from 'vitest'
import type { GatewayConfig } from '../src/gateway/config.js'
import { gatewayService } from '../src/gateway/gateway-service.js'
import { reloadableService } from '../src/gateway/reloadable-service.js'
import { middleware } from '../src/http/handler.js'
import { authorize } from '../src/middleware/authorize.js'
import { cost } from '../src/middleware/cost.js'
import { errorHandler } from '../src/middleware/error-handler.js'
import { ledger } from '../src/middleware/ledger.js'
import { type LimitRule, limits } from '../src/middleware/limits.js'
import { notFound } from '../src/middleware/not-found.js'
import { priceTable } from '../src/price-table.js'
import { type ResponseIds, responseIds } from '../src/routes/response-ids.js'
import { type ResponsesOptions, responses } from '../src/routes/responses.js'
import { storedResponses } from '../src/routes/stored-responses.js'
import type { LedgerRow } from '../src/stores/ledger.js'
import { listen } from './hosts.js'
import { type StoringUpstream, storingUpstream } from './storing-upstream.js'

export const secret = 'a-secret-of-the-servers-0123456789'
const price = { usdPerMillionTokens: { input: '1', output: '10' } }
export const prices = priceTable({ overrides: { 'gpt-4o': price, 'gpt-4o-mini': price } })

export interface StoredGateOptions extends Pick<ResponsesOptions, 'allow' | 'onDisconnect'> {
  /** Those of another gate: this one is it again, after a restart. */
  readonly upstreams?: readonly [StoringUpstream, StoringUpstream]
  /** `null`: none. Default: of its own, under the one secret. */
  readonly ids?: ResponseIds | null
  readonly rules?: readonly LimitRule[]
  readonly models?: GatewayConfig['models']
  /** Milliseconds between the events of an upstream. */
  readonly pauseMs?: number
}

/** Two upstreams that store, the first with two keys, behind one gate with its policies; whoever has the key `a ann` is Ann of the tenant `a`, and may use no models but those of `x-models`, if it says so. */
export async function storedGate({ upstreams, ids, rules, models, pauseMs, ...options }: StoredGateOptions = {}) {
  const pause = pauseMs === undefined ? {} : { pauseMs }
  const [east, west] = upstreams ?? [await storingUpstream('east', pause), await storingUpstream('west', pause)]
  const config: GatewayConfig = {
    providers: {
      east: { type: 'openai', baseUrl: east.baseUrl, apiKey: ['key-1', 'key-2'], retry: false, breaker: false },
      west: { type: 'openai', baseUrl: west.baseUrl, apiKey: 'key-3', retry: false, breaker: false },
      plain: { type: 'vllm', baseUrl: west.baseUrl },
    },
    models: {
      any: { targets: ['east/gpt-4o', 'west/gpt-4o'], strategy: 'weighted' },
      sure: { targets: ['east/gpt-4o', 'west/gpt-4o'] },
      hedged: { targets: ['east/gpt-4o'], hedge: { afterMs: 0, target: 'west/gpt-4o', budgetRatio: 5 } },
      western: 'west/gpt-4o-mini',
      ...models,
    },
  }
  const service = reloadableService(gatewayService(config))
  onTestFinished(() => service.close())
  const given = ids === null ? undefined : (ids ?? responseIds({ secrets: [secret] }))
  const known = middleware('known', (context, req) => {
    const [tenant = '', subject = ''] = String(req.headers.authorization).replace('Bearer ', '').split(' ')
    const { 'x-models': list } = req.headers
    const models = typeof list === 'string' ? { models: [list.split(',')] } : {}
    context.principal = { tenant, subject, method: 'api-key', scopes: ['*'], ...models }
  })
  const rows: LedgerRow[] = []
  const limiter = limits({
    prices,
    rules: rules ?? [{ name: 'rpm', measure: 'requests', per: 'tenant', limit: 1_000 }],
  })
  const app = express()
  app.use(known, authorize(), limiter)
  app.use(ledger({ writer: { append: (row: LedgerRow) => void rows.push(row) } as never }), cost({ prices }))
  app.post('/v1/responses', responses({ service, ...options, ...(given === undefined ? {} : { ids: given }) }))
  if (given !== undefined) app.use('/v1/responses', storedResponses({ service, ids: given, heartbeatMs: 0 }))
  app.use(notFound(), errorHandler({ log: { error() {}, warn() {} } }) as never)
  const { url } = await listen(app)
  const client = (who: string, headers: Readonly<Record<string, string>> = {}) =>
    new OpenAI({ apiKey: who, baseURL: `${url}/v1`, maxRetries: 0, defaultHeaders: { ...headers } })
  return {
    url,
    east,
    west,
    upstreams: [east, west] as const,
    rows,
    service,
    limiter,
    client,
    ann: client('a ann'),
    bob: client('b bob'),
    /** All that the upstreams were asked. */
    calls: () => [...east.calls, ...west.calls],
  }
}
