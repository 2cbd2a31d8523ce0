import { configInvalid } from '../errors.js'
import type { Model } from '../inference/model.js'
import type { Provider } from '../inference/provider.js'
import type { ProviderEntry } from '../inference/registry.js'
import { type InferenceService, inferenceService } from '../inference/service.js'
import { type GenerateInput, type Task, type Tasks, tasks } from '../inference/task.js'
import { costNanoUsd } from '../money.js'
import type { PriceTable } from '../price-table.js'
import { byteTokenizer, countPrompt } from '../providers/count-tokens.js'
import { namedModels } from '../providers/named-models.js'
import type { Target } from '../target.js'
import type { Tokenizer } from '../tokenizer.js'
import { guarded } from '../wrappers/guarded.js'
import { type HedgeOptions, type HedgeResult, hedged } from '../wrappers/hedged.js'
import { type RouteTarget, routed } from '../wrappers/routed.js'
import { type ShadowedModel, type ShadowOptions, type ShadowResult, shadowed } from '../wrappers/shadowed.js'
import type { GatewayConfig, ReadGatewayConfig } from './config.js'
import { defineGateway } from './config.js'
import { configuredGuards } from './configured-guards.js'
import { configuredProvider, type KeyLimits } from './configured-provider.js'

export interface GatewayServiceOptions {
  /** Where secrets are looked up. Default `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Counts tokens where upstreams do not say. Default: a quarter of the bytes. */
  readonly tokenizer?: Tokenizer
  /** Providers of your own beside those of the configuration: local models, for one. Asked first, and not closed with the service. */
  readonly providers?: readonly ProviderEntry[]
  /** For routes by `cheapest`. */
  readonly prices?: PriceTable
  /** Told what became of each hedge. */
  readonly onHedge?: (result: HedgeResult) => void
  /** Told what upstreams say with their answers is left of their own limits. */
  readonly onUpstreamLimits?: (limits: KeyLimits) => void
  /** Told what became of each shadow. */
  readonly onShadow?: (result: ShadowResult) => void | Promise<void>
}

type ProviderConfig = ReadGatewayConfig['providers'][string]
type RouteConfig = Exclude<ReadGatewayConfig['models'][string], string>

type TargetConfig = Exclude<RouteConfig['targets'][number], string>

/**
 * The inference service of a configuration: its providers with their retries, breakers and limits, and the names that stand for models and routes.
 *
 * @throws TollgateError `config_invalid` for a secret that is not there, a name that leads nowhere, and names that lead in a circle
 * @example const service = gatewayService({ providers: { openai: { type: 'openai' }, claude: { type: 'anthropic' } }, models: { smart: { targets: ['claude/claude-sonnet-4-5', 'openai/gpt-4o'] } } })
 */
export function gatewayService(config: GatewayConfig, options: GatewayServiceOptions = {}): InferenceService {
  const { providers, models, defaultModels, timeoutMs, guards } = defineGateway(config)
  const { env = process.env, tokenizer = byteTokenizer, prices, onHedge, onShadow, onUpstreamLimits } = options
  const made = new Map(
    Object.entries(providers).map(([name, given]) => [
      name,
      configuredProvider(name, given, { env, tokenizer, guards, onUpstreamLimits }),
    ]),
  )
  const own = new Map(
    (options.providers ?? []).map((entry) => {
      const each = 'provider' in entry ? entry.provider : entry
      return [each.name, each]
    }),
  )

  const routes = new Map<string, Model>()
  const shadows: Array<ShadowedModel<Task>> = []
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
    const { targets, task, strategy, affinity, fallbackOn, maxAttempts, hedge, shadow } = given
    const known = routes.get(name)
    if (known !== undefined) return known
    const guards = configuredGuards(given.guards)
    if (task !== 'generate' && task !== 'embed' && guards.length > 0) {
      throw configInvalid(`gatewayService: models.${name}: guards are for models that generate or embed.`)
    }
    if (strategy === 'cheapest' && prices === undefined) {
      throw configInvalid(`gatewayService: models.${name}: the strategy cheapest needs prices.`)
    }
    let route = routed<Task>({
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
    if (hedge !== undefined) {
      const target = hedge.target === undefined ? {} : { target: modelOf(task, hedge.target, through) }
      const told = onHedge === undefined ? {} : { onHedge }
      route = hedged(route, { ...hedge, ...target, ...told, maxAttempts } as HedgeOptions<Task>)
    }
    if (shadow !== undefined) {
      const to = modelOf(task, shadow.to, through)
      const made = shadowed(route, {
        ...shadow,
        to,
        ...(onShadow === undefined ? {} : { onResult: onShadow }),
      } as ShadowOptions<Task>)
      shadows.push(made)
      route = made
    }
    // Outermost: the shadow too gets no more than they let through.
    if (guards.length > 0) route = guarded(route, { guards })
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

  const service = inferenceService({
    providers: [
      ...(Object.keys(named).length === 0 ? [] : [namedModels({ models: named, descriptions })]),
      ...lent(options.providers ?? []),
      ...[...made].map(([name, provider]): ProviderEntry => ({ provider, models: namesOf(name, providers[name]) })),
    ],
    defaultModels: Object.fromEntries(Object.entries(defaultModels).filter(([, model]) => model !== undefined)),
    timeoutMs,
  })
  return {
    ...service,
    async close() {
      await Promise.all(shadows.map((each) => each.close()))
      await service.close()
    },
  }
}

/** An alias is for every task that its model does: a provider may take any name for several. */
function everyTask(find: (task: Task) => Model): readonly Model[] {
  let first: unknown
  const models: Model[] = []
  for (const task of tasks) {
    try {
      const model = find(task)
      if (model.task === task) models.push(model)
    } catch (error) {
      first ??= error
    }
  }
  if (models.length === 0) throw first
  return models
}

/** Providers that are not ours to close. One that is named twice stays one. */
function lent(entries: readonly ProviderEntry[]): ProviderEntry[] {
  const open = new Map<Provider, Provider>()
  const opened = (provider: Provider): Provider => {
    const { name, anyName, list, ready, stored } = provider
    const made = open.get(provider) ?? {
      name,
      model: (task, id, version) => provider.model(task, id, version),
      ...(anyName === undefined ? {} : { anyName }),
      ...(list === undefined ? {} : { list: () => list.call(provider) }),
      ...(ready === undefined ? {} : { ready: () => ready.call(provider) }),
      ...(stored === undefined ? {} : { stored: (...given) => stored.apply(provider, given) }),
    }
    open.set(provider, made)
    return made
  }
  return entries.map((entry) => ('provider' in entry ? { ...entry, provider: opened(entry.provider) } : opened(entry)))
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
  // A prompt is counted once for all the targets that are compared.
  const counted = new WeakMap<object, number>()
  const promptOf = (input: GenerateInput): number => {
    const tokens = counted.get(input) ?? countPrompt(input, tokenizer)
    counted.set(input, tokens)
    return tokens
  }
  return (target: Target, input: Tasks[Task]['input']): number | undefined => {
    const isChat = 'messages' in input
    const { maxOutputTokens = 500 } = isChat ? (input as GenerateInput) : { maxOutputTokens: 0 }
    const inputTokens = isChat ? promptOf(input as GenerateInput) : 1_000
    const usage = { inputTokens, outputTokens: maxOutputTokens, estimated: true }
    const price = prices.price(target, usage)
    return price === undefined ? undefined : costNanoUsd(usage, price)
  }
}
