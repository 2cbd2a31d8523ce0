import type { ContentPart, GenerateInput, Message, ReasoningOptions } from '../inference/task.js'
import { argumentsOf, dataUrl, partsOf, systemTexts, unsaid, unsaidPart } from './bridged-request.js'
import { parsedObject } from './parsed-json.js'
import { geminiSignature } from './thought-signatures.js'

type Json = Record<string, unknown>

const thinkingTokens = { none: 0, minimal: 512, low: 1_024, medium: 8_192, high: 24_576, max: 24_576 } as const

/**
 * The body of `generateContent`.
 *
 * @throws TollgateError `invalid_request` for what cannot be said in this API
 */
export function contentBody(input: GenerateInput): Json {
  const { tools = [], toolChoice, messages } = input
  const system = systemTexts(messages).map((text) => ({ text }))
  const generation = generationOf(input)
  return {
    contents: turnsOf(messages),
    ...(system.length === 0 ? undefined : { systemInstruction: { parts: system } }),
    ...(tools.length === 0
      ? undefined
      : {
          tools: [
            {
              functionDeclarations: tools.map(({ name, description, parameters }) => ({
                name,
                ...(description === undefined ? undefined : { description }),
                parametersJsonSchema: parameters,
              })),
            },
          ],
          ...(toolChoice === undefined ? undefined : { toolConfig: { functionCallingConfig: choiceOf(toolChoice) } }),
        }),
    ...(Object.keys(generation).length === 0 ? undefined : { generationConfig: generation }),
  }
}

function generationOf(input: GenerateInput): Json {
  const { maxOutputTokens, temperature, topP, topK, stop, seed, responseFormat: format, reasoning } = input
  return {
    ...(maxOutputTokens === undefined ? undefined : { maxOutputTokens }),
    ...(temperature === undefined ? undefined : { temperature }),
    ...(topP === undefined ? undefined : { topP }),
    ...(topK === undefined ? undefined : { topK }),
    ...(stop === undefined || stop.length === 0 ? undefined : { stopSequences: stop }),
    ...(seed === undefined ? undefined : { seed }),
    ...(format === undefined ? undefined : { responseMimeType: 'application/json' }),
    ...(format?.type === 'json-schema' ? { responseJsonSchema: format.schema } : undefined),
    ...(reasoning === undefined ? undefined : { thinkingConfig: thinkingOf(reasoning) }),
  }
}

function thinkingOf({ effort, maxTokens }: ReasoningOptions): Json {
  const thinkingBudget = maxTokens ?? (effort === undefined ? undefined : thinkingTokens[effort])
  if (thinkingBudget === undefined) return { includeThoughts: true }
  return { thinkingBudget, includeThoughts: thinkingBudget > 0 }
}

function choiceOf(choice: NonNullable<GenerateInput['toolChoice']>): Json {
  if (typeof choice !== 'string') return { mode: 'ANY', allowedFunctionNames: [choice.name] }
  return { mode: { auto: 'AUTO', none: 'NONE', required: 'ANY' }[choice] }
}

/** Turns of user and model. A tool's answer names the function, which only the call before it tells. */
function turnsOf(messages: readonly Message[]): Json[] {
  const turns: Array<{ role: 'user' | 'model'; parts: Json[] }> = []
  const names = new Map<string, string>()
  messages.forEach((message, index) => {
    if (message.role === 'system' || message.role === 'developer') return
    for (const { id, name } of message.toolCalls ?? []) names.set(id, name)
    const role = message.role === 'assistant' ? 'model' : 'user'
    const parts = message.role === 'tool' ? toolAnswer(message, names, index) : piecesOf(message, index)
    if (parts.length === 0) return
    const last = turns.at(-1)
    if (last?.role === role) last.parts.push(...parts)
    else turns.push({ role, parts })
  })
  return turns
}

function piecesOf({ content, toolCalls = [] }: Message, index: number): Json[] {
  const parts = [
    ...partsOf(content).flatMap((part) => partOf(part, index)),
    ...toolCalls.map(
      (call): Json => ({
        functionCall: { id: call.id, name: call.name, args: argumentsOf(call, index) },
      }),
    ),
  ]
  // A signature is proof of the part that follows it.
  return parts.flatMap((part, at) => {
    if ('signatureAlone' in part) return []
    const before = parts[at - 1]
    return [
      before !== undefined && 'signatureAlone' in before
        ? { ...part, thoughtSignature: before['signatureAlone'] }
        : part,
    ]
  })
}

function partOf(part: ContentPart, index: number): Json[] {
  switch (part.type) {
    case 'text':
      return part.text === '' ? [] : [{ text: part.text }]
    case 'image':
      return [pictureOf(part.url, index)]
    case 'reasoning':
      // Texts of thoughts are not wanted back, only what proves them.
      return part.signature?.startsWith(geminiSignature) === true
        ? [{ signatureAlone: part.signature.slice(geminiSignature.length) }]
        : []
    default:
      throw unsaidPart(part.native, index)
  }
}

function pictureOf(url: string, index: number): Json {
  const given = dataUrl(url)
  if (given !== undefined) return { inlineData: { mimeType: given.mediaType, data: given.data } }
  if (/^(?:https|gs):\/\//i.test(url)) return { fileData: { fileUri: url } }
  throw unsaid(index, 'content', 'has a picture that is neither an https URL nor a data: URL with base64')
}

function toolAnswer(
  { content, toolCallId, isError }: Message,
  names: ReadonlyMap<string, string>,
  index: number,
): Json[] {
  const name = toolCallId === undefined ? undefined : names.get(toolCallId)
  if (name === undefined) throw unsaid(index, 'tool_call_id', 'names no call of the messages before')
  const given = partsOf(content)
  const text = given.map((part) => (part.type === 'text' ? part.text : '')).join('')
  const object = parsedObject(text)
  const isObject = object !== undefined && !Array.isArray(object)
  const response = isError === true ? { error: text } : isObject ? object : { output: text }
  const pictures = given.filter(({ type }) => type !== 'text').flatMap((part) => partOf(part, index))
  return [{ functionResponse: { id: toolCallId, name, response } }, ...pictures]
}
