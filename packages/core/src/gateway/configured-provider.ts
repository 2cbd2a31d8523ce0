import { configInvalid } from '../errors.js'
import type { Provider } from '../inference/provider.js'
import { anthropicProvider } from '../providers/anthropic.js'
import type { AwsCredentialSource } from '../providers/aws-credentials.js'
import { bedrockProvider } from '../providers/bedrock.js'
import { echoProvider } from '../providers/echo.js'
import { geminiProvider } from '../providers/gemini.js'
import { openAiCompatible } from '../providers/openai-compatible.js'
import { type OpenAiPreset, openAiPresets } from '../providers/openai-presets.js'
import type { UpstreamLimits } from '../providers/upstream-limits.js'
import type { Tokenizer } from '../tokenizer.js'
import type { ReadGatewayConfig } from './config.js'
import { configuredGuards } from './configured-guards.js'
import { type Resilience, resilientProvider } from './resilient-provider.js'

type ProviderConfig = ReadGatewayConfig['providers'][string]

/** {@link UpstreamLimits}, of one of several keys, from 1. */
export interface KeyLimits extends UpstreamLimits {
  readonly key?: number
}

export interface ProviderMaking {
  /** Of the whole configuration. */
  readonly guards: ReadGatewayConfig['guards']
  readonly env: Readonly<Record<string, string | undefined>>
  readonly tokenizer: Tokenizer
  /** Told what upstreams say is left of their limits. */
  readonly onUpstreamLimits: ((limits: KeyLimits) => void) | undefined
}

/** A provider for each key, as one. */
export function configuredProvider(
  name: string,
  given: ProviderConfig,
  { env, tokenizer, guards: shared = [], onUpstreamLimits }: ProviderMaking,
): Provider {
  const { type, baseUrl, headers, patchBody, defaultMaxTokens, timeouts, retry, breaker, bulkhead } = given
  const preset: OpenAiPreset | undefined = Object.hasOwn(openAiPresets, type)
    ? openAiPresets[type as keyof typeof openAiPresets]
    : undefined
  const variable = { anthropic: 'ANTHROPIC_API_KEY', gemini: 'GEMINI_API_KEY' }[type as string] ?? preset?.keyVariable
  const keys = keysOf(name, given.apiKey, variable, env)
  const common = {
    name,
    tokenizer,
    ...(baseUrl === undefined ? {} : { baseUrl }),
    ...(headers === undefined ? {} : { headers }),
    ...(patchBody === undefined ? {} : { patchBody }),
  }
  const make = (apiKey: string | undefined, index: number): Provider => {
    const place = keys.length > 1 ? { key: index + 1 } : {}
    const key = {
      ...(apiKey === undefined ? {} : { apiKey }),
      ...(onUpstreamLimits === undefined
        ? {}
        : { onLimits: (limits: UpstreamLimits) => onUpstreamLimits({ ...limits, ...place }) }),
    }
    switch (type) {
      case 'anthropic':
        return anthropicProvider({
          ...common,
          ...key,
          ...(defaultMaxTokens === undefined ? {} : { defaultMaxTokens }),
        })
      case 'gemini':
        return geminiProvider({ ...common, ...key })
      case 'bedrock':
        return bedrockProvider({ ...common, ...bedrockOptions(name, given, env), ...key })
      case 'echo':
        return echoProvider({ name, tokenizer })
      default: {
        const { keyVariable: _, ...known } = preset ?? {}
        const url = baseUrl ?? known.baseUrl
        if (url === undefined) throw configInvalid(`gatewayService: providers.${name}: a ${type} needs its baseUrl.`)
        // Each key may be of an account of its own. They are told apart by their places, so that one can be replaced by its successor.
        const account = index === 0 ? name : `${name}/${index}`
        return openAiCompatible({ ...known, ...common, ...key, baseUrl: url, account })
      }
    }
  }
  const guards = configuredGuards([...shared, ...(given.guards ?? [])])
  const resilience = { timeouts, retry: retry || undefined, breaker: breaker || undefined, bulkhead, guards }
  return resilientProvider(name, keys.map(make), resilience as Resilience)
}

function bedrockOptions(name: string, { region, credentials, baseModels }: ProviderConfig, env: ProviderMaking['env']) {
  return {
    env,
    ...(region === undefined ? {} : { region }),
    ...(baseModels === undefined ? {} : { baseModels }),
    ...(credentials === undefined ? {} : { credentials: credentialsOf(name, credentials, env) }),
  }
}

function credentialsOf(
  name: string,
  given: NonNullable<ProviderConfig['credentials']>,
  env: ProviderMaking['env'],
): AwsCredentialSource {
  if (typeof given === 'function') return given
  const read = (field: string, secret: Secret) => secretOf(`providers.${name}.credentials.${field}`, secret, env)
  const { accessKeyId, secretAccessKey, sessionToken } = given
  return {
    accessKeyId: read('accessKeyId', accessKeyId),
    secretAccessKey: read('secretAccessKey', secretAccessKey),
    ...(sessionToken === undefined ? {} : { sessionToken: read('sessionToken', sessionToken) }),
  }
}

type Secret = string | { env: string }

function keysOf(
  name: string,
  given: Secret | readonly Secret[] | undefined,
  variable: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Array<string | undefined> {
  if (given === undefined) return [variable === undefined ? undefined : env[variable] || undefined]
  return [given]
    .flat()
    .map((secret: Secret, index) =>
      secretOf(`providers.${name}.apiKey${Array.isArray(given) ? `[${index}]` : ''}`, secret, env),
    )
}

function secretOf(path: string, secret: Secret, env: ProviderMaking['env']): string {
  if (typeof secret === 'string') return secret
  const value = env[secret.env]
  if (value !== undefined && value !== '') return value
  throw configInvalid(`gatewayService: ${path}: the environment variable that env names is not set.`)
}
