import type { CacheTime, ContentPart, GenerateInput, Message, Tool } from '../inference/task.js'
import type { BedrockFamily } from './bedrock-family.js'
import {
  argumentsOf,
  dataUrl,
  isBlank,
  isProven,
  partsOf,
  plainCallId,
  systemParts,
  unsaid,
  unsaidPart,
} from './bridged-request.js'
import { requestJson } from './request-json.js'

type Json = Record<string, unknown>

/**
 * The body of `Converse`.
 *
 * @throws TollgateError `invalid_request` for what cannot be said in this API
 */
export function converseBody(input: GenerateInput, family: BedrockFamily): Json {
  const { responseFormat: format } = input
  const { fields, paths, ...limits } = family.settings(input)
  const inference = inferenceOf(input, limits)
  const tools = toolsOf(input, family)
  const system = systemOf(input, family)
  return {
    messages: turnsOf(input.messages, family),
    ...(system.length === 0 ? undefined : { system }),
    ...(Object.keys(inference).length === 0 ? undefined : { inferenceConfig: inference }),
    ...(tools === undefined ? undefined : { toolConfig: tools }),
    ...(format?.type === 'json-schema'
      ? {
          outputConfig: {
            textFormat: {
              type: 'json_schema',
              structure: { jsonSchema: { schema: requestJson(format.schema), name: format.name } },
            },
          },
        }
      : undefined),
    ...(fields === undefined ? undefined : { additionalModelRequestFields: fields }),
    ...(paths === undefined ? undefined : { additionalModelResponseFieldPaths: paths }),
  }
}

function inferenceOf(input: GenerateInput, limits: { fixedSampling?: boolean; maxTokens?: number }): Json {
  const { maxOutputTokens: maxTokens = limits.maxTokens, temperature, topP, stop } = input
  return {
    ...(maxTokens === undefined ? undefined : { maxTokens }),
    // 0 to 1 in this API.
    ...(temperature === undefined || limits.fixedSampling ? undefined : { temperature: Math.min(1, temperature) }),
    ...(topP === undefined || limits.fixedSampling ? undefined : { topP }),
    ...(stop === undefined || stop.length === 0 ? undefined : { stopSequences: stop }),
  }
}

/** Behind what is worth keeping. Five minutes is what it means unasked. */
function cachePoint(cache: CacheTime | undefined, takesIt: boolean): Json[] {
  if (cache === undefined || !takesIt) return []
  return [{ cachePoint: { type: 'default', ...(cache === '1h' ? { ttl: cache } : undefined) } }]
}

function systemOf({ messages, responseFormat, toolChoice, tools = [] }: GenerateInput, family: BedrockFamily): Json[] {
  const said = systemParts(messages).flatMap(({ text, cache }) =>
    isBlank(text) ? [] : [{ text }, ...cachePoint(cache, family.cachesMessages)],
  )
  // What this API has no word for.
  if (responseFormat?.type === 'json') said.push({ text: 'Answer with one JSON object and nothing else.' })
  if (toolChoice === 'none' && tools.length > 0) said.push({ text: 'Answer without calling a tool.' })
  return said
}

/** Conversations in which a tool was called have to define it, even if it is not to be called again. */
function toolsOf({ tools = [], toolChoice, messages }: GenerateInput, family: BedrockFamily): Json | undefined {
  const offered = toolChoice === 'none' ? [] : tools
  const called = messages.flatMap(({ toolCalls = [] }) => toolCalls.map(({ name }) => name))
  const defined: readonly Tool[] =
    offered.length > 0 || called.length === 0
      ? offered
      : [...new Set(called)].map(
          (name) => tools.find((tool) => tool.name === name) ?? { name, parameters: { type: 'object' } },
        )
  if (defined.length === 0) return undefined
  const choice = offered.length === 0 ? undefined : toolChoice
  return {
    tools: defined.flatMap(({ name, description, parameters, strict, cache }) => [
      {
        toolSpec: {
          name,
          ...(description === undefined || isBlank(description) ? undefined : { description }),
          inputSchema: { json: parameters },
          ...(strict === true ? { strict } : undefined),
        },
      },
      ...cachePoint(cache, family.cachesTools),
    ]),
    ...(choice === undefined ? undefined : { toolChoice: choiceOf(choice) }),
  }
}

function choiceOf(choice: NonNullable<GenerateInput['toolChoice']>): Json {
  if (typeof choice !== 'string') return { tool: { name: choice.name } }
  return choice === 'required' ? { any: {} } : { auto: {} }
}

/** Turns of user and assistant, which alternate; a tool's answers are the user's, before what the user says. */
function turnsOf(messages: readonly Message[], family: BedrockFamily): Json[] {
  const turns: Array<{ role: 'user' | 'assistant'; content: Json[] }> = []
  messages.forEach((message, index) => {
    if (message.role === 'system' || message.role === 'developer') return
    const role = message.role === 'assistant' ? 'assistant' : 'user'
    const blocks = message.role === 'tool' ? toolResult(message, index, family) : blocksOf(message, index, family)
    if (blocks.length === 0) return
    const last = turns.at(-1)
    if (last?.role === role) last.content.push(...blocks)
    else turns.push({ role, content: blocks })
  })
  return turns
}

function blocksOf({ content, toolCalls = [] }: Message, index: number, family: BedrockFamily): Json[] {
  const { cachesMessages } = family
  return [
    ...partsOf(content).flatMap((part) => blockOf(part, index, family)),
    ...toolCalls.flatMap((call) => [
      { toolUse: { toolUseId: plainCallId(call.id), name: call.name, input: argumentsOf(call, index) } },
      ...cachePoint(call.cache, cachesMessages),
    ]),
  ]
}

function blockOf(part: ContentPart, index: number, { cachesMessages, takesThoughts }: BedrockFamily): Json[] {
  switch (part.type) {
    case 'text':
      return isBlank(part.text) ? [] : [{ text: part.text }, ...cachePoint(part.cache, cachesMessages)]
    case 'image':
      return [{ image: imageOf(part.url, index) }, ...cachePoint(part.cache, cachesMessages)]
    case 'reasoning': {
      const { text, signature, redacted } = part
      if (!takesThoughts || !isProven(part)) return []
      if (redacted !== undefined) return [{ reasoningContent: { redactedContent: redacted } }]
      return [{ reasoningContent: { reasoningText: { text, signature } } }]
    }
    default:
      throw unsaidPart(part.native, index)
  }
}

/** Bytes alone: this API fetches nothing from the web. */
function imageOf(url: string, index: number): Json {
  const given = dataUrl(url)
  const [, format] = /^image\/(png|jpe?g|gif|webp)$/i.exec(given?.mediaType ?? '') ?? []
  if (given === undefined || format === undefined) {
    throw unsaid(index, 'content', 'has a picture that is no data: URL with the base64 of a PNG, JPEG, GIF or WebP')
  }
  return { format: format.toLowerCase().replace('jpg', 'jpeg'), source: { bytes: given.data } }
}

function toolResult(message: Message, index: number, family: BedrockFamily): Json[] {
  const { content, toolCallId, isError, cache } = message
  if (toolCallId === undefined) throw unsaid(index, 'tool_call_id', 'is required of a message of the role tool')
  const given = partsOf(content).flatMap((part) => blockOf(part, index, { ...family, cachesMessages: false }))
  const isFailure = isError === true && family.hasStatus
  // An error that says nothing is refused.
  if (isFailure && given.length === 0) given.push({ text: 'The tool failed.' })
  return [
    {
      toolResult: {
        toolUseId: plainCallId(toolCallId),
        content: given,
        ...(isFailure ? { status: 'error' } : undefined),
      },
    },
    ...cachePoint(cache, family.cachesMessages),
  ]
}
