import { TollgateError } from '../errors.js'
import type { FinishReason, GenerateChunk, GenerateOutput, ReasoningPart, ToolCall } from '../inference/task.js'
import { type BedrockUsage, usageFromBedrock } from '../wire/bedrock-usage.js'
import { type EventStreamMessage, messageSplitter, parseMessages } from './aws-event-stream.js'
import { type BedrockFamily, familyOf } from './bedrock-family.js'
import { converseBody } from './bedrock-request.js'
import type { GenerateWatch, GenerateWire } from './generate-model.js'
import type { Upstream } from './http-kit.js'
import { parsedObject } from './parsed-json.js'
import { answerError } from './upstream-errors.js'
import { argumentsText, countedJson } from './upstream-json.js'
import { WrittenText } from './written-text.js'

/** What is read of an answer. Everything in it is the upstream's word, so nothing is taken for granted. */
interface Answer {
  output?: { message?: { content?: unknown } | null } | null
  stopReason?: unknown
  additionalModelResponseFields?: { stop_sequence?: unknown } | null
  usage?: BedrockUsage | null
}

type Block = Readonly<Record<string, unknown>>

/** Amazon Bedrock's Converse and ConverseStream. @param familyOfModel by the name that requests go to */
export function bedrockWire(familyOfModel: (model: string) => BedrockFamily = familyOf): GenerateWire {
  return {
    request: (input, model, stream) => ({
      path: `/model/${encodeURIComponent(model)}/${stream ? 'converse-stream' : 'converse'}`,
      body: converseBody(input, familyOfModel(model)),
    }),
    response: fromConverse,
    usage: (answer) => usageFromBedrock((answer as Answer).usage),
    written: (answer) => blocksOf(answer).map(writtenInBlock),
    framing: { mediaType: 'application/vnd.amazon.eventstream', splitter: messageSplitter },
    watch: converseWatch,
  }
}

function objectOf(value: unknown): Block {
  return typeof value === 'object' && value !== null ? (value as Block) : {}
}

function blocksOf({ output }: Answer): Block[] {
  const content = output?.message?.content
  return Array.isArray(content) ? content.map(objectOf) : []
}

function writtenInBlock({ text, reasoningContent, toolUse }: Block): string {
  const { reasoningText } = objectOf(reasoningContent)
  const thought = objectOf(reasoningText)['text']
  return (
    [text, thought].filter((piece) => typeof piece === 'string').join('') +
    (toolUse === undefined ? '' : countedJson(toolUse))
  )
}

function fromConverse(upstream: string, answer: object): Omit<GenerateOutput, 'native'> {
  const { output, stopReason, additionalModelResponseFields: more } = answer as Answer
  if (!Array.isArray(output?.message?.content)) {
    throw new TollgateError('upstream_invalid', `The answer of the upstream ${upstream} holds no content.`)
  }
  const blocks = blocksOf(answer)
  refuseUseless(upstream, stopReason, blocks.length > 0)
  const reasoning = blocks.flatMap(toReasoning)
  return {
    text: blocks.map(({ text }) => (typeof text === 'string' ? text : '')).join(''),
    ...(reasoning.length === 0 ? undefined : { reasoning }),
    toolCalls: blocks.flatMap((block) => toToolCall(upstream, block)),
    finishReason: finishReason(stopReason),
    ...(typeof more?.stop_sequence === 'string' ? { stopSequence: more.stop_sequence } : undefined),
  }
}

function toReasoning({ reasoningContent }: Block): ReasoningPart[] {
  const { reasoningText, redactedContent: redacted } = objectOf(reasoningContent)
  if (typeof redacted === 'string') return [{ type: 'reasoning', text: '', redacted }]
  const { text, signature } = objectOf(reasoningText)
  if (typeof text !== 'string') return []
  return [{ type: 'reasoning', text, ...(typeof signature === 'string' ? { signature } : undefined) }]
}

function toToolCall(upstream: string, { toolUse }: Block): ToolCall[] {
  const { toolUseId: id, name, input } = objectOf(toolUse)
  if (typeof name !== 'string') return []
  return [{ id: typeof id === 'string' ? id : '', name, arguments: argumentsText(upstream, input) }]
}

const filtered = ['content_filtered', 'guardrail_intervened']

/** Bedrock's word for why an answer ended as ours. A word that is not known is a `stop`: the answer is whole. */
function finishReason(word: unknown): FinishReason {
  if (word === 'max_tokens' || word === 'model_context_window_exceeded') return 'length'
  if (word === 'tool_use') return 'tool-calls'
  return filtered.includes(String(word)) ? 'content-filter' : 'stop'
}

/** Nothing that a caller could use: all was filtered, or the model wrote what nobody can read. */
function refuseUseless(upstream: string, word: unknown, hasContent: boolean): void {
  if (word === 'malformed_model_output' || word === 'malformed_tool_use') {
    throw new TollgateError('upstream_invalid', `The model of the upstream ${upstream} wrote something malformed.`)
  }
  if (!hasContent && filtered.includes(String(word))) {
    throw new TollgateError('content_policy_violation', `The upstream ${upstream} filtered the whole answer: ${word}.`)
  }
}

/** The status that an exception within a stream would have had as an answer. */
const statuses: ReadonlyMap<string, number> = new Map([
  ['throttlingException', 429],
  ['validationException', 400],
  ['modelTimeoutException', 408],
  ['modelStreamErrorException', 424],
  ['serviceUnavailableException', 503],
])

function exceptionOf(upstream: Upstream, { headers, body }: EventStreamMessage): TollgateError {
  const type = headers.get(':exception-type') ?? headers.get(':error-code') ?? ''
  const { message = headers.get(':error-message') } = objectOf(parsedObject(body.toString('utf8')))
  return answerError(upstream.name, {
    status: statuses.get(type) ?? 500,
    headers: {},
    type,
    message: typeof message === 'string' ? upstream.presentable(message) : undefined,
  })
}

function converseWatch(upstream: Upstream): GenerateWatch {
  let reason: unknown
  let stopSequence: string | undefined
  let stopped = false
  let done = false
  let usage: BedrockUsage | undefined
  const written = new WrittenText()
  /** Blocks that are calls, by their index in the answer: which call of it. */
  const calls = new Map<unknown, number>()
  let hasContent = false

  const learn = (message: EventStreamMessage): GenerateChunk[] => {
    const { headers, body } = message
    if (headers.get(':message-type') !== 'event') throw exceptionOf(upstream, message)
    const json = parsedObject(body.toString('utf8')) as Block | undefined
    if (json === undefined) {
      throw new TollgateError(
        'upstream_invalid',
        `The upstream ${upstream.name} sent an event that is not a JSON object.`,
      )
    }
    switch (headers.get(':event-type')) {
      case 'contentBlockStart':
      case 'contentBlockDelta': {
        const chunks = chunksOf(json, calls)
        hasContent ||= chunks.length > 0
        for (const chunk of chunks) if (chunk.type !== 'native') written.add(writtenIn(chunk))
        return chunks
      }
      case 'messageStop': {
        const { stopReason, additionalModelResponseFields: more } = json as Answer
        stopped = true
        reason = stopReason
        if (typeof more?.stop_sequence === 'string') stopSequence = more.stop_sequence
        break
      }
      case 'metadata':
        usage = (json as Answer).usage ?? undefined
        done = stopped
        if (done) refuseUseless(upstream.name, reason, hasContent)
    }
    return []
  }

  return {
    // Nobody speaks this API to us.
    relay: () => undefined,
    decode(whole) {
      const chunks: GenerateChunk[] = []
      for (const message of parseMessages(upstream.name, whole)) {
        chunks.push(...learn(message))
        if (done) break
      }
      return chunks
    },
    hasOutput: () => written.length > 0 || done,
    isDone: () => done,
    isComplete: () => done,
    finishReason: () => finishReason(reason),
    stopSequence: () => stopSequence,
    usage: () => usageFromBedrock(usage),
    written: () => written,
  }
}

function writtenIn(chunk: Exclude<GenerateChunk, { type: 'native' }>): string {
  return chunk.type === 'tool-call' ? (chunk.name ?? '') + chunk.arguments : chunk.text
}

function chunksOf({ contentBlockIndex, start, delta }: Block, calls: Map<unknown, number>): GenerateChunk[] {
  const { toolUseId, name } = objectOf(objectOf(start)['toolUse'])
  if (typeof name === 'string') {
    const index = calls.size
    calls.set(contentBlockIndex, index)
    return [{ type: 'tool-call', index, id: String(toolUseId), name, arguments: '' }]
  }
  const { text, toolUse, reasoningContent } = objectOf(delta)
  if (typeof text === 'string' && text !== '') return [{ type: 'text', text }]
  const { input } = objectOf(toolUse)
  const index = calls.get(contentBlockIndex)
  if (typeof input === 'string' && input !== '' && index !== undefined) {
    return [{ type: 'tool-call', index, arguments: input }]
  }
  const { text: thought, signature, redactedContent: redacted } = objectOf(reasoningContent)
  if (typeof redacted === 'string') return [{ type: 'reasoning', text: '', redacted }]
  if (typeof signature === 'string') return [{ type: 'reasoning', text: '', signature }]
  return typeof thought === 'string' && thought !== '' ? [{ type: 'reasoning', text: thought }] : []
}
