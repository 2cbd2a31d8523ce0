import type { ContentPart, GenerateInput, Message, NativeRequest, Tool, ToolChoice } from '../inference/task.js'

/** One text for another. What it does not change it gives back as it is. */
export type TextChange = (text: string) => string

type Fields = Readonly<Record<string, unknown>>

/**
 * The request with each of its texts changed, in our words and in the caller's own body alike: messages, thoughts, arguments and answers of tools, what the system says, definitions of tools. Not changed are
 * what only stands for something (roles, types, ids, names of models) and what is no text: pictures and files within `data:` URLs or base64, signatures of thoughts.
 */
export function changedTexts(input: GenerateInput, change: TextChange): GenerateInput {
  return new ChangedInput(input, change)
}

/** All texts of a request that {@link changedTexts} would change, each once. */
export function textsOf(input: GenerateInput): string[] {
  const texts = new Set<string>()
  const read = changedTexts(input, (text) => {
    texts.add(text)
    return text
  })
  collect(read.messages)
  // A caller's own body has been read whole, and may have tools that there are no words of ours for.
  if (input.native === undefined) collect(read.tools, read.toolChoice, read.responseFormat)
  return [...texts]
}

/** Reading is what a getter is for; what it gives is of no use here. */
function collect(..._read: readonly unknown[]): void {}

function scalars({ maxOutputTokens, temperature, topP, topK, stop, seed, user }: GenerateInput) {
  return {
    ...(maxOutputTokens === undefined ? undefined : { maxOutputTokens }),
    ...(temperature === undefined ? undefined : { temperature }),
    ...(topP === undefined ? undefined : { topP }),
    ...(topK === undefined ? undefined : { topK }),
    ...(stop === undefined ? undefined : { stop }),
    ...(seed === undefined ? undefined : { seed }),
    ...(user === undefined ? undefined : { user }),
  }
}

/** The caller's own body is changed at once; the rest where a model looks at it, which may refuse what has no words of ours. */
class ChangedInput implements GenerateInput {
  declare readonly maxOutputTokens?: number
  declare readonly stop?: readonly string[]
  declare readonly user?: string
  declare readonly native?: NativeRequest
  readonly #input: GenerateInput
  readonly #change: TextChange
  #messages: readonly Message[] | undefined = undefined

  constructor(input: GenerateInput, change: TextChange) {
    const { native, stop, user } = input
    this.#input = input
    this.#change = change
    Object.assign(this, scalars(input))
    if (native !== undefined) {
      this.native = { ...native, body: changedFields(native.body, change) as NativeRequest['body'] }
    }
    if (stop !== undefined) this.stop = stop.map(change)
    if (user !== undefined) this.user = change(user)
  }

  get messages(): readonly Message[] {
    this.#messages ??= this.#input.messages.map((message) => changedMessage(message, this.#change))
    return this.#messages
  }

  get tools(): readonly Tool[] | undefined {
    return changedFields(this.#input.tools, this.#change) as readonly Tool[] | undefined
  }

  get toolChoice(): ToolChoice | undefined {
    const { toolChoice: choice } = this.#input
    return typeof choice === 'object' ? { name: this.#change(choice.name) } : choice
  }

  get parallelToolCalls(): boolean | undefined {
    return this.#input.parallelToolCalls
  }

  get responseFormat(): GenerateInput['responseFormat'] {
    return changedFields(this.#input.responseFormat, this.#change) as GenerateInput['responseFormat']
  }

  get reasoning(): GenerateInput['reasoning'] {
    return this.#input.reasoning
  }
}

function changedMessage(message: Message, change: TextChange): Message {
  const { content, name, toolCalls } = message
  return {
    ...message,
    content: typeof content === 'string' ? change(content) : content.map((part) => changedPart(part, change)),
    ...(name === undefined ? undefined : { name: change(name) }),
    ...(toolCalls === undefined
      ? undefined
      : {
          toolCalls: toolCalls.map((call) => ({
            ...call,
            name: change(call.name),
            arguments: changedJson(call.arguments, change),
          })),
        }),
  }
}

function changedPart(part: ContentPart, change: TextChange): ContentPart {
  if (part.type === 'image') return isBytes(part.url) ? part : { ...part, url: change(part.url) }
  if (part.type === 'native') return { ...part, native: changedFields(part.native, change) }
  return { ...part, text: change(part.text) }
}

/** Fields whose texts stand for something. */
const symbols: ReadonlySet<string> = new Set([
  ...['type', 'role', 'id', 'model', 'object', 'media_type', 'file_id', 'signature', 'encrypted_content'],
  ...['tool_use_id', 'tool_call_id', 'call_id', 'previous_response_id', 'approval_request_id'],
])
/** Fields that may hold bytes, in base64 or as a `data:` URL. */
const byteFields: ReadonlySet<string> = new Set(['url', 'image_url', 'file_data'])
/** Fields that hold whatever the caller likes: keys and numbers are read too. */
const freeForms: ReadonlySet<string> = new Set([
  ...['metadata', 'variables', 'documents', 'chat_template_kwargs'],
  // Of a schema: what a model shall take as a sample.
  ...['default', 'const', 'enum', 'example', 'examples', 'input_examples'],
])
/** Fields whose own fields have names that a caller has given: `default` is none of the schema's there. */
const nameLists: ReadonlySet<string> = new Set(['properties', 'patternProperties', '$defs', 'definitions'])

/** A field of an API, or what may pass for one; of a schema a caller may have named them after anything. */
const plainKey = /^[A-Za-z_$][\w$]{0,39}$/

/** A piece of a request in an API's words, with its texts changed. @param isNamed its fields have names of a caller's own */
export function changedFields(value: unknown, change: TextChange, isNamed = false): unknown {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((each) => changedFields(each, change))
  if (typeof value !== 'object' || value === null) return value
  const fields = value as Fields
  const { type, format } = fields
  const isCall = typeof type === 'string' && type.endsWith('tool_use')
  const isOpaque = type === 'base64' || type === 'redacted_thinking' || type === 'reasoning.encrypted'
  return Object.fromEntries(
    Object.entries(fields).map(([name, each]) => {
      const key = plainKey.test(name) ? name : change(name)
      if (typeof each !== 'string') {
        const isFree = !isNamed && (freeForms.has(key) || (isCall && key === 'input'))
        return [key, isFree ? changedValue(each, change) : changedFields(each, change, !isNamed && nameLists.has(key))]
      }
      if (symbols.has(key)) return [key, each]
      // Of a picture, a thought or a sound; a document's text is `data` as well.
      const mayBeBytes = byteFields.has(key) || (key === 'data' && (isOpaque || typeof format === 'string'))
      if (mayBeBytes && isBytes(each)) return [key, each]
      return [key, key === 'arguments' ? changedJson(each, change) : change(each)]
    }),
  )
}

/** Any value of JSON with its texts changed; a number that is changed becomes a text. */
function changedValue(value: unknown, change: TextChange): unknown {
  if (typeof value === 'string') return change(value)
  if (typeof value === 'number') {
    const text = String(value)
    const changed = change(text)
    return changed === text ? value : changed
  }
  if (Array.isArray(value)) return value.map((each) => changedValue(each, change))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [change(key), changedValue(each, change)]))
}

/** The texts and numbers of JSON text. */
const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/gs

/** JSON text with its texts and numbers changed; all else stays as it is written. What is no JSON is one text. */
export function changedJson(json: string, change: TextChange): string {
  if (parsedJson(json) === undefined) return change(json)
  return json.replace(tokens, (token) => {
    const text = token.startsWith('"') ? String(parsedJson(token)) : token
    const changed = change(text)
    return changed === text ? token : JSON.stringify(changed)
  })
}

function parsedJson(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

const bytes = /^(?:data:[\w.+-]{1,64}\/[\w.+-]{1,128};base64,[\w+/=-]*|[\w+/=-]*)$/

/** Can there be nothing but bytes in it? */
function isBytes(text: string): boolean {
  return bytes.test(text)
}
