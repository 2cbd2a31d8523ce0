import { TollgateError } from '../errors.js'
import type { FinishReason, GenerateChunk, GenerateOutput, ReasoningPart, ToolCall } from '../inference/task.js'
import { type AnthropicUsage, usageFromAnthropic } from '../wire/anthropic-usage.js'
import { type Block, chunksOf, type OpenCall } from './anthropic-chunks.js'
import { messagesBody } from './anthropic-request.js'
import type { GenerateWatch, GenerateWire } from './generate-model.js'
import type { Upstream } from './http-kit.js'
import { errorInSuccess } from './openai-answer.js'
import { parsedObject } from './parsed-json.js'
import { parseEvents, type ServerSentEvent, splitEvents } from './sse-decoder.js'
import { argumentsText, countedJson } from './upstream-json.js'
import { WrittenText } from './written-text.js'

/** What is read of an answer. Everything in it is the upstream's word, so nothing is taken for granted. */
interface Answer {
  content?: unknown
  stop_reason?: unknown
  stop_sequence?: unknown
  usage?: Partial<AnthropicUsage> | null
}

/** Anthropic's Messages API. */
export function anthropicWire(defaultMaxTokens: number): GenerateWire {
  return {
    dialect: 'anthropic-messages',
    request: (input, model, stream) => ({
      path: '/messages',
      body: messagesBody(input, model, stream, defaultMaxTokens),
      ...(input.native?.dialect === 'anthropic-messages' && input.native.headers !== undefined
        ? { headers: input.native.headers }
        : undefined),
    }),
    response: fromMessage,
    usage: (answer) => usageFromAnthropic((answer as Answer).usage as AnthropicUsage | undefined),
    written: (answer) => blocksOf(answer).map(writtenInBlock),
    watch: (upstream) => messageWatch(upstream),
  }
}

function blocksOf(answer: object): Block[] {
  const { content } = answer as Answer
  return Array.isArray(content) ? content.filter((block) => typeof block === 'object' && block !== null) : []
}

function writtenInBlock(block: Block): string {
  const { text, thinking, name, input } = block
  return (
    [text, thinking, name].filter((piece) => typeof piece === 'string').join('') +
    (input === undefined ? '' : countedJson(input))
  )
}

function fromMessage(upstream: string, answer: object): Omit<GenerateOutput, 'native'> {
  const { content, stop_reason: reason, stop_sequence: sequence } = answer as Answer
  if (!Array.isArray(content)) {
    throw new TollgateError('upstream_invalid', `The answer of the upstream ${upstream} holds no content.`)
  }
  const blocks = blocksOf(answer)
  const reasoning = blocks.flatMap(toReasoning)
  return {
    text: blocks.map(({ type, text }) => (type === 'text' && typeof text === 'string' ? text : '')).join(''),
    ...(reasoning.length === 0 ? undefined : { reasoning }),
    toolCalls: blocks.flatMap((block) => toToolCall(upstream, block)),
    finishReason: finishReason(reason),
    ...(typeof sequence === 'string' ? { stopSequence: sequence } : undefined),
  }
}

function toReasoning({ type, thinking, signature, data }: Block): ReasoningPart[] {
  if (type === 'redacted_thinking' && typeof data === 'string') return [{ type: 'reasoning', text: '', redacted: data }]
  if (type !== 'thinking' || typeof thinking !== 'string') return []
  return [{ type: 'reasoning', text: thinking, ...(typeof signature === 'string' ? { signature } : undefined) }]
}

function toToolCall(upstream: string, { type, id, name, input }: Block): ToolCall[] {
  if (type !== 'tool_use' || typeof name !== 'string') return []
  return [{ id: typeof id === 'string' ? id : '', name, arguments: argumentsText(upstream, input) }]
}

/** Anthropic's word for why an answer ended as ours. A word that is not known is a `stop`: the answer is whole. */
function finishReason(word: unknown): FinishReason {
  if (word === 'max_tokens' || word === 'model_context_window_exceeded') return 'length'
  if (word === 'tool_use') return 'tool-calls'
  return word === 'refusal' ? 'content-filter' : 'stop'
}

/** Relayed events are kept until there are so many bytes of them; then what was written is taken out, and they are let go. */
const backlogBytes = 32_768
/** Events that say something of the whole: these are parsed, pieces of text are not. */
const worthParsing = /^event:(?! *(?:content_block_|ping))/m

function messageWatch(upstream: Upstream): GenerateWatch {
  let started = false
  let done = false
  let reason: FinishReason = 'stop'
  let stopSequence: string | undefined
  /** The last word on each count: they are cumulative. */
  let counts: Partial<AnthropicUsage> | undefined
  const written = new WrittenText()
  /** Latin-1, a character for a byte. */
  let backlog = ''
  const calls = new Map<unknown, OpenCall>()

  /** Learns from one event. Throws the upstream's error. */
  const learn = (event: ServerSentEvent): Block | undefined => {
    const json = parsedObject(event.data) as Block | undefined
    if (json === undefined) {
      throw new TollgateError(
        'upstream_invalid',
        `The upstream ${upstream.name} sent an event that is not a JSON object.`,
      )
    }
    switch (json['type'] ?? event.event) {
      case 'error':
        throw errorInSuccess(upstream, json['error'] ?? json)
      case 'message_start':
        started = true
        // What it says of the output is only its beginning.
        merge({ ...(json['message'] as Answer | undefined)?.usage, output_tokens: 0 })
        break
      case 'message_delta': {
        merge(json['usage'] as Answer['usage'])
        const delta = (json['delta'] ?? {}) as Answer
        reason = finishReason(delta.stop_reason)
        if (typeof delta.stop_sequence === 'string') stopSequence = delta.stop_sequence
        break
      }
      case 'message_stop':
        done = true
    }
    count(json)
    return json
  }
  const count = (json: Block) => {
    const { text: piece, thinking, partial_json: part } = (json['delta'] ?? {}) as Block
    const { name } = (json['content_block'] ?? {}) as Block
    for (const each of [piece, thinking, part, name]) if (typeof each === 'string') written.add(each)
  }
  const merge = (usage: Answer['usage']) => {
    if (typeof usage !== 'object' || usage === null) return
    const given = Object.entries(usage).filter(([, count]) => count !== null && count !== undefined)
    counts = { ...counts, ...Object.fromEntries(given) }
  }
  const collapse = () => {
    const bytes = Buffer.from(backlog, 'latin1')
    backlog = ''
    // They are with the caller already: what is no JSON among them is not counted.
    for (const { data } of parseEvents(bytes)) count((parsedObject(data) ?? {}) as Block)
  }
  const flush = () => {
    if (backlog !== '') collapse()
  }

  return {
    relay(whole) {
      const seen = whole.toString('latin1')
      if (started && !worthParsing.test(seen) && isFramed(seen)) {
        backlog += seen
        if (backlog.length > backlogBytes) collapse()
        return whole
      }
      flush()
      const relayed: Buffer[] = []
      for (const bytes of splitEvents(whole)) {
        for (const event of parseEvents(bytes)) learn(event)
        relayed.push(bytes)
        if (done) break
      }
      return relayed.length === 1 ? relayed[0] : Buffer.concat(relayed)
    },
    decode(whole) {
      const chunks: GenerateChunk[] = []
      for (const event of parseEvents(whole)) {
        const json = learn(event)
        if (json !== undefined) chunks.push(...chunksOf(upstream.name, json, calls))
        if (done) break
      }
      return chunks
    },
    hasOutput() {
      flush()
      return written.length > 0 || (done && started)
    },
    isDone: () => done,
    // An end alone is no answer.
    isComplete: () => done && started,
    finishReason: () => reason,
    stopSequence: () => stopSequence,
    usage: () => usageFromAnthropic(counts as AnthropicUsage | undefined),
    written() {
      flush()
      return written
    },
  }
}

/** Does every event name itself, as this API does? */
function isFramed(seen: string): boolean {
  for (let from = 0; from < seen.length; ) {
    const to = seen.indexOf('\n\n', from)
    if (to === -1 || !seen.startsWith('event: ', from)) return false
    from = to + 2
  }
  return true
}
