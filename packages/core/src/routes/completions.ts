import type { Handler } from '../http/handler.js'
import type { FinishReason, GenerateInput, Message, Result } from '../inference/task.js'
import { type CompletionRequest, type CompletionResponse, completionRequest } from '../wire/openai-completions.js'
import { usageToOpenAi } from '../wire/openai-usage.js'
import { invalidRequest } from '../wire/parse.js'
import { type GenerateRouteOptions, type GenerateSurface, generateRoute } from './generate-route.js'
import type { EncodePart } from './send-stream.js'

export type CompletionsOptions = GenerateRouteOptions

/**
 * `POST /v1/completions`, OpenAI's older API for text. A model whose upstream speaks it gets the caller's body and answers with its own bytes; for others one prompt is put as a user's message.
 *
 * Reads the slots `principal`, `deadline`, `signal`; writes `route`, `dialect`, `target`, `usage`, `upstreamMs`.
 *
 * @throws TollgateError as `chatCompletions`
 * @example app.post('/v1/completions', completions({ service }))
 */
export function completions(options: CompletionsOptions): Handler {
  return generateRoute(surface, options)
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

const unsaid = (path: string, message: string) => invalidRequest([{ path, message }])

const finishReasons = {
  stop: 'stop',
  length: 'length',
  'tool-calls': 'stop',
  'content-filter': 'content_filter',
} as const satisfies Record<FinishReason, string>

function head(requestId: string, model: string): Pick<CompletionResponse, 'id' | 'object' | 'created' | 'model'> {
  return { id: `cmpl-${requestId}`, object: 'text_completion', created: Math.floor(Date.now() / 1000), model }
}

function answer(requestId: string, model: string, { output, usage }: Result<'generate'>): CompletionResponse {
  const { text, finishReason } = output
  return {
    ...head(requestId, model),
    choices: [{ index: 0, text, logprobs: null, finish_reason: finishReasons[finishReason] }],
    usage: usageToOpenAi(usage),
  }
}

function textEvents(requestId: string, model: string, { stream_options }: CompletionRequest): EncodePart {
  const includeUsage = stream_options?.include_usage === true
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

const surface: GenerateSurface<CompletionRequest> = {
  name: 'completions',
  route: '/v1/completions',
  dialect: 'openai',
  native: 'openai-completions',
  request: completionRequest,
  input: (body, raw) => new CompletionInput(body, raw),
  answer,
  events: textEvents,
  end: 'data: [DONE]\n\n',
}
