import { z } from 'zod'
import type {
  GenerateInput,
  Message,
  NativeRequest,
  ReasoningOptions,
  ResponseFormat,
  Tool,
  ToolChoice,
} from '../inference/task.js'

/** What of a request is put into our words only for a model that does not speak its API. */
export interface BridgedSettings {
  readonly tools: readonly Tool[]
  readonly toolChoice: ToolChoice | undefined
  readonly parallelToolCalls: boolean | undefined
  readonly responseFormat: ResponseFormat | undefined
  readonly reasoning: ReasoningOptions | undefined
}

/**
 * A request as a model's input. Its messages and settings are put into our words only if a model looks at them: those that speak its API take `native`, the caller's own body. What cannot be said in
 * our words is refused there, by `invalid_request`. A class, so that the getters are shared: one in an object literal makes a hidden class for every request.
 */
export abstract class BridgedInput<Body> implements GenerateInput {
  declare maxOutputTokens?: number
  declare temperature?: number
  declare topP?: number
  declare topK?: number
  declare stop?: readonly string[]
  declare seed?: number
  declare user?: string
  readonly native: NativeRequest
  readonly #body: Body
  #messages: readonly Message[] | undefined = undefined
  #settings: BridgedSettings | undefined = undefined

  constructor(body: Body, native: NativeRequest) {
    this.native = native
    this.#body = body
  }

  protected abstract messagesOf(body: Body): readonly Message[]
  protected abstract settingsOf(body: Body): BridgedSettings

  get messages(): readonly Message[] {
    this.#messages ??= this.messagesOf(this.#body)
    return this.#messages
  }

  get tools(): readonly Tool[] {
    return this.#bridged().tools
  }

  get toolChoice(): ToolChoice | undefined {
    return this.#bridged().toolChoice
  }

  get parallelToolCalls(): boolean | undefined {
    return this.#bridged().parallelToolCalls
  }

  get responseFormat(): ResponseFormat | undefined {
    return this.#bridged().responseFormat
  }

  get reasoning(): ReasoningOptions | undefined {
    return this.#bridged().reasoning
  }

  #bridged(): BridgedSettings {
    this.#settings ??= this.settingsOf(this.#body)
    return this.#settings
  }
}

/** A JSON Schema, passed on as it is. */
export const schemaObject = z.record(z.string(), z.unknown())

/** A function's fields, wherever OpenAI's APIs put them. */
export const functionFields = {
  name: z.string().min(1),
  description: z.string().nullish(),
  parameters: schemaObject.nullish(),
  strict: z.boolean().nullish(),
}

/** `type` of a tool. */
export const functionType = z.literal('function', {
  error: 'the model that answers takes tools of the type function only',
})

export const toolChoiceError = "must be 'auto', 'none', 'required' or a function for the model that answers"

export const effort = z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'])

export function toTool({
  name,
  description,
  parameters,
  strict,
}: {
  readonly name: string
  readonly description?: string | null | undefined
  readonly parameters?: Readonly<Record<string, unknown>> | null | undefined
  readonly strict?: boolean | null | undefined
}): Tool {
  return {
    name,
    ...(description === undefined || description === null ? undefined : { description }),
    parameters: parameters ?? { type: 'object', properties: {} },
    ...(strict === undefined || strict === null ? undefined : { strict }),
  }
}

/** `xhigh` is a step that only some of OpenAI's models and Anthropic's have. */
export function toReasoning(asked: z.output<typeof effort> | null | undefined): ReasoningOptions | undefined {
  if (asked === undefined || asked === null) return undefined
  return { effort: asked === 'xhigh' ? 'max' : asked }
}

/** OpenAI's three formats of an answer. */
export function toFormat(
  format:
    | { readonly type: 'text' }
    | { readonly type: 'json_object' }
    | {
        readonly type: 'json_schema'
        readonly name: string
        readonly schema?: Readonly<Record<string, unknown>> | null | undefined
        readonly strict?: boolean | null | undefined
      }
    | null
    | undefined,
): ResponseFormat | undefined {
  if (format === undefined || format === null || format.type === 'text') return undefined
  if (format.type === 'json_object') return { type: 'json' }
  const { name, schema, strict } = format
  return {
    type: 'json-schema',
    name,
    schema: schema ?? { type: 'object' },
    ...(strict === undefined || strict === null ? undefined : { strict }),
  }
}
