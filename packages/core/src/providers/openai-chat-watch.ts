import { TollgateError } from '../errors.js'
import type { FinishReason, GenerateChunk, GenerateInput } from '../inference/task.js'
import type { Usage } from '../usage.js'
import { type OpenAiUsage, usageFromOpenAi } from '../wire/openai-usage.js'
import type { GenerateWatch, GenerateWire } from './generate-model.js'
import type { Upstream } from './http-kit.js'
import { errorInSuccess } from './openai-answer.js'
import { finishReason, fromChatAnswer, reasoningOf, writtenInChoices, writtenInMessage } from './openai-chat.js'
import { chatBody, type OpenAiChatOptions } from './openai-chat-request.js'
import { callNumbers, type ToolPiece } from './openai-tool-pieces.js'
import { parsedObject } from './parsed-json.js'
import { parseEvents, splitEvents } from './sse-decoder.js'
import { WrittenText } from './written-text.js'

/** OpenAI's chat completions, as OpenAI and many others speak them. */
export function openAiChatWire(options: OpenAiChatOptions): GenerateWire {
  return {
    dialect: 'openai-chat',
    request: (input, model, stream) => ({
      path: '/chat/completions',
      body: chatBody(input, model, stream, options),
    }),
    response: fromChatAnswer,
    usage: (answer) => usageFromOpenAi((answer as { usage?: OpenAiUsage | null }).usage),
    written: writtenInChoices,
    watch(upstream, { native }: GenerateInput) {
      if (native?.dialect !== 'openai-chat') return chatWatch(upstream, 1, false)
      return chatWatch(upstream, choicesAskedFor(native.body), !asksForUsage(native.body))
    },
  }
}

export function asksForUsage(body: Readonly<Record<string, unknown>>): boolean {
  const { include_usage } = (body['stream_options'] ?? {}) as { include_usage?: unknown }
  return include_usage === true
}

export function choicesAskedFor(body: Readonly<Record<string, unknown>>): number {
  const n = body['n']
  return typeof n === 'number' && n > 1 ? n : 1
}

/** What is read of an event. Everything in it is the upstream's word, so nothing is taken for granted. */
interface ChunkEvent {
  error?: unknown
  usage?: OpenAiUsage | null
  choices?: unknown
}

interface ChunkChoice {
  index?: unknown
  finish_reason?: unknown
  /** With the reason `error`, as routers of models have it. */
  error?: unknown
  delta?: Record<string, unknown> | null
}

/**
 * The events that have to be parsed: with an error, a usage or a finish reason that is not null, and the terminal one. Within a string of
 * JSON a quote is escaped, so text that a model writes cannot look like such a key; at worst it costs a parse.
 */
const worthParsing = /"(?:error|usage|finish_reason)"\s*:\s*[^n\s]|\[DONE\]/

/** Relayed events are kept until there are so many bytes of them; then what was written is taken out, and they are let go. */
const backlogBytes = 32_768

/**
 * @param choices how many answers were asked for
 * @param written what of a choice was written
 * @param dropUsage is the usage event ours alone, because the caller did not ask for it?
 */
export function chatWatch(
  upstream: Upstream,
  choices: number,
  dropUsage: boolean,
  written: (choice: object) => string = ({ delta }: ChunkChoice) => writtenInMessage(delta),
): GenerateWatch {
  let done = false
  let usage: Usage | undefined
  let reason: FinishReason = 'stop'
  const finished = new Set<unknown>()
  const numberOf = callNumbers()
  let hasChoice = false
  const all = new WrittenText()
  // Latin-1, a character for a byte: halves the memory, and regular expressions and `indexOf` need no decoding.
  let backlog = ''

  const invalid = (message: string) =>
    new TollgateError('upstream_invalid', `The upstream ${upstream.name} ${message}.`)

  /** Learns from one event; `undefined` if it was the terminal one. */
  const learn = (data: string, event: string): ChunkEvent | undefined => {
    if (data === '[DONE]') {
      done = true
      return undefined
    }
    const chunk = parsedObject(data) as ChunkEvent | undefined
    if (chunk === undefined) throw invalid('sent an event that is not a JSON object')
    if (event === 'error' || (chunk.error !== undefined && chunk.error !== null)) {
      throw errorInSuccess(upstream, chunk.error ?? chunk)
    }
    usage = usageFromOpenAi(chunk.usage) ?? usage
    for (const choice of choicesOf(chunk)) {
      hasChoice = true
      if (choice.finish_reason === undefined || choice.finish_reason === null) continue
      if (choice.finish_reason === 'error') throw errorInSuccess(upstream, choice.error ?? {})
      finished.add(choice.index ?? 0)
      reason = finishReason(choice.finish_reason)
    }
    return chunk
  }
  const collapse = () => {
    const bytes = Buffer.from(backlog, 'latin1')
    backlog = ''
    for (const { data } of parseEvents(bytes)) {
      const chunk = parsedObject(data)
      if (chunk !== undefined) all.add(writtenIn(chunk, written))
    }
  }

  /** Some servers end without a reason; an end alone is no answer. */
  const isAnswer = () => hasChoice || backlog !== '' || all.length > 0

  return {
    relay(whole) {
      const seen = whole.toString('latin1')
      if (isPlain(seen) && !worthParsing.test(seen)) {
        backlog += seen
        if (backlog.length > backlogBytes) collapse()
        return whole
      }
      const relayed: Buffer[] = []
      for (const bytes of splitEvents(whole)) {
        let wanted = true
        for (const { data, event } of parseEvents(bytes)) {
          const chunk = learn(data, event)
          if (chunk !== undefined) all.add(writtenIn(chunk, written))
          wanted = chunk !== undefined && !(dropUsage && isUsageEvent(chunk))
        }
        if (wanted) relayed.push(bytes)
        if (done) break
      }
      if (relayed.length === 0) return undefined
      return relayed.length === 1 ? relayed[0] : Buffer.concat(relayed)
    },
    decode(whole) {
      const chunks: GenerateChunk[] = []
      for (const { data, event } of parseEvents(whole)) {
        const chunk = learn(data, event)
        if (chunk === undefined) break
        all.add(writtenIn(chunk, written))
        for (const each of chunksOf(chunk, numberOf)) chunks.push(each)
      }
      return chunks
    },
    isDone: () => done,
    // A server that ends a choice and then the stream has left nothing out.
    isComplete: () => (done && isAnswer()) || finished.size >= choices,
    hasOutput() {
      if (backlog !== '') collapse()
      return all.length > 0 || finished.size > 0 || (done && isAnswer())
    },
    finishReason: () => reason,
    usage: () => usage,
    written() {
      if (backlog !== '') collapse()
      return all
    },
  }
}

/** Are these nothing but events of one JSON object each, as OpenAI frames them? */
function isPlain(seen: string): boolean {
  for (let from = 0; from < seen.length; ) {
    const to = seen.indexOf('\n\n', from)
    if (to === -1 || !seen.startsWith('data: {', from) || seen.charCodeAt(to - 1) !== 125) return false
    from = to + 2
  }
  return true
}

function choicesOf({ choices }: ChunkEvent): ChunkChoice[] {
  return Array.isArray(choices) ? choices.filter((choice) => typeof choice === 'object' && choice !== null) : []
}

function isUsageEvent({ choices, usage }: ChunkEvent): boolean {
  return Array.isArray(choices) && choices.length === 0 && typeof usage === 'object' && usage !== null
}

function toolPiecesOf(choice: ChunkChoice): ToolPiece[] {
  const calls = choice.delta?.['tool_calls']
  return Array.isArray(calls) ? calls.filter((call) => typeof call === 'object' && call !== null) : []
}

function writtenIn(chunk: ChunkEvent, written: (choice: object) => string): string {
  let text = ''
  for (const choice of choicesOf(chunk)) text += written(choice)
  return text
}

/** The first choice's news: only a caller's own body can ask for more than one. */
function chunksOf(chunk: ChunkEvent, numberOf: (piece: ToolPiece) => number): GenerateChunk[] {
  const chunks: GenerateChunk[] = []
  for (const choice of choicesOf(chunk)) {
    if ((choice.index ?? 0) !== 0) continue
    if (choice.delta !== undefined && choice.delta !== null)
      for (const thought of reasoningOf(choice.delta)) chunks.push(thought)
    for (const field of ['content', 'refusal']) {
      const piece = choice.delta?.[field]
      if (typeof piece === 'string' && piece !== '') chunks.push({ type: 'text', text: piece })
    }
    for (const piece of toolPiecesOf(choice)) {
      const { id, function: called } = piece
      chunks.push({
        type: 'tool-call',
        index: numberOf(piece),
        ...(typeof id === 'string' ? { id } : {}),
        ...(typeof called?.name === 'string' ? { name: called.name } : {}),
        arguments: typeof called?.arguments === 'string' ? called.arguments : '',
      })
    }
  }
  return chunks
}
