import { TollgateError } from '../errors.js'
import type { Call, ModelStream } from '../inference/model.js'
import type { GenerateDialect, GenerateInput, Part } from '../inference/task.js'
import { estimator } from '../tokenizer.js'
import { completionTokens, noUsage, type Usage } from '../usage.js'
import { countPrompt } from './count-tokens.js'
import type { GenerateModelOptions, GenerateWatch, GenerateWire, StreamFraming } from './generate-model.js'
import { holdingRelay } from './holding-relay.js'
import type { Upstream, UpstreamRequest } from './http-kit.js'
import { isOfType, requireSuccess } from './openai-answer.js'
import { withoutMark } from './sse-decoder.js'

interface GenerateStreamOptions {
  readonly options: GenerateModelOptions
  readonly input: GenerateInput
  readonly call: Call
  readonly wire: GenerateWire
  readonly framing: StreamFraming
  /** Whose words the answer is handed on in as it is; `undefined`: it is told in ours. */
  readonly native: { readonly dialect: GenerateDialect; readonly account?: string } | undefined
  readonly request: () => UpstreamRequest
}

interface Streaming extends GenerateStreamOptions {
  readonly watch: GenerateWatch
  /** From when the request is on its way until the upstream turns it down, the prompt is being paid for. */
  charged: boolean
}

/** An answer while it is written. */
export function generateStream(given: GenerateStreamOptions): ModelStream<'generate'> {
  const streaming: Streaming = {
    ...given,
    watch: given.wire.watch(given.options.upstream, given.input),
    charged: false,
  }
  return {
    usageSoFar: () => usageSoFar(streaming),
    [Symbol.asyncIterator]: () => partsOf(streaming),
  }
}

function usageSoFar({ watch, charged, options: { tokenizer }, input }: Streaming): Usage {
  const reported = watch.usage()
  // An answer of no tokens that has words was not counted.
  const isTold = reported !== undefined && (completionTokens(reported) > 0 || watch.written().length === 0)
  if (isTold && watch.isComplete()) return reported
  if (!charged) return noUsage
  const { text, length } = watch.written()
  const written = text === '' ? 0 : Math.ceil((estimator(tokenizer).count(text) / text.length) * length)
  if (reported === undefined) {
    return { inputTokens: countPrompt(input, tokenizer), outputTokens: written, estimated: true }
  }
  // What was written after the upstream's last word is not in it.
  const untold = Math.max(0, written - completionTokens(reported))
  return { ...reported, outputTokens: reported.outputTokens + untold, estimated: true }
}

/**
 * Not a closure made for each stream: V8 gives every generator function that is run a hidden class of its own, which lives in the old space and keeps the closure, and all of the request with it, until the
 * next full collection.
 */
async function* partsOf(streaming: Streaming): AsyncGenerator<Part<'generate'>> {
  const { options, call, framing, native, watch, request: requestOf } = streaming
  const { upstream, maxEventBytes } = options
  const request = requestOf()
  streaming.charged = true
  let response: Awaited<ReturnType<Upstream['send']>>
  try {
    response = await upstream.send(request, call)
    await requireSuccess(upstream, response, (type) => isOfType(type, framing.mediaType), 'an event stream')
  } catch (error) {
    streaming.charged = call.signal.aborted
    throw error
  }
  const splitter = framing.splitter(upstream.name, maxEventBytes)
  const relayed = native === undefined ? undefined : holdingRelay(watch)
  try {
    let begun = false
    for (let chunk = await response.read(); chunk !== undefined; chunk = await response.read()) {
      const split = splitter.push(chunk)
      if (split === undefined) continue
      const whole = begun ? split : withoutMark(split)
      begun = true
      if (relayed === undefined || native === undefined) yield* watch.decode(whole)
      else {
        const bytes = relayed.push(whole)
        if (bytes !== undefined) yield { type: 'native', ...native, bytes }
      }
      if (watch.isDone()) break
    }
    const last = watch.isDone() ? undefined : framing.last?.(splitter.rest())
    if (relayed === undefined || native === undefined) {
      if (last !== undefined) yield* watch.decode(last)
      requireComplete(upstream, watch)
    } else {
      const bytes = last === undefined ? undefined : relayed.push(last)
      if (bytes !== undefined) yield { type: 'native', ...native, bytes }
      requireComplete(upstream, watch)
      const held = relayed.rest()
      if (held !== undefined) yield { type: 'native', ...native, bytes: held }
    }
    response.release()
    const stopSequence = watch.stopSequence?.()
    yield {
      type: 'end',
      finishReason: watch.finishReason(),
      ...(stopSequence === undefined ? {} : { stopSequence }),
      usage: usageSoFar(streaming),
    }
  } finally {
    response.destroy()
  }
}

function requireComplete({ name }: Upstream, watch: GenerateWatch): void {
  if (watch.isComplete()) return
  throw new TollgateError('upstream_invalid', `The upstream ${name} ended the stream before its end.`)
}
