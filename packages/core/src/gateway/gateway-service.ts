import { configInvalid } from '../errors.js'
import type { Model } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import type { ProviderEntry } from '../inference/registry.js'
import { type InferenceService, inferenceService } from '../inference/service.js'
import type { GenerateInput, Task, Tasks } from '../inference/task.js'
import { costNanoUsd } from '../money.js'
import type { PriceTable } from '../price-table.js'
import { anthropicProvider } from '../providers/anthropic.js'
import { countPrompt } from '../providers/count-tokens.js'
import { echoProvider } from '../providers/echo.js'
import { geminiProvider } from '../providers/gemini.js'
import { namedModels } from '../providers/named-models.js'
import { openAiCompatible } from '../providers/openai-compatible.js'
import { type OpenAiPreset, openAiPresets } from '../providers/openai-presets.js'
import type { Target } from '../target.js'
import type { Tokenizer } from '../tokenizer.js'
import { type RouteTarget, routed } from '../wrappers/routed.js'
import type { GatewayConfig, ReadGatewayConfig } from './config.js'
import { defineGateway } from './config.js'
import { type Resilience, resilientProvider } from './resilient-provider.js'

export interface GatewayServiceOptions {
  /** Where secrets are looked up. Default `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Counts tokens where upstreams do not say. Default: a quarter of the bytes. */
  readonly tokenizer?: Tokenizer
  /** Providers of your own beside those of the configuration: local models, for one. Asked first. */
  readonly providers?: readonly ProviderEntry[]
  /** For routes by `cheapest`. */
  readonly prices?: PriceTable
}

type ProviderConfig = ReadGatewayConfig['providers'][string]
type RouteConfig = Exclude<ReadGatewayConfig['models'][string], string>

type TargetConfig = Exclude<RouteConfig['targets'][number], string>

/** For providers that were given no tokenizer. */
const byBytes: Tokenizer = { name: 'utf8-bytes/4', count: (text) => Math.ceil(Buffer.byteLength(text) / 4) }

/**
 * The inference service of a configuration: its providers with their retries, breakers and limits, and the names that stand for models and routes.
 *
 * @throws TollgateError `config_invalid` for a secret that is not there, a name that leads nowhere, and names that lead in a circle
 * @example const service = gatewayService({ providers: { openai: { type: 'openai' }, claude: { type: 'anthropic' } }, models: { smart: { targets: ['claude/claude-sonnet-4-5', 'openai/gpt-4o'] } } })
 */
export function gatewayService(config: GatewayConfig, options: GatewayServiceOptions = {}): InferenceService {
  const { providers, models, defaultModels, timeoutMs } = defineGateway(config)
  const { env = process.env, tokenizer = byBytes, prices } = options
  const made = new Map(
    Object.entries(providers).map(([name, given]) => [name, providerOf(name, given, { env, tokenizer })]),
  )
  const own = new Map(
    (options.providers ?? []).map((entry) => {
      const each = 'provider' in entry ? entry.provider : entry
      return [each.name, each]
    }),
  )

  const routes = new Map<string, Model>()
  /** The model of a name in a configuration, routes made when they are first asked for. @param through the routes that led here */
  const modelOf = (task: Task, name: string, through: readonly string[]): Model => {
    const path = [...through, name]
    if (through.includes(name)) throw configInvalid(`gatewayService: models lead in a circle: ${path.join(' → ')}.`)
    const given = Object.hasOwn(models, name) ? models[name] : undefined
    if (typeof given === 'string') return modelOf(task, given, path)
    if (given !== undefined) return routeOf(name, given, path)
    const slash = name.indexOf('/')
    const [provider, model] = slash === -1 ? [undefined, name] : [name.slice(0, slash), name.slice(slash + 1)]
    const source = provider === undefined ? undefined : (made.get(provider) ?? own.get(provider))
    const found = source?.model(task, model)
    if (found !== undefined) return found as Model
    throw configInvalid(
      `gatewayService: models.${path[0]}: '${name}' is no {provider}/{model} for ${task} of ${[...made.keys(), ...own.keys()].join(', ')}, and no other name of models.`,
    )
  }
  const routeOf = (name: string, given: RouteConfig, through: readonly string[]): Model => {
    const { targets, task, strategy, affinity, fallbackOn, maxAttempts } = given
    const known = routes.get(name)
    if (known !== undefined) return known
    if (strategy === 'cheapest' && prices === undefined) {
      throw configInvalid(`gatewayService: models.${name}: the strategy cheapest needs prices.`)
    }
    const route = routed<Task>({
      targets: targets.map((each) => {
        const target: TargetConfig = typeof each === 'string' ? { model: each, weight: 1 } : each
        const when = conditionOf(target)
        const { weight } = target
        return {
          model: modelOf(task, target.model, through),
          weight,
          ...(when === undefined ? {} : { when: when as NonNullable<RouteTarget<Task>['when']> }),
        }
      }),
      strategy,
      maxAttempts,
      ...(affinity === undefined ? {} : { affinity }),
      ...(fallbackOn === undefined ? {} : { fallbackOn }),
      ...(prices === undefined ? {} : { cost: costOf(prices, tokenizer) }),
    })
    routes.set(name, route)
    return route
  }

  const named: Record<string, Model | readonly Model[]> = {}
  const descriptions: Record<string, string> = {}
  for (const [name, given] of Object.entries(models)) {
    if (typeof given === 'string') {
      named[name] = everyTask((task) => modelOf(task, given, [name]))
      continue
    }
    named[name] = routeOf(name, given, [name])
    if (given.description !== undefined) descriptions[name] = given.description
  }

  return inferenceService({
    providers: [
      ...(Object.keys(named).length === 0 ? [] : [namedModels({ models: named, descriptions })]),
      ...(options.providers ?? []),
      ...[...made].map(([name, provider]): ProviderEntry => ({ provider, models: namesOf(name, providers[name]) })),
    ],
    defaultModels: Object.fromEntries(Object.entries(defaultModels).filter(([, model]) => model !== undefined)),
    timeoutMs,
  })
}

/** An alias is for every task that its model does. */
function everyTask(find: (task: Task) => Model): readonly Model[] {
  const found: Model[] = []
  let first: unknown
  for (const task of ['generate', 'embed', 'predict', 'media'] as const) {
    try {
      found.push(find(task))
    } catch (error) {
      first ??= error
    }
  }
  if (found.length === 0) throw first
  return found
}

/** The names of a provider's models: with its own before them, and those that it gives. */
function namesOf(name: string, given: ProviderConfig | undefined): Record<string, string> {
  const models = given?.models ?? []
  const pairs = Array.isArray(models) ? models.map((each): [string, string] => [each, each]) : Object.entries(models)
  return { [`${name}/*`]: '*', ...Object.fromEntries(pairs) }
}

function conditionOf({ tiers, tenants, when }: TargetConfig) {
  if (tiers === undefined && tenants === undefined && when === undefined) return undefined
  return (...[input, call]: Parameters<NonNullable<typeof when>>): boolean => {
    const { principal } = call
    if (tiers !== undefined && (principal?.tier === undefined || !tiers.includes(principal.tier))) return false
    if (tenants !== undefined && (principal === undefined || !tenants.includes(principal.tenant))) return false
    return when === undefined || when(input, call)
  }
}

/** What a call costs at least: its prompt, and as much output as it may write. */
function costOf(prices: PriceTable, tokenizer: Tokenizer) {
  return (target: Target, input: Tasks[Task]['input']): number | undefined => {
    const isChat = 'messages' in input
    const { maxOutputTokens = 500 } = isChat ? (input as GenerateInput) : { maxOutputTokens: 0 }
    const inputTokens = isChat ? countPrompt(input as GenerateInput, tokenizer) : 1_000
    const usage = { inputTokens, outputTokens: maxOutputTokens, estimated: true }
    const price = prices.price(target, usage)
    return price === undefined ? undefined : costNanoUsd(usage, price)
  }
}

interface MakeOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly tokenizer: Tokenizer
}

/** A provider for each key, as one. */
function providerOf(name: string, given: ProviderConfig, { env, tokenizer }: MakeOptions): Provider {
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
  const make = (apiKey: string | undefined): Provider => {
    const key = apiKey === undefined ? {} : { apiKey }
    switch (type) {
      case 'anthropic':
        return anthropicProvider({
          ...common,
          ...key,
          ...(defaultMaxTokens === undefined ? {} : { defaultMaxTokens }),
        })
      case 'gemini':
        return geminiProvider({ ...common, ...key })
      case 'echo':
        return echoProvider({ tokenizer })
      default: {
        const { keyVariable: _, ...known } = preset ?? {}
        const url = baseUrl ?? known.baseUrl
        if (url === undefined) throw configInvalid(`gatewayService: providers.${name}: a ${type} needs its baseUrl.`)
        return openAiCompatible({ ...known, ...common, ...key, baseUrl: url })
      }
    }
  }
  const resilience = { timeouts, retry: retry || undefined, breaker: breaker || undefined, bulkhead }
  return resilientProvider(name, keys.map(make), resilience as Resilience)
}

type Secret = string | { env: string }

function keysOf(
  name: string,
  given: Secret | readonly Secret[] | undefined,
  variable: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Array<string | undefined> {
  if (given === undefined) return [variable === undefined ? undefined : env[variable] || undefined]
  return [given].flat().map((secret: Secret, index) => {
    if (typeof secret === 'string') return secret
    const value = env[secret.env]
    if (value !== undefined && value !== '') return value
    throw configInvalid(
      `gatewayService: providers.${name}.apiKey${Array.isArray(given) ? `[${index}]` : ''}: the environment variable ${secret.env} is not set.`,
    )
  })
}
