import { setImmediate, setTimeout } from 'node:timers/promises'
import { onTestFinished } from 'vitest'
import { contextOf } from '../../src/http/context.js'
import { dialect } from '../../src/http/dialect.js'
import type { Handler } from '../../src/http/handler.js'
import type { Provider } from '../../src/inference/provider.js'
import { inferenceService } from '../../src/inference/service.js'
import { cost } from '../../src/middleware/cost.js'
import { errorHandler } from '../../src/middleware/error-handler.js'
import { ledger } from '../../src/middleware/ledger.js'
import { type PriceOverride, priceTable } from '../../src/price-table.js'
import { anthropicProvider } from '../../src/providers/anthropic.js'
import { bedrockProvider } from '../../src/providers/bedrock.js'
import { geminiProvider } from '../../src/providers/gemini.js'
import type { HttpOptions } from '../../src/providers/http-kit.js'
import { openAiCompatible } from '../../src/providers/openai-compatible.js'
import { chatCompletions } from '../../src/routes/chat-completions.js'
import { completions } from '../../src/routes/completions.js'
import { embeddings } from '../../src/routes/embeddings.js'
import { messages } from '../../src/routes/messages.js'
import { responses } from '../../src/routes/responses.js'
import type { LedgerRow } from '../../src/stores/ledger.js'
import type { LedgerWriter } from '../../src/stores/ledger-writer.js'
import { anthropicKey, anthropicWire } from '../anthropic-upstream.js'
import { bedrockCredentials, bedrockRegion, bedrockWire } from '../bedrock-upstream.js'
import { geminiKey, geminiWire } from '../gemini-upstream.js'
import { type Host, hosts } from '../hosts.js'
import { openAiWire, upstreamKey } from '../openai-upstream.js'
import { type FaultyUpstream, faultyUpstream } from './faulty-upstream.js'

type Options = Partial<HttpOptions> & { readonly baseUrl: string; readonly maxEventBytes?: number }

/** Every wire that a provider speaks. */
export const wires = {
  openai: {
    wire: openAiWire,
    provider: (options: Options) =>
      openAiCompatible({ name: 'openai', apiKey: upstreamKey, hasResponses: true, listModels: false, ...options }),
  },
  anthropic: {
    wire: anthropicWire,
    provider: (options: Options) => anthropicProvider({ apiKey: anthropicKey, ...options }),
  },
  gemini: { wire: geminiWire, provider: (options: Options) => geminiProvider({ apiKey: geminiKey, ...options }) },
  bedrock: {
    wire: bedrockWire,
    provider: (options: Options) =>
      bedrockProvider({ credentials: bedrockCredentials, region: bedrockRegion, ...options }),
  },
} as const
export type WireName = keyof typeof wires

const usual: PriceOverride = { usdPerMillionTokens: { input: 1, output: 2 } }

/** Milliseconds: `short` for what is ended by them, `long` for what must never be. */
export const limits = {
  short: { headersTimeoutMs: 1_000, bodyIdleTimeoutMs: 900, totalMs: 3_000 },
  long: { headersTimeoutMs: 15_000, bodyIdleTimeoutMs: 15_000, totalMs: 20_000 },
} as const

export interface FaultGate {
  readonly url: string
  readonly upstream: FaultyUpstream
  /** The rows so far, when there are so many. Rejects if there are more. */
  rows(count: number): Promise<readonly LedgerRow[]>
  /** The one row of a model. */
  row(model: string): Promise<LedgerRow>
  /** What was told of errors that are not for callers. */
  readonly logged: readonly unknown[]
}

/** Every surface over one provider over one upstream that goes wrong, with a ledger. */
export async function faultGate(
  name: WireName,
  options: Partial<HttpOptions> & { readonly maxEventBytes?: number; readonly totalMs?: number } = {},
  wrap: (provider: Provider) => Provider = (provider) => provider,
  at: (baseUrl: string) => string = (baseUrl) => baseUrl,
  price: PriceOverride = usual,
): Promise<FaultGate> {
  const { totalMs, ...http } = { ...limits.long, ...options }
  const { wire, provider } = wires[name]
  const prices = priceTable({ list: false, overrides: { '*': price } })
  const upstream = await faultyUpstream(wire)
  const made = provider({
    baseUrl: at(upstream.baseUrl),
    ...http,
  })
  const service = inferenceService({ providers: [wrap(made)], timeoutMs: totalMs })
  const kept: LedgerRow[] = []
  const writer = { append: (row: LedgerRow) => void kept.push(row) } as LedgerWriter
  const logged: unknown[] = []
  const log = {
    error: (fields: object) => void logged.push(fields),
    warn: (fields: object) => void logged.push(fields),
  }
  const as: Handler = (req, res, next) => {
    contextOf(req, res).principal = { tenant: 'acme', subject: 'ada', method: 'jwt', scopes: [] }
    next()
  }
  const { url } = await (hosts.at(-1) as Host).start(
    as,
    ledger({ writer }),
    cost({ prices }),
    ['/v1/chat/completions', dialect('openai'), chatCompletions({ service })],
    ['/v1/completions', dialect('openai'), completions({ service })],
    ['/v1/embeddings', dialect('openai'), embeddings({ service })],
    ['/v1/responses', dialect('openai'), responses({ service })],
    ['/v1/messages', dialect('anthropic'), messages({ service })],
    errorHandler({ log }),
  )
  onTestFinished(async () => {
    await service.close()
    await upstream.close()
  })
  return {
    url,
    upstream,
    logged,
    rows: (count) => exactly(count, () => kept),
    row: async (model) => (await exactly(1, () => kept.filter((row) => row.model === model)))[0] as LedgerRow,
  }
}

async function exactly(count: number, read: () => readonly LedgerRow[]): Promise<readonly LedgerRow[]> {
  for (let tries = 0; read().length < count && tries < 500; tries += 1) await setTimeout(5)
  // A second one would come as soon as the first.
  await setImmediate()
  if (read().length !== count) throw new Error(`${read().length} rows, not ${count}`)
  return read()
}
