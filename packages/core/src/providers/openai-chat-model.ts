import { TollgateError } from '../errors.js'
import type { Call, Model, ModelStream } from '../inference/model.js'
import type { GenerateInput, Part } from '../inference/task.js'
import { estimator, type Tokenizer } from '../tokenizer.js'
import { noUsage, type Usage } from '../usage.js'
import { type OpenAiUsage, usageFromOpenAi } from '../wire/openai-usage.js'
import { countPrompt, countTexts } from './count-tokens.js'
import type { Upstream } from './http-kit.js'
import { isEventStream, jsonAnswer, requireSuccess } from './openai-answer.js'
import { chatBody, fromChatAnswer, type MaxTokensField, writtenInChoices } from './openai-chat.js'
import { chatWatch } from './openai-chat-watch.js'
import { cutAnswer, paid } from './paid-answer.js'
import { requestJson } from './request-json.js'
import { eventSplitter, parseEvents, withoutMark } from './sse-decoder.js'

export interface ChatModelOptions {
  readonly upstream: Upstream
  readonly id: string
  readonly tokenizer: Tokenizer
  readonly maxTokensField: MaxTokensField
  readonly maxEventBytes: number
}

/** A model behind `POST /chat/completions`. */
export function chatModel(options: ChatModelOptions): Model<'generate'> {
  const { upstream, id, tokenizer, maxTokensField } = options
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
      const body = requestJson(chatBody(input, id, false, maxTokensField))
      const request = { method: 'POST', path: '/chat/completions', accept: 'application/json', body } as const
      const response = await upstream.send(request, call)
      const { bytes, json } = await jsonAnswer(
        upstream,
        response,
        cutAnswer(call, () => inputUsage(input)),
      )
      const usage = usageFromOpenAi((json as { usage?: OpenAiUsage | null }).usage) ?? {
        inputTokens: countPrompt(input, tokenizer),
        outputTokens: countTexts(writtenInChoices(json), tokenizer),
        estimated: true,
      }
      const output = paid(call, usage, () => fromChatAnswer(upstream.name, json))
      if (input.native === undefined) return { output, usage }
      return { output: { ...output, native: { dialect: 'openai-chat', bytes } }, usage }
    },
    stream: (input, call) => chatStream(options, input, call),
    inputUsage,
  }
}

function chatStream(options: ChatModelOptions, input: GenerateInput, call: Call): ModelStream<'generate'> {
  const { upstream, id, tokenizer, maxTokensField } = options
  const native = input.native
  const watch = chatWatch(upstream, choicesAskedFor(native?.body), native !== undefined && !asksForUsage(native.body))
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

  async function* parts(): AsyncGenerator<Part<'generate'>> {
    const body = requestJson(chatBody(input, id, true, maxTokensField))
    charged = true
    let response: Awaited<ReturnType<Upstream['send']>>
    try {
      response = await upstream.send(
        { method: 'POST', path: '/chat/completions', accept: 'text/event-stream', body },
        call,
      )
      await requireSuccess(upstream, response, isEventStream, 'an event stream')
    } catch (error) {
      charged = call.signal.aborted
      throw error
    }
    const splitter = eventSplitter(upstream.name, options.maxEventBytes)
    try {
      let begun = false
      for (let chunk = await response.read(); chunk !== undefined; chunk = await response.read()) {
        const split = splitter.push(chunk)
        if (split === undefined) continue
        const whole = begun ? split : withoutMark(split)
        begun = true
        if (native === undefined) yield* watch.decode(whole)
        else {
          const bytes = watch.relay(whole)
          if (bytes !== undefined) yield { type: 'native', dialect: native.dialect, bytes }
        }
        if (watch.isDone()) break
      }
      if (!watch.isComplete() && !endsInDone(splitter.rest())) {
        throw new TollgateError('upstream_invalid', `The upstream ${upstream.name} ended the stream before its end.`)
      }
      response.release()
      yield { type: 'end', finishReason: watch.finishReason(), usage: usageSoFar() }
    } finally {
      response.destroy()
    }
  }
  return { usageSoFar, [Symbol.asyncIterator]: parts }
}

function asksForUsage(body: Readonly<Record<string, unknown>>): boolean {
  const { include_usage } = (body['stream_options'] ?? {}) as { include_usage?: unknown }
  return include_usage === true
}

function choicesAskedFor(body: Readonly<Record<string, unknown>> | undefined): number {
  const n = body?.['n']
  return typeof n === 'number' && n > 1 ? n : 1
}

/** Some servers leave out the blank line after the terminal event. */
function endsInDone(rest: Buffer): boolean {
  return (
    rest.length > 0 && parseEvents(Buffer.concat([rest, Buffer.from('\n\n')])).some(({ data }) => data === '[DONE]')
  )
}
