import type { Handler } from '../http/handler.js'
import { type ChatRequest, chatRequest } from '../wire/openai-chat.js'
import { type GenerateRouteOptions, type GenerateSurface, generateRoute } from './generate-route.js'
import { chatChunks, chatResponse } from './openai-chat-answer.js'
import { toGenerateInput } from './openai-chat-input.js'

export type ChatCompletionsOptions = GenerateRouteOptions

const surface: GenerateSurface<ChatRequest> = {
  name: 'chatCompletions',
  route: '/v1/chat/completions',
  dialect: 'openai',
  native: 'openai-chat',
  request: chatRequest,
  input: toGenerateInput,
  answer: chatResponse,
  events: (requestId, model, body) => chatChunks(requestId, model, body.stream_options?.include_usage === true),
  end: 'data: [DONE]\n\n',
}

/**
 * `POST /v1/chat/completions`, OpenAI's own shapes, streaming included. A model whose provider speaks the same API is sent the caller's
 * body and answers with its own bytes; for others both are put into OpenAI's shape here.
 *
 * Reads the slots `principal`, `deadline`, `signal`; writes `route`, `dialect`, `target`, `usage`, `upstreamMs`.
 *
 * @throws TollgateError `config_invalid` for wrong options; `invalid_request`, `model_not_found`, `upstream_*`, `timeout`, … as real HTTP errors before the
 * first byte of a stream, through `next(error)` after it
 * @example app.post('/v1/chat/completions', chatCompletions({ service }))
 */
export function chatCompletions(options: ChatCompletionsOptions): Handler {
  return generateRoute(surface, options)
}
