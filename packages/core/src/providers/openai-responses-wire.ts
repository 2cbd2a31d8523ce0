import { TollgateError } from '../errors.js'
import { storedElsewhere } from '../inference/stored.js'
import type { FinishReason, GenerateInput, GenerateOutput } from '../inference/task.js'
import { type ResponsesUsage, usageFromResponses } from '../wire/openai-usage.js'
import type { GenerateWatch, GenerateWire, WireRequest } from './generate-model.js'
import type { Upstream } from './http-kit.js'
import { errorInSuccess } from './openai-answer.js'
import { parsedObject } from './parsed-json.js'
import { parseEvents, splitEvents } from './sse-decoder.js'
import { WrittenText } from './written-text.js'

/** What is read of an answer. Everything in it is the upstream's word, so nothing is taken for granted. */
interface Answer {
  output?: unknown
  status?: unknown
  incomplete_details?: { reason?: unknown } | null
  error?: unknown
  usage?: Partial<ResponsesUsage> | null
}

type Item = Readonly<Record<string, unknown>>

/**
 * OpenAI's Responses API, for callers who speak it to an upstream that does.
 *
 * @param account whose it is that stores the answers
 */
export function openAiResponsesWire(account: string): GenerateWire {
  return {
    dialect: 'openai-responses',
    account,
    request: (input, model, stream) => requestOf(input, account, model, stream),
    response(upstream, answer) {
      const { output, error } = answer as Answer
      if (error !== undefined && error !== null) throw failed(upstream, error)
      if (!Array.isArray(output)) {
        throw new TollgateError('upstream_invalid', `The answer of the upstream ${upstream} holds no output.`)
      }
      return outputOf(answer)
    },
    usage: (answer) => usageFromResponses((answer as Answer).usage),
    written: (answer) => itemsOf(answer).map(writtenInItem),
    watch: responsesWatch,
  }
}

function requestOf({ native }: GenerateInput, account: string, model: string, stream: boolean): WireRequest {
  if (native?.refused !== undefined) throw native.refused
  if (native?.account !== undefined && native.account !== account) throw storedElsewhere()
  return { path: '/responses', body: { ...native?.body, model, stream } }
}

function itemsOf({ output }: Answer): Item[] {
  return Array.isArray(output) ? output.filter((item) => typeof item === 'object' && item !== null) : []
}

function contentsOf({ content }: Item): Item[] {
  return Array.isArray(content) ? content.filter((part) => typeof part === 'object' && part !== null) : []
}

function writtenInItem(item: Item): string {
  const texts = contentsOf(item).map(({ text, refusal }) => text ?? refusal)
  return [...texts, item['name'], item['arguments']].filter((piece) => typeof piece === 'string').join('')
}

function outputOf(answer: Answer): Omit<GenerateOutput, 'native'> {
  const items = itemsOf(answer)
  const toolCalls = items
    .filter(({ type }) => type === 'function_call')
    .map(({ call_id, name, arguments: json }) => ({
      id: String(call_id),
      name: String(name),
      arguments: String(json ?? '{}'),
    }))
  const text = items
    .flatMap(contentsOf)
    .map(({ type, text: written }) => (type === 'output_text' && typeof written === 'string' ? written : ''))
    .join('')
  return { text, toolCalls, finishReason: finishReason(answer, toolCalls.length > 0) }
}

function finishReason({ incomplete_details: details }: Answer, hasCalls: boolean): FinishReason {
  if (details?.reason === 'max_output_tokens') return 'length'
  if (details?.reason === 'content_filter') return 'content-filter'
  return hasCalls ? 'tool-calls' : 'stop'
}

function failed(upstream: string, error: unknown): TollgateError {
  const { message } = (error ?? {}) as { message?: unknown }
  const cause = new Error(`${upstream} failed: ${String(message).slice(0, 200)}`)
  return new TollgateError('upstream_failed', `The upstream ${upstream} failed.`, { cause })
}

const terminal = new Set(['response.completed', 'response.incomplete'])
/** Pieces of answers are not parsed until they are counted. */
const piece = /^event: *response\.[\w.]+\.delta *$/
const backlogBytes = 32_768

function responsesWatch(upstream: Upstream): GenerateWatch {
  let final: Answer | undefined
  const written = new WrittenText()
  let backlog = ''

  const learn = (data: string, name: string): void => {
    const event = parsedObject(data) as Item | undefined
    if (event === undefined) {
      throw new TollgateError(
        'upstream_invalid',
        `The upstream ${upstream.name} sent an event that is not a JSON object.`,
      )
    }
    const type = String(event['type'] ?? name)
    if (type === 'error') throw errorInSuccess(upstream, event['error'] ?? event)
    if (type === 'response.failed') {
      throw errorInSuccess(upstream, (event['response'] as Answer | undefined)?.error ?? {})
    }
    if (terminal.has(type)) final = (event['response'] ?? {}) as Answer
    count(event, type)
  }
  const count = ({ delta }: Item, type: string) => {
    if (type.endsWith('.delta') && typeof delta === 'string') written.add(delta)
  }
  const flush = () => {
    const bytes = Buffer.from(backlog, 'latin1')
    backlog = ''
    // They are with the caller already: what is no JSON among them is not counted.
    for (const { data, event } of parseEvents(bytes)) count((parsedObject(data) ?? {}) as Item, event)
  }

  return {
    relay(whole) {
      const relayed: Buffer[] = []
      for (const bytes of splitEvents(whole)) {
        const seen = bytes.toString('latin1')
        if (piece.test(seen.slice(0, seen.search(/[\r\n]/)))) {
          backlog += seen
          if (backlog.length > backlogBytes) flush()
        } else for (const { data, event } of parseEvents(bytes)) learn(data, event)
        relayed.push(bytes)
        if (final !== undefined) break
      }
      return relayed.length === 1 ? relayed[0] : Buffer.concat(relayed)
    },
    // It is only ever spoken by those who speak it to us.
    decode: () => [],
    hasOutput() {
      if (backlog !== '') flush()
      return written.length > 0 || final !== undefined
    },
    isDone: () => final !== undefined,
    isComplete: () => final !== undefined,
    finishReason: () => (final === undefined ? 'stop' : outputOf(final).finishReason),
    usage: () => usageFromResponses(final?.usage),
    written() {
      if (backlog !== '') flush()
      return written
    },
  }
}
