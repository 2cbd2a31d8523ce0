import { readFileSync, type Stats, unwatchFile, watchFile } from 'node:fs'
import { configInvalid } from '@tollgate/core/errors'
import { defineGateway, type GatewayConfig } from '@tollgate/core/gateway/config'
import { gatewayService } from '@tollgate/core/gateway/gateway-service'
import { reloadableService } from '@tollgate/core/gateway/reloadable-service'
import { gptTokenizer } from '@tollgate/core/gpt-tokenizer'
import type { ModelInfo } from '@tollgate/core/inference/model'
import { type InferenceService, inferenceService } from '@tollgate/core/inference/service'
import type { HedgeReport } from '@tollgate/core/middleware/hedge-reports'
import type { ShadowReport } from '@tollgate/core/middleware/shadow-reports'
import type { UpstreamLimitReport } from '@tollgate/core/middleware/upstream-limit-metrics'
import type { PriceTable } from '@tollgate/core/price-table'
import { anthropicProvider } from '@tollgate/core/providers/anthropic'
import { echoProvider } from '@tollgate/core/providers/echo'
import { openAiCompatible } from '@tollgate/core/providers/openai-compatible'
import { embeddedModels, onnxProvider } from '@tollgate/onnx'
import { LineCounter, parseDocument } from 'yaml'
import { hasAnthropic, hasOpenAi, isOpenAi, type Settings } from './settings.js'

/** Which model answers a request that names none. */
export interface DefaultModels {
  readonly generate: string | undefined
  readonly embed: string | undefined
  /** For `POST /v1/predict`, by the kind of input. */
  readonly predict: { readonly text: string; readonly features: string }
}

/** Models that are there without an upstream, by name. */
export const embeddedNames = ['echo', 'language-id', 'iris'] as const

/** The default models by the settings: `MODEL_NAME` may name an embedded model of any task. */
export function defaultModels(settings: Settings): DefaultModels {
  const { MODEL_NAME: named, EMBEDDING_MODEL_NAME: embedding } = settings
  const openAi = hasOpenAi(settings) && isOpenAi(settings.OPENAI_BASE_URL)
  const upstream = hasOpenAi(settings) || hasAnthropic(settings) || settings.GATEWAY_CONFIG !== undefined
  // OpenAI's models are known; those of an upstream of one's own are not, and without one there is the development model.
  const fallback = (ofOpenAi: string) => (openAi ? ofOpenAi : upstream ? undefined : 'echo')
  const predicts = named === 'language-id' || named === 'iris'
  return {
    generate: named !== undefined && !predicts ? named : fallback('gpt-4o-mini'),
    embed: embedding ?? fallback('text-embedding-3-small'),
    predict: { text: 'language-id', features: 'iris' },
  }
}

/** The models of the server. */
export interface ServerModels {
  readonly service: InferenceService
  /** Those that live in this process, with their versions; asks nobody over the network. */
  loaded(): Promise<readonly ModelInfo[]>
}

/** Told what routes do beside answering, and what upstreams say beside it. */
export interface ModelWatch {
  readonly onHedge: (result: HedgeReport) => void
  readonly onShadow: (result: ShadowReport) => void
  readonly onUpstreamLimits: (report: UpstreamLimitReport) => void
}

/** The embedded models, the development model, and the upstreams if there are any: those of the settings, or of the file that `GATEWAY_CONFIG` names. */
export function makeModels(
  settings: Settings,
  prices: PriceTable,
  report: (text: string) => void,
  watch: ModelWatch,
): ServerModels {
  const { GATEWAY_CONFIG: file } = settings
  return file === undefined ? modelsOfSettings(settings, watch) : modelsOfFile(file, settings, prices, report, watch)
}

/** What the file says, now and whenever it changes; one that is wrong changes nothing. */
function modelsOfFile(
  file: string,
  settings: Settings,
  prices: PriceTable,
  report: (text: string) => void,
  watch: ModelWatch,
): ServerModels {
  const tokenizer = gptTokenizer()
  const onnx = onnxProvider({ models: embeddedModels() })
  const { MODEL_NAME: generate, EMBEDDING_MODEL_NAME: embed } = settings
  const make = (): InferenceService => {
    const config = readConfig(file)
    const defaultModels = {
      ...config.defaultModels,
      ...(generate === undefined ? {} : { generate }),
      ...(embed === undefined ? {} : { embed }),
    }
    const timeoutMs = settings.REQUEST_TIMEOUT_SECONDS * 1000
    return gatewayService({ timeoutMs, ...config, defaultModels }, { tokenizer, prices, ...watch, providers: [onnx] })
  }
  const service = reloadableService(make(), settings.REQUEST_TIMEOUT_SECONDS * 1000)
  const reload = () => {
    try {
      service.replace(make()).catch((error: unknown) => report(`Closing the models before failed: ${wordsOf(error)}`))
      report(`${file} is read again: what it says holds from now on`)
    } catch (error) {
      report(`${file} is wrong, and what held goes on: ${wordsOf(error)}`)
    }
  }
  const changed = (now: Stats, before: Stats) => {
    if (now.mtimeMs !== before.mtimeMs || now.ino !== before.ino) reload()
  }
  // By asking, since a file may be put in place by a link.
  watchFile(file, { interval: 1_000, persistent: false }, changed)
  process.on('SIGHUP', reload)
  return {
    service: {
      ...service,
      async close() {
        unwatchFile(file, changed)
        process.off('SIGHUP', reload)
        await service.close()
        await onnx.close?.()
      },
    },
    loaded: async () => (await onnx.list?.()) ?? [],
  }
}

/** What is wrong is told by its place: the file's own words may be keys. */
function readConfig(file: string): GatewayConfig {
  const wrong = (what: string) => configInvalid(`GATEWAY_CONFIG: ${file}: ${what}`)
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw wrong(wordsOf(error))
  }
  const lineCounter = new LineCounter()
  // JSON is YAML.
  const document = parseDocument(text, { lineCounter, prettyErrors: false, logLevel: 'error', stringKeys: true })
  const [error] = document.errors
  if (error !== undefined) {
    const { line, col } = lineCounter.linePos(error.pos[0])
    throw wrong(`no YAML or JSON from line ${line}, column ${col} on (${error.code})`)
  }
  let config: GatewayConfig
  try {
    config = document.toJS() as GatewayConfig
  } catch {
    throw wrong('an alias has no anchor before it, or there are too many of them')
  }
  defineGateway(config)
  return config
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function modelsOfSettings(settings: Settings, { onUpstreamLimits: onLimits }: ModelWatch): ServerModels {
  const tokenizer = gptTokenizer()
  const defaults = defaultModels(settings)
  const embedded = [
    onnxProvider({ models: embeddedModels() }),
    // Nobody should get an echo where an answer was meant: it is there only while nothing better is.
    ...(hasOpenAi(settings) || hasAnthropic(settings) ? [] : [echoProvider({ tokenizer })]),
  ]
  const openAi = hasOpenAi(settings)
    ? [
        openAiCompatible({
          name: isOpenAi(settings.OPENAI_BASE_URL) ? 'openai' : 'upstream',
          baseUrl: settings.OPENAI_BASE_URL ?? 'https://api.openai.com/v1',
          hasResponses: isOpenAi(settings.OPENAI_BASE_URL),
          ...(settings.OPENAI_API_KEY === undefined ? {} : { apiKey: settings.OPENAI_API_KEY }),
          onLimits,
          tokenizer,
        }),
      ]
    : []
  const { ANTHROPIC_API_KEY: anthropicKey, ANTHROPIC_BASE_URL: anthropicUrl } = settings
  const anthropic = hasAnthropic(settings)
    ? [
        {
          provider: anthropicProvider({
            onLimits,
            tokenizer,
            ...(anthropicKey === undefined ? {} : { apiKey: anthropicKey }),
            ...(anthropicUrl === undefined ? {} : { baseUrl: anthropicUrl }),
          }),
          models: { 'claude-*': 'claude-*', 'anthropic/*': '*' },
        },
      ]
    : []
  const service = inferenceService({
    providers: [...embedded, ...anthropic, ...openAi],
    defaultModels: {
      ...(defaults.generate === undefined ? {} : { generate: defaults.generate }),
      ...(defaults.embed === undefined ? {} : { embed: defaults.embed }),
    },
    timeoutMs: settings.REQUEST_TIMEOUT_SECONDS * 1000,
  })
  const loaded = async () => (await Promise.all(embedded.map((provider) => provider.list?.() ?? []))).flat()
  return { service, loaded }
}
