import { TollgateError } from '../errors.js'
import type { Call, Model, ModelStream } from '../inference/model.js'
import type {
  FinishReason,
  GenerateChunk,
  GenerateDialect,
  GenerateInput,
  GenerateOutput,
  Part,
} from '../inference/task.js'
import { estimator, type Tokenizer } from '../tokenizer.js'
import { noUsage, type Usage } from '../usage.js'
import { countPrompt, countTexts } from './count-tokens.js'
import { holdingRelay } from './holding-relay.js'
import type { Upstream, UpstreamRequest } from './http-kit.js'
import { isOfType, jsonAnswer, requireSuccess } from './openai-answer.js'
import { cutAnswer, paid } from './paid-answer.js'
import { parsedObject } from './parsed-json.js'
import { requestJson } from './request-json.js'
import { type EventSplitter, eventSplitter, lastEvents, withoutMark } from './sse-decoder.js'

/** An API that generates text, as functions: what is sent, and what an answer or a stream means. */
export interface GenerateWire {
  /** Requests and answers in these words are handed on as they are. Absent: nobody speaks this API to us. */
  readonly dialect?: GenerateDialect
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
  /** The upstream's own count, if it has come. */
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

/** Is the answer handed on as it is? */
function relays({ dialect }: GenerateWire, { native }: GenerateInput): boolean {
  return dialect !== undefined && native?.dialect === dialect && native.answer !== 'typed'
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
      const usage = wire.usage(json) ?? {
        inputTokens: countPrompt(input, tokenizer),
        outputTokens: countTexts(wire.written(json), tokenizer),
        estimated: true,
      }
      const output = paid(call, usage, () => wire.response(upstream.name, json))
      const { dialect } = wire
      if (dialect === undefined || !relays(wire, input)) return { output, usage }
      return { output: { ...output, native: { dialect, bytes } }, usage }
    },
    stream: (input, call) => generateStream(options, input, call),
    inputUsage,
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

function generateStream(options: GenerateModelOptions, input: GenerateInput, call: Call): ModelStream<'generate'> {
  const { upstream, tokenizer } = options
  const wire = wireFor(options, input)
  const { dialect, framing = serverSentEvents } = wire
  const watch = wire.watch(upstream, input)
  /** From when the request is on its way until the upstream turns it down, the prompt is being paid for. */
  let charged = false

  const usageSoFar = (): Usage => {
    const reported = watch.usage()
    if (reported !== undefined) return reported
    if (!charged) return noUsage
    const { text, length } = watch.written()
    const outputTokens = text === '' ? 0 : Math.ceil((estimator(tokenizer).count(text) / text.length) * length)
    return { inputTokens: countPrompt(input, tokenizer), outputTokens, estimated: true }
  }

  const requireComplete = () => {
    if (watch.isComplete()) return
    throw new TollgateError('upstream_invalid', `The upstream ${upstream.name} ended the stream before its end.`)
  }

  async function* parts(): AsyncGenerator<Part<'generate'>> {
    const request = requestOf(options, wire, input, true)
    charged = true
    let response: Awaited<ReturnType<Upstream['send']>>
    try {
      response = await upstream.send(request, call)
      await requireSuccess(upstream, response, (type) => isOfType(type, framing.mediaType), 'an event stream')
    } catch (error) {
      charged = call.signal.aborted
      throw error
    }
    const splitter = framing.splitter(upstream.name, options.maxEventBytes)
    const relayed = dialect !== undefined && relays(wire, input) ? holdingRelay(watch) : undefined
    try {
      let begun = false
      for (let chunk = await response.read(); chunk !== undefined; chunk = await response.read()) {
        const split = splitter.push(chunk)
        if (split === undefined) continue
        const whole = begun ? split : withoutMark(split)
        begun = true
        if (relayed === undefined || dialect === undefined) yield* watch.decode(whole)
        else {
          const bytes = relayed.push(whole)
          if (bytes !== undefined) yield { type: 'native', dialect, bytes }
        }
        if (watch.isDone()) break
      }
      const last = watch.isDone() ? undefined : framing.last?.(splitter.rest())
      if (relayed === undefined || dialect === undefined) {
        if (last !== undefined) yield* watch.decode(last)
        requireComplete()
      } else {
        const bytes = last === undefined ? undefined : relayed.push(last)
        if (bytes !== undefined) yield { type: 'native', dialect, bytes }
        requireComplete()
        const held = relayed.rest()
        if (held !== undefined) yield { type: 'native', dialect, bytes: held }
      }
      response.release()
      const stopSequence = watch.stopSequence?.()
      yield {
        type: 'end',
        finishReason: watch.finishReason(),
        ...(stopSequence === undefined ? {} : { stopSequence }),
        usage: usageSoFar(),
      }
    } finally {
      response.destroy()
    }
  }
  return { usageSoFar, [Symbol.asyncIterator]: parts }
}
