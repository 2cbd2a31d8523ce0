import { z } from 'zod'
import type { Call } from '../inference/model.js'
import { tasks } from '../inference/task.js'
import { checkedOptions, functionOption } from '../options.js'
import type { AwsCredentials } from '../providers/aws-credentials.js'
import { bodyPatch } from '../providers/json-patch.js'
import { openAiPresets } from '../providers/openai-presets.js'
import { breakerSettings } from '../wrappers/breaker.js'
import { bulkheadSettings } from '../wrappers/bulkhead.js'
import { type Guard, guardSchema } from '../wrappers/guard.js'
import { hedgeSettings } from '../wrappers/hedged.js'
import { patternName, redactSettings } from '../wrappers/redact-pii.js'
import { retrySettings } from '../wrappers/retry.js'
import { shadowSettings } from '../wrappers/shadowed.js'
import { timeoutsSettings } from '../wrappers/timeouts.js'

const name = z.string().regex(/^[A-Za-z0-9][\w.-]{0,63}$/, 'must be 1 to 64 letters, digits, "_", "." and "-"')
/** A secret, or where it is: it is best in no file that others read. */
const secret = z.union([
  z.string().min(1),
  z.strictObject({ env: z.string().regex(/^[A-Za-z_]\w*$/, 'must be the name of an environment variable') }),
])
const ms = z.int().min(1).max(86_400_000)

function isPattern(source: string): boolean {
  try {
    return new RegExp(source, 'u') instanceof RegExp
  } catch {
    return false
  }
}

/** What goes to models, and what comes from them, is read by these, in their order. */
const guards = z
  .array(
    z.union([
      redactSettings.extend({
        /** Takes personal data and secrets out. */
        type: z.literal('redact'),
        /** Regular expressions of your own by their name; of JavaScript, with the flag `u`. How long one takes on a text that means it ill is yours to know. */
        patterns: z.record(patternName, z.string().refine(isPattern, 'must be a regular expression')).default({}),
      }),
      // In TypeScript: functions. There is no word for them in JSON.
      z.custom<Guard>((value) => guardSchema.safeParse(value).success, 'must be a guard, or of a known type'),
    ]),
  )
  .optional()

const resilience = {
  /** Of one attempt. */
  timeouts: timeoutsSettings.optional(),
  /** `false` for none. */
  retry: z.union([z.literal(false), retrySettings]).prefault({}),
  /** `false` for none. */
  breaker: z.union([z.literal(false), breakerSettings]).prefault({}),
  /** Calls of one model at once, and those that may wait. Default: no bound but the connections. */
  bulkhead: bulkheadSettings.optional(),
}

/** Fields of a provider that mean nothing to others: whoever writes one there has meant something else. */
const onlyFor: Readonly<Record<'region' | 'credentials' | 'baseModels' | 'defaultMaxTokens', readonly string[]>> = {
  region: ['bedrock'],
  credentials: ['bedrock'],
  baseModels: ['bedrock'],
  defaultMaxTokens: ['anthropic'],
}

const provider = z
  .strictObject({
    /** Which API it speaks: `anthropic`, `gemini`, `bedrock`, `openai-compatible`, or an upstream that is known by name. */
    type: z.enum([
      'openai-compatible',
      'anthropic',
      'gemini',
      'bedrock',
      'echo',
      ...(Object.keys(openAiPresets) as OpenAiPresetName[]),
    ]),
    baseUrl: z.url({ protocol: /^https?$/, error: 'must be an http or https URL' }).optional(),
    /** Several share the calls; one that is refused, throttled or sick is passed over. Default: what the customary variable holds. */
    apiKey: z.union([secret, z.array(secret).min(1)]).optional(),
    headers: z.record(z.string(), z.string()).optional(),
    patchBody: z.array(bodyPatch).optional(),
    /** Its models by the names that callers use, besides `{provider}/{model}`: a list, or public and own names. A star stands for any text. */
    models: z.union([z.array(z.string().min(1)), z.record(z.string().min(1), z.string().min(1))]).optional(),
    /** `bedrock` only: `us-east-1`. Default: `AWS_REGION`, then `AWS_DEFAULT_REGION`. */
    region: z.string().min(1).optional(),
    /** `bedrock` only: what requests are signed with; in TypeScript also a function. Default: what the customary variables hold. */
    credentials: z
      .union([
        z.strictObject({ accessKeyId: secret, secretAccessKey: secret, sessionToken: secret.optional() }),
        functionOption<() => AwsCredentials | Promise<AwsCredentials>>(),
      ])
      .optional(),
    /** `bedrock` only: the models behind ARNs that do not name them. */
    baseModels: z.record(z.string().min(1), z.string().min(1)).optional(),
    /** `anthropic` only: most tokens to write for callers of another API who set no bound. */
    defaultMaxTokens: z.int().min(1).optional(),
    /** For all of its models, by whatever name they are called. */
    guards,
    ...resilience,
  })
  .superRefine((given, context) => {
    for (const [key, types] of Object.entries(onlyFor)) {
      if (given[key as keyof typeof onlyFor] === undefined || types.includes(given.type)) continue
      context.addIssue({ code: 'custom', path: [key], message: `is for ${types.join(', ')}, not for ${given.type}` })
    }
    if (given.type !== 'echo') return
    for (const key of ['baseUrl', 'apiKey', 'headers', 'patchBody'] as const) {
      if (given[key] === undefined) continue
      context.addIssue({ code: 'custom', path: [key], message: 'is not for echo, which asks nobody' })
    }
  })

const target = z.strictObject({
  /** `{provider}/{model}`, or the name of another route. */
  model: z.string().min(1),
  /** Its share; 0: only where the others fail. */
  weight: z.number().min(0).max(1_000_000).default(1),
  /** Only for callers of these tiers; of these tenants. */
  tiers: z.array(z.string()).optional(),
  tenants: z.array(z.string()).optional(),
  /** In TypeScript: only for these calls. */
  when: functionOption<(input: never, call: Call) => boolean>().optional(),
})

const route = z.strictObject({
  /** In their order; a text is a model alone. */
  targets: z.array(z.union([z.string().min(1), target])).min(1),
  task: z.enum(tasks).default('generate'),
  strategy: z.enum(['ordered', 'weighted', 'latency', 'least-busy', 'cheapest']).default('ordered'),
  affinity: z.enum(['principal', 'prompt']).optional(),
  fallbackOn: z.array(z.enum(['sick', 'throttled', 'credential', 'context', 'content', 'guard', 'refused'])).optional(),
  maxAttempts: z.int().min(1).max(50).default(6),
  /** Asks again beside an attempt that is silent for so long. */
  hedge: hedgeSettings
    .extend({
      /** Whom: a name as of a target. Default: the route again. */
      target: z.string().min(1).optional(),
    })
    .optional(),
  /** Sends a share of the calls to another model too, after they were answered. */
  shadow: shadowSettings
    .extend({
      /** A name as of a target. */
      to: z.string().min(1),
    })
    .optional(),
  /** Before and after the route, whichever target answers. */
  guards,
  /** A sentence for people, in lists of models. */
  description: z.string().max(1_000).optional(),
})

/** The schema of a gateway's configuration, the same for TypeScript, JSON and YAML. */
export const gatewayConfig = z.strictObject({
  $schema: z.string().optional(),
  /** Upstreams by name: the name is the provider in prices, metrics and `{provider}/{model}`. */
  providers: z.record(name, provider),
  /** Names that callers use: another name for a model (`openai/gpt-4o`), or a route over several. */
  models: z.record(z.string().min(1).max(256), z.union([z.string().min(1), route])).default({}),
  /** The model for requests that name none, by task. */
  defaultModels: z
    .strictObject({
      generate: z.string().optional(),
      embed: z.string().optional(),
      predict: z.string().optional(),
      media: z.string().optional(),
    })
    .default({}),
  /** For all models of all providers, before their own. */
  guards,
  /** The longest a call may take, all attempts together, milliseconds. */
  timeoutMs: ms.default(600_000),
})

type OpenAiPresetName = keyof typeof openAiPresets

/** A configuration as it is written. */
export type GatewayConfig = z.input<typeof gatewayConfig>
/** A configuration with its defaults. */
export type ReadGatewayConfig = z.output<typeof gatewayConfig>

/**
 * Checks a configuration as a whole, from code or from a file's JSON or YAML, and fills in its defaults.
 *
 * @throws TollgateError `config_invalid`, naming everything that is wrong, with its path; values are not repeated
 * @example export default defineGateway({ providers: { openai: { type: 'openai' } }, models: { fast: 'openai/gpt-4o-mini' } })
 */
export function defineGateway(config: GatewayConfig): ReadGatewayConfig {
  return checkedOptions('defineGateway', gatewayConfig, config)
}

/** JSON Schema (2020-12) of the configuration, for editors. */
export function gatewayJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(gatewayConfig, {
    io: 'input',
    unrepresentable: 'any',
    // No JSON is a function.
    override({ zodSchema, jsonSchema }) {
      if (zodSchema._zod.def.type === 'custom') jsonSchema.not = {}
    },
  }) as Record<string, unknown>
}
