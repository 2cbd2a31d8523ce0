import { gptTokenizer } from '@tollgate/core/gpt-tokenizer'
import type { ModelInfo } from '@tollgate/core/inference/model'
import { type InferenceService, inferenceService } from '@tollgate/core/inference/service'
import { anthropicProvider } from '@tollgate/core/providers/anthropic'
import { echoProvider } from '@tollgate/core/providers/echo'
import { openAiCompatible } from '@tollgate/core/providers/openai-compatible'
import { embeddedModels, onnxProvider } from '@tollgate/onnx'
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
  const upstream = hasOpenAi(settings) || hasAnthropic(settings)
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

/** The embedded models, the development model, and the upstream if there is one. */
export function makeModels(settings: Settings): ServerModels {
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
          ...(settings.OPENAI_API_KEY === undefined ? {} : { apiKey: settings.OPENAI_API_KEY }),
          tokenizer,
        }),
      ]
    : []
  const { ANTHROPIC_API_KEY: anthropicKey, ANTHROPIC_BASE_URL: anthropicUrl } = settings
  const anthropic = hasAnthropic(settings)
    ? [
        {
          provider: anthropicProvider({
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
