import { z } from 'zod'
import { checkedOptions } from '../options.js'
import { guards } from './guard-config.js'
import { provider } from './provider-config.js'
import { route } from './route-config.js'

const name = z.string().regex(/^[A-Za-z0-9][\w.-]{0,63}$/, 'must be 1 to 64 letters, digits, "_", "." and "-"')
const modelFor = (work: string) =>
  z
    .string()
    .optional()
    .describe(`The model for requests that name none, where they want ${work}: any name that callers may use.`)

/** The schema of a gateway's configuration, the same for TypeScript, JSON and YAML. */
export const gatewayConfig = z.strictObject({
  $schema: z.string().optional().describe('Where this schema is, for editors.'),
  providers: z
    .record(name, provider)
    .describe(
      'Upstreams by name (1 to 64 letters, digits, `_`, `.` and `-`): it is the provider in prices, metrics and `{provider}/{model}`.',
    ),
  models: z
    .record(z.string().min(1).max(256), z.union([z.string().min(1), route]))
    .default({})
    .describe(
      'Names that callers use: a text is another name for a model, for every task that it does; else a route over several. Names that lead in a circle, or nowhere, are refused.',
    ),
  defaultModels: z
    .strictObject({
      generate: modelFor('chat or text'),
      embed: modelFor('embeddings'),
      predict: modelFor('predictions'),
      media: modelFor('pictures or sound'),
    })
    .default({})
    .describe('The models for requests that name none, by task. Without one such a request is refused.'),
  guards: guards.describe(
    'Read what goes to all models of all providers, and what comes from them; before those of the provider.',
  ),
  timeoutMs: z
    .int()
    .min(1)
    .max(86_400_000)
    .default(600_000)
    .describe(
      'Milliseconds that a call may take, all attempts together. Then it is stopped, and answered 504 (`timeout`).',
    ),
})

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
