import type { Model } from '../inference/model.js'
import type { FinishReason, GenerateChunk, GenerateDialect, GenerateInput, GenerateOutput } from '../inference/task.js'
import type { Tokenizer } from '../tokenizer.js'
import { completionTokens, type Usage } from '../usage.js'
import { countPrompt, countTexts } from './count-tokens.js'
import { generateStream } from './generate-stream.js'
import type { Upstream, UpstreamRequest } from './http-kit.js'
import { jsonAnswer } from './openai-answer.js'
import { cutAnswer, paid } from './paid-answer.js'
import { parsedObject } from './parsed-json.js'
import { requestJson } from './request-json.js'
import { type EventSplitter, eventSplitter, lastEvents, withoutMark } from './sse-decoder.js'

/** An API that generates text, as functions: what is sent, and what an answer or a stream means. */
export interface GenerateWire {
  /** Requests and answers in these words are handed on as they are. Absent: nobody speaks this API to us. */
  readonly dialect?: GenerateDialect
  /** Whose account at the upstream stores what it answers. Absent: nothing is stored, or nothing can be asked for again. */
  readonly account?: string
  /** @throws TollgateError `invalid_request` for what cannot be said in this API */
  request(input: GenerateInput, model: string, stream: boolean): WireRequest
  /** @throws TollgateError `upstream_invalid` if there is no answer in it */
  response(upstream: string, answer: object): Omit<GenerateOutput, 'native'>
  /** What the upstream says that it used. */
  usage(answer: object): Usage | undefined
  /** All that was written, for counting. */
  written(answer: object): readonly string[]
  watch(upstream: Upstream, input: GenerateInput): GenerateWatch
  /** How its streams are cut into events. Default: Server-Sent Events. */
  readonly framing?: StreamFraming
}

/** A format of streams. */
export interface StreamFraming {
  readonly mediaType: string
  readonly splitter: (upstream: string, maxEventBytes: number) => EventSplitter
  /** What is left at the end of a stream as whole events, where their end may be left out. */
  readonly last?: (rest: Buffer) => Buffer | undefined
}

export interface WireRequest {
  /** Below the base URL. */
  readonly path: string
  readonly body: Record<string, unknown>
  readonly headers?: Readonly<Record<string, string>>
}

/** What is learnt of a stream while its events pass. */
export interface GenerateWatch {
  /** Events to hand on as they are; `undefined` if none of these is for the caller. */
  relay(whole: Buffer): Buffer | undefined
  /** The same events in our own words. */
  decode(whole: Buffer): GenerateChunk[]
  /** Something has come that a reader sees as an answer, or its end. Asked until it is true. */
  hasOutput(): boolean
  /** The terminal event has come. */
  isDone(): boolean
  /** The stream is over: nothing is missing. */
  isComplete(): boolean
  finishReason(): FinishReason
  stopSequence?(): string | undefined
  /** The upstream's own count, if it has come; before the end it may lack what was written since. */
  usage(): Usage | undefined
  /** What the model has written so far, for counting: its beginning, and how long all of it is. */
  written(): { readonly text: string; readonly length: number }
}

export interface GenerateModelOptions {
  readonly upstream: Upstream
  readonly id: string
  readonly tokenizer: Tokenizer
  readonly wire: GenerateWire
  /** Further APIs of the same upstream, for callers who speak them. */
  readonly others?: readonly GenerateWire[]
  readonly maxEventBytes: number
}

/** The API that a request goes to: the caller's own, where the upstream speaks it. */
function wireFor({ wire, others = [] }: GenerateModelOptions, { native }: GenerateInput): GenerateWire {
  if (native === undefined || native.dialect === wire.dialect) return wire
  // Of the other APIs nothing is read but what the relay needs.
  if (native.answer === 'typed') return wire
  return others.find(({ dialect }) => dialect === native.dialect) ?? wire
}

const serverSentEvents: StreamFraming = {
  mediaType: 'text/event-stream',
  splitter: eventSplitter,
  last: (rest) => lastEvents(withoutMark(rest), (data) => data === '[DONE]' || parsedObject(data) !== undefined),
}

/** Whose words an answer is handed on in as it is; `undefined` if it is not. */
function nativeOf({ dialect, account }: GenerateWire, { native }: GenerateInput) {
  if (dialect === undefined || native?.dialect !== dialect || native.answer === 'typed') return undefined
  return account === undefined ? { dialect } : { dialect, account }
}

/** A model behind an API that generates text. */
export function generateModel(options: GenerateModelOptions): Model<'generate'> {
  const { upstream, id, tokenizer } = options
  const inputUsage = (input: GenerateInput): Usage => ({
    inputTokens: countPrompt(input, tokenizer),
    outputTokens: 0,
    estimated: true,
  })
  return {
    task: 'generate',
    provider: upstream.name,
    id,
    async run(input, call) {
      const wire = wireFor(options, input)
      const response = await upstream.send(requestOf(options, wire, input, false), call)
      const { bytes, json } = await jsonAnswer(
        upstream,
        response,
        cutAnswer(call, () => inputUsage(input)),
      )
      const reported = wire.usage(json)
      // An answer of no tokens that has words was not counted.
      const isTold = reported !== undefined && completionTokens(reported) > 0
      const written = isTold ? 0 : countTexts(wire.written(json), tokenizer)
      const usage =
        reported !== undefined && written === 0
          ? reported
          : { ...(reported ?? inputUsage(input)), outputTokens: written, estimated: true }
      const output = paid(call, usage, () => wire.response(upstream.name, json))
      const native = nativeOf(wire, input)
      return native === undefined ? { output, usage } : { output: { ...output, native: { ...native, bytes } }, usage }
    },
    stream(input, call) {
      const wire = wireFor(options, input)
      const { framing = serverSentEvents } = wire
      const request = () => requestOf(options, wire, input, true)
      return generateStream({ options, input, call, wire, framing, native: nativeOf(wire, input), request })
    },
    inputUsage,
    accounts: [options.wire, ...(options.others ?? [])].flatMap(({ account }) => account ?? []),
  }
}

function requestOf(
  { upstream, id }: GenerateModelOptions,
  wire: GenerateWire,
  input: GenerateInput,
  stream: boolean,
): UpstreamRequest {
  const { path, body, headers } = wire.request(input, id, stream)
  return {
    model: id,
    method: 'POST',
    path,
    accept: stream ? (wire.framing ?? serverSentEvents).mediaType : 'application/json',
    body: requestJson(upstream.patched(body)),
    ...(headers === undefined ? {} : { headers }),
  }
}
