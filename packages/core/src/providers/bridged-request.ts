import { hash } from 'node:crypto'
import { TollgateError } from '../errors.js'
import type { ContentPart, Message, ReasoningPart, ToolCall } from '../inference/task.js'
import { parsedJson } from './parsed-json.js'
import { geminiSignature } from './thought-signatures.js'

/** What a message holds, as parts. */
export function partsOf(content: Message['content']): readonly ContentPart[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content
}

/** What is said by the system, wherever it is said. */
export function systemTexts(messages: readonly Message[]): string[] {
  return systemParts(messages).map(({ text }) => text)
}

/** {@link systemTexts}, with what is worth keeping of it. */
export function systemParts(messages: readonly Message[]): Array<Extract<ContentPart, { type: 'text' }>> {
  return messages
    .filter(({ role }) => role === 'system' || role === 'developer')
    .flatMap(({ content }) => partsOf(content))
    .filter((part) => part.type === 'text')
    .filter(({ text }) => text !== '')
}

/** The arguments of a call as an object. @throws TollgateError `invalid_request` */
export function argumentsOf({ name, arguments: json }: ToolCall, index: number): object {
  const given = parsedJson(json === '' ? '{}' : json)
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) return given
  throw unsaid(index, 'tool_calls', `has arguments of ${name} that are no JSON object`)
}

/** The id of a call for APIs that take letters, digits, `_` and `-`, 64 of them: another model's (`functions.f:0`) gets one that is always the same. */
export function plainCallId(id: string): string {
  return /^[\w-]{1,64}$/.test(id) ? id : shortCallId(id)
}

/** 37 characters that are always the same for an id. */
export function shortCallId(id: string): string {
  return `call_${hash('sha256', id, 'base64url').slice(0, 32)}`
}

/** Blank texts are refused by some APIs. */
export function isBlank(text: string): boolean {
  return text.trim() === ''
}

/** Does a thought go back to a model of Anthropic's? Those of other vendors' models prove nothing to it. */
export function isProven({ signature, redacted }: ReasoningPart): boolean {
  return redacted !== undefined || (signature !== undefined && !signature.startsWith(geminiSignature))
}

/** A `data:` URL with base64, taken apart. */
export function dataUrl(url: string): { readonly mediaType: string; readonly data: string } | undefined {
  const [head, mediaType] = /^data:([\w.+-]+\/[\w.+-]+);base64,/.exec(url) ?? []
  return head === undefined || mediaType === undefined ? undefined : { mediaType, data: url.slice(head.length) }
}

/** The refusal of a part that another API has no word for. @param index the message's */
export function unsaidPart(native: unknown, index: number): TollgateError {
  const { type } = (native ?? {}) as { type?: unknown }
  return unsaid(index, 'content', `has a part of the type ${String(type)}, which the model that answers cannot take`)
}

/** The refusal of what cannot be said in an API. @param index the message's */
export function unsaid(index: number, field: string, message: string): TollgateError {
  const path = `messages[${index}].${field}`
  return new TollgateError('invalid_request', `${path} ${message}.`, { errors: [{ path, message }] })
}
