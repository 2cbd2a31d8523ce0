import { randomUUID } from 'node:crypto'
import { TollgateError } from '../errors.js'
import type { FinishReason, GenerateChunk, GenerateOutput, ReasoningPart, ToolCall } from '../inference/task.js'
import { type GeminiUsage, usageFromGemini } from '../wire/gemini-usage.js'
import { contentBody } from './gemini-request.js'
import type { GenerateWatch, GenerateWire } from './generate-model.js'
import type { Upstream } from './http-kit.js'
import { errorInSuccess } from './openai-answer.js'
import { parsedObject } from './parsed-json.js'
import { parseEvents } from './sse-decoder.js'
import { geminiSignature } from './thought-signatures.js'
import { argumentsText, countedJson } from './upstream-json.js'
import { WrittenText } from './written-text.js'

/** What is read of an answer, or of one event. Everything in it is the upstream's word, so nothing is taken for granted. */
interface Answer {
  candidates?: Array<{ content?: { parts?: unknown } | null; finishReason?: unknown } | null>
  promptFeedback?: { blockReason?: unknown } | null
  usageMetadata?: GeminiUsage | null
  error?: unknown
}

type Part = Readonly<Record<string, unknown>>

/** Google's `generateContent`. */
export const geminiWire: GenerateWire = {
  request: (input, model, stream) => ({
    path: `/models/${encodeURIComponent(model)}:${stream ? 'streamGenerateContent?alt=sse' : 'generateContent'}`,
    body: contentBody(input),
  }),
  response: fromContent,
  usage: (answer) => usageOf(answer),
  written: (answer) => partsOf(answer as Answer).map(writtenIn),
  watch: (upstream) => contentWatch(upstream),
}

/** Without a count of the prompt nothing was counted. */
function usageOf({ usageMetadata }: Answer) {
  return typeof usageMetadata?.promptTokenCount === 'number' ? usageFromGemini(usageMetadata) : undefined
}

function partsOf({ candidates }: Answer): Part[] {
  const parts = Array.isArray(candidates) ? candidates[0]?.content?.parts : undefined
  return Array.isArray(parts) ? parts.filter((part) => typeof part === 'object' && part !== null) : []
}

function finishOf({ candidates }: Answer): unknown {
  return Array.isArray(candidates) ? candidates[0]?.finishReason : undefined
}

function writtenIn({ text, functionCall: call }: Part): string {
  return (typeof text === 'string' ? text : '') + (call === undefined ? '' : countedJson(call))
}

function fromContent(upstream: string, answer: object): Omit<GenerateOutput, 'native'> {
  refuseBlocked(upstream, answer)
  const { candidates } = answer as Answer
  if (!Array.isArray(candidates) || typeof candidates[0] !== 'object' || candidates[0] === null) {
    throw new TollgateError('upstream_invalid', `The answer of the upstream ${upstream} holds no candidates.`)
  }
  const parts = partsOf(answer)
  const chunks = parts.flatMap((part, index) => chunksOf(upstream, part, index))
  refuseMalformed(upstream, finishOf(answer), chunks.length > 0)
  const reasoning = thoughtsOf(chunks)
  const toolCalls: ToolCall[] = chunks.flatMap((chunk) =>
    chunk.type === 'tool-call' ? [{ id: chunk.id ?? '', name: chunk.name ?? '', arguments: chunk.arguments }] : [],
  )
  return {
    text: chunks.map((chunk) => (chunk.type === 'text' ? chunk.text : '')).join(''),
    ...(reasoning.length === 0 ? undefined : { reasoning }),
    toolCalls,
    finishReason: finishReason(finishOf(answer), toolCalls.length > 0),
  }
}

/** A signature that comes by itself proves the thought before it, too. */
function thoughtsOf(chunks: readonly GenerateChunk[]): ReasoningPart[] {
  const thoughts: ReasoningPart[] = []
  for (const chunk of chunks) {
    if (chunk.type !== 'reasoning') continue
    const last = thoughts.at(-1)
    if (chunk.text === '' && chunk.signature !== undefined && last !== undefined && last.signature === undefined) {
      thoughts[thoughts.length - 1] = { ...last, signature: chunk.signature }
    } else thoughts.push(chunk)
  }
  return thoughts
}

/** A prompt that is refused is a 200 without an answer. */
function refuseBlocked(upstream: string, { promptFeedback }: Answer): void {
  const reason = promptFeedback?.blockReason
  if (reason === undefined || reason === null) return
  throw new TollgateError(
    'content_policy_violation',
    `The upstream ${upstream} refused the prompt: ${String(reason).slice(0, 64)}.`,
  )
}

/** Why an answer ended that its model did not get right. */
const malformed = new Set(['MALFORMED_FUNCTION_CALL', 'UNEXPECTED_TOOL_CALL', 'MALFORMED_RESPONSE'])

function refuseMalformed(upstream: string, word: unknown, hasContent: boolean): void {
  if (hasContent || !malformed.has(String(word))) return
  throw new TollgateError(
    'upstream_invalid',
    `The model of the upstream ${upstream} wrote something malformed: ${word}.`,
  )
}

function chunksOf(
  upstream: string,
  { text, thought, thoughtSignature: signature, functionCall }: Part,
  index: number,
): GenerateChunk[] {
  const chunks: GenerateChunk[] = []
  // Proof of the part that it stands in: before it, so that it goes back there.
  if (typeof signature === 'string')
    chunks.push({ type: 'reasoning', text: '', signature: `${geminiSignature}${signature}` })
  if (typeof text === 'string' && text !== '') {
    chunks.push(thought === true ? { type: 'reasoning', text } : { type: 'text', text })
  }
  if (typeof functionCall === 'object' && functionCall !== null) {
    const { id, name, args } = functionCall as { id?: unknown; name?: unknown; args?: unknown }
    if (typeof name !== 'string') {
      throw new TollgateError('upstream_invalid', `The model of the upstream ${upstream} made a call without a name.`)
    }
    chunks.push({
      type: 'tool-call',
      index,
      // Not every model gives its calls ids, and callers answer by them.
      id: typeof id === 'string' && id !== '' ? id : `call_${randomUUID()}`,
      name,
      arguments: argumentsText(upstream, args),
    })
  }
  return chunks
}

const filtered = new Set(['SAFETY', 'RECITATION', 'BLOCKLIST', 'PROHIBITED_CONTENT', 'SPII', 'IMAGE_SAFETY'])

function finishReason(word: unknown, hasCalls: boolean): FinishReason {
  if (word === 'MAX_TOKENS') return 'length'
  if (filtered.has(String(word))) return 'content-filter'
  return hasCalls ? 'tool-calls' : 'stop'
}

function contentWatch(upstream: Upstream): GenerateWatch {
  let finished: unknown
  let usage: Answer = {}
  let calls = 0
  let hasContent = false
  const written = new WrittenText()

  const decode = (whole: Buffer): GenerateChunk[] => {
    const chunks: GenerateChunk[] = []
    for (const { data } of parseEvents(whole)) {
      const answer = parsedObject(data) as Answer | undefined
      if (answer === undefined) {
        throw new TollgateError(
          'upstream_invalid',
          `The upstream ${upstream.name} sent an event that is not a JSON object.`,
        )
      }
      if (answer.error !== undefined && answer.error !== null) throw errorInSuccess(upstream, answer.error)
      refuseBlocked(upstream.name, answer)
      for (const part of partsOf(answer)) {
        written.add(writtenIn(part))
        const news = chunksOf(upstream.name, part, calls)
        hasContent ||= news.length > 0
        chunks.push(...news)
        if (part['functionCall'] !== undefined) calls += 1
      }
      finished = finishOf(answer) ?? finished
      if (answer.usageMetadata !== undefined) usage = answer
      refuseMalformed(upstream.name, finished, hasContent)
    }
    return chunks
  }

  return {
    // Nobody speaks this API to us.
    relay: () => undefined,
    decode,
    hasOutput: () => written.length > 0 || finished !== undefined,
    // There is no terminal event: the last has the reason, and the count may follow it.
    isDone: () => false,
    isComplete: () => finished !== undefined,
    finishReason: () => finishReason(finished, calls > 0),
    usage: () => usageOf(usage),
    written: () => written,
  }
}
