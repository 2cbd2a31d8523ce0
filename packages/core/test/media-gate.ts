import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import OpenAI from 'openai'
import { onTestFinished } from 'vitest'
import type { RequestContext } from '../src/http/context.js'
import { type Handler, listener, middleware } from '../src/http/handler.js'
import { inferenceService } from '../src/inference/service.js'
import { authorize } from '../src/middleware/authorize.js'
import { cost } from '../src/middleware/cost.js'
import { errorHandler } from '../src/middleware/error-handler.js'
import { ledger } from '../src/middleware/ledger.js'
import { limits } from '../src/middleware/limits.js'
import { priceTable } from '../src/price-table.js'
import type { Principal } from '../src/principal.js'
import { byteTokenizer } from '../src/providers/count-tokens.js'
import { echoProvider } from '../src/providers/echo.js'
import { namedModels } from '../src/providers/named-models.js'
import { openAiCompatible } from '../src/providers/openai-compatible.js'
import { speech, transcriptions, translations } from '../src/routes/audio.js'
import { imageEdits, imageGenerations, imageVariations } from '../src/routes/images.js'
import type { MediaRouteOptions } from '../src/routes/media-route.js'
import type { LedgerRow } from '../src/stores/ledger.js'
import { memoryLimitStore } from '../src/stores/memory-limit-store.js'
import { withRetry } from '../src/wrappers/retry.js'
import { listen } from './hosts.js'
import { type MediaUpstreamOptions, mediaUpstream } from './media-upstream.js'

export const quiet = { error: () => {}, warn: () => {} }
export const mebibyte = 1_048_576
export const prices = priceTable({
  overrides: { 'dall-e-2': { usdPerRow: '0.02' }, 'tts-1': { usdPerRow: '0.000015' } },
})

interface GateOptions extends Omit<MediaRouteOptions, 'service'> {
  readonly upstream?: MediaUpstreamOptions
  readonly principal?: Partial<Principal>
  readonly before?: readonly Handler[]
  readonly budget?: string
}

/** All six routes behind the middlewares, over a fixture upstream, and the rows of the ledger. */
export async function gate({
  upstream: scripted,
  principal,
  before = [],
  budget = '10',
  ...options
}: GateOptions = {}) {
  const upstream = await mediaUpstream(scripted)
  const provider = openAiCompatible({ name: 'openai', baseUrl: upstream.baseUrl, apiKey: 'sk-upstream-0123456789' })
  const patient = provider.model('media', 'gpt-image-1')
  if (patient === undefined) throw new Error('no model')
  const service = inferenceService({
    providers: [
      { provider: echoProvider({ tokenizer: byteTokenizer }), models: ['echo'] },
      namedModels({ models: { retried: withRetry(patient, { baseMs: 0 }) } }),
      { provider, models: ['gpt-*', 'dall-e-*', 'tts-*', 'whisper-*', 'nobody-*'] },
    ],
    aliases: { draw: 'gpt-image-1', hear: 'gpt-4o-transcribe', say: 'gpt-4o-mini-tts' },
  })
  onTestFinished(() => service.close())
  const rows: LedgerRow[] = []
  const waiting: Array<(row: LedgerRow) => void> = []
  const append = (row: LedgerRow) => {
    rows.push(row)
    waiting.shift()?.(row)
  }
  const contexts: RequestContext[] = []
  const known = middleware('known', (context) => {
    contexts.push(context)
    context.principal = { tenant: 't', subject: 'u', scopes: ['*'], ...principal } as Principal
  })
  const store = memoryLimitStore()
  const rule = { name: 'budget', measure: 'money', per: 'user', limit: budget, calendar: 'month' } as const
  const limiter = limits({ store, prices, rules: [rule] })
  const given = { service, ...options }
  const mounts = [
    ...before,
    known,
    authorize(),
    limiter,
    ledger({ writer: { append } as never }),
    cost({ prices }),
    ['/v1/images/generations', imageGenerations(given)],
    ['/v1/images/edits', imageEdits(given)],
    ['/v1/images/variations', imageVariations(given)],
    ['/v1/audio/speech', speech(given)],
    ['/v1/audio/transcriptions', transcriptions(given)],
    ['/v1/audio/translations', translations(given)],
    errorHandler({ log: quiet }),
  ] as const
  /** What is spent and held of the budget, nano-USD. */
  const standing = async () => {
    const [state] = await limiter.standing({ headers: {}, socket: {} } as never, contexts[0] as RequestContext)
    return state
  }
  return { upstream, rows, nextRow: () => new Promise<LedgerRow>((resolve) => waiting.push(resolve)), mounts, standing }
}

export async function start(options: GateOptions = {}) {
  const made = await gate(options)
  const listeners = made.mounts.map((mount) => {
    if (typeof mount === 'function') return mount
    const [path, handler] = mount
    const guarded: Handler = (req, res, next) => (req.url === path ? handler(req, res, next) : next())
    return guarded
  })
  const { url } = await listen(listener(...listeners))
  return { ...made, url, client: new OpenAI({ apiKey: 'sk-caller', baseURL: `${url}/v1`, maxRetries: 0 }) }
}

export const imageUsage = {
  input_tokens: 50,
  output_tokens: 1_056,
  total_tokens: 1_106,
  input_tokens_details: { text_tokens: 10, image_tokens: 40 },
}
export const tokenUsage = {
  type: 'tokens',
  input_tokens: 14,
  output_tokens: 45,
  total_tokens: 59,
  input_token_details: { text_tokens: 0, audio_tokens: 14 },
}

setFlagsFromString('--expose-gc')
export const gc = runInNewContext('gc') as (what?: { readonly type: 'minor' }) => void

/** A form by hand, its parts in the order that is given. */
export function form(parts: ReadonlyArray<readonly [name: string, value: string | Uint8Array]>, boundary = 'xyz') {
  const pieces = parts.flatMap(([name, value]) => [
    `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${typeof value === 'string' ? '' : '; filename="f"'}\r\n\r\n`,
    value,
    '\r\n',
  ])
  return Buffer.concat([...pieces, `--${boundary}--\r\n`].map((piece) => Buffer.from(piece as never)))
}

export const formType = { 'content-type': 'multipart/form-data; boundary=xyz' }
