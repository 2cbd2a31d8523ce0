import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { allowedMethods } from '../http/allowed-methods.js'
import { type BodyOptions, jsonBody } from '../http/body.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendBytes, sendJson } from '../http/respond.js'
import type { InferenceService } from '../inference/service.js'
import type { FinishReason, GenerateInput, Message, Part } from '../inference/task.js'
import { checkedOptions } from '../options.js'
import { type CompletionRequest, type CompletionResponse, completionRequest } from '../wire/openai-completions.js'
import { usageToOpenAi } from '../wire/openai-usage.js'
import { parseWith } from '../wire/parse.js'
import { bodyOptionsSchema, invoke, invokeStream, type OnDisconnect, serviceSchema } from './invoke.js'
import { sendStream } from './send-stream.js'

export interface CompletionsOptions {
  readonly service: InferenceService
  readonly body?: BodyOptions
  /** A comment is sent after this much silence in a stream, in milliseconds; 0: never. Default 15,000. */
  readonly heartbeatMs?: number
  /** What becomes of a call whose caller leaves. Default `abort`. */
  readonly onDisconnect?: OnDisconnect
}

const onlyPost = allowedMethods('POST')

const schema = z.strictObject({
  service: serviceSchema,
  body: bodyOptionsSchema.optional(),
  heartbeatMs: z.int().min(0).optional(),
  onDisconnect: z.enum(['abort', 'drain']).default('abort'),
})

/**
 * `POST /v1/completions`, OpenAI's older API for text. A model whose upstream speaks it gets the caller's body and answers with its own bytes; for others one prompt is put as a user's message.
 *
 * Reads the slots `principal`, `deadline`, `signal`; writes `route`, `dialect`, `target`, `usage`, `upstreamMs`.
 *
 * @throws TollgateError as `chatCompletions`
 * @example app.post('/v1/completions', completions({ service }))
 */
export function completions(options: CompletionsOptions): Handler {
  const { heartbeatMs, onDisconnect } = checkedOptions('completions', schema, options)
  const { service, body: bodyOptions } = options
  return endpoint('completions', async (context, req, res) => {
    context.route ??= '/v1/completions'
    context.dialect ??= 'openai'
    onlyPost(req)
    const raw = await jsonBody(req, bodyOptions)
    const body = parseWith(completionRequest, raw)
    const input = new CompletionInput(body, raw as Readonly<Record<string, unknown>>)
    if (body.stream === true) {
      await invokeStream(
        context,
        req,
        res,
        service,
        'generate',
        body.model,
        input,
        (answered) =>
          sendStream(res, answered, {
            encode: textEvents(context.id, answered.target.model, body.stream_options?.include_usage === true),
            end: 'data: [DONE]\n\n',
            heartbeatMs,
            onDisconnect,
          }),
        onDisconnect,
      )
      return
    }
    const { result, target } = await invoke(context, req, res, service, 'generate', body.model, input, onDisconnect)
    const { native, text, finishReason } = result.output
    if (native?.dialect === 'openai-completions') {
      sendBytes(res, 200, native.bytes, 'application/json; charset=utf-8')
      return
    }
    const answer: CompletionResponse = {
      ...head(context.id, target.model),
      choices: [{ index: 0, text, logprobs: null, finish_reason: finishReasons[finishReason] }],
      usage: usageToOpenAi(result.usage),
    }
    sendJson(res, 200, answer)
  })
}

/** The prompt as a message, if a model looks at it: those that speak this API take `native`. */
class CompletionInput implements GenerateInput {
  declare readonly maxOutputTokens?: number
  declare readonly temperature?: number
  declare readonly topP?: number
  declare readonly stop?: readonly string[]
  declare readonly seed?: number
  declare readonly user?: string
  readonly native: NonNullable<GenerateInput['native']>
  readonly #body: CompletionRequest

  constructor(body: CompletionRequest, raw: Readonly<Record<string, unknown>>) {
    if (typeof body.max_tokens === 'number') this.maxOutputTokens = body.max_tokens
    if (typeof body.temperature === 'number') this.temperature = body.temperature
    if (typeof body.top_p === 'number') this.topP = body.top_p
    if (typeof body.stop === 'string') this.stop = [body.stop]
    else if (Array.isArray(body.stop)) this.stop = body.stop
    if (typeof body.seed === 'number') this.seed = body.seed
    if (body.user !== undefined) this.user = body.user
    this.native = { dialect: 'openai-completions', body: raw }
    this.#body = body
  }

  /** All prompts, for counting. */
  get messages(): readonly Message[] {
    return promptsOf(this.#body).map((content) => ({ role: 'user', content }))
  }

  /** Asked by every model that puts a request into its own words. */
  get tools(): readonly [] {
    const { prompt, n, best_of: bestOf, suffix, echo } = this.#body
    const isOne =
      typeof prompt === 'string' || (Array.isArray(prompt) && prompt.length === 1 && typeof prompt[0] === 'string')
    if (!isOne) throw unsaid('prompt', 'must be one text for the model that answers')
    if ((n ?? 1) !== 1 || (bestOf ?? 1) !== 1) throw unsaid('n', 'must be 1 for the model that answers')
    if (suffix !== undefined && suffix !== null) throw unsaid('suffix', 'cannot be said to the model that answers')
    if (echo === true) throw unsaid('echo', 'cannot be said to the model that answers')
    return []
  }
}

function promptsOf({ prompt }: CompletionRequest): string[] {
  if (typeof prompt === 'string') return [prompt]
  return prompt.flatMap((each) => (typeof each === 'string' ? [each] : []))
}

function unsaid(path: string, message: string): TollgateError {
  return new TollgateError('invalid_request', `${path} ${message}.`, { errors: [{ path, message }] })
}

const finishReasons = {
  stop: 'stop',
  length: 'length',
  'tool-calls': 'stop',
  'content-filter': 'content_filter',
} as const satisfies Record<FinishReason, string>

function head(requestId: string, model: string): Pick<CompletionResponse, 'id' | 'object' | 'created' | 'model'> {
  return { id: `cmpl-${requestId}`, object: 'text_completion', created: Math.floor(Date.now() / 1000), model }
}

function textEvents(
  requestId: string,
  model: string,
  includeUsage: boolean,
): (part: Exclude<Part<'generate'>, { type: 'native' }>) => string {
  const begin = head(requestId, model)
  const event = (choices: CompletionResponse['choices'], usage: CompletionResponse['usage'] = null) =>
    `data: ${JSON.stringify({ ...begin, choices, ...(includeUsage ? { usage } : undefined) })}\n\n`
  const choice = (text: string, reason: string | null) => [{ index: 0, text, logprobs: null, finish_reason: reason }]
  return (part) => {
    if (part.type === 'text') return part.text === '' ? '' : event(choice(part.text, null))
    // This API has a word for nothing else.
    if (part.type !== 'end') return ''
    const last = event(choice('', finishReasons[part.finishReason]))
    return includeUsage ? last + event([], usageToOpenAi(part.usage)) : last
  }
}
