import type { Handler } from '../http/handler.js'
import { type ResponsesRequest, responsesRequest } from '../wire/openai-responses.js'
import { type GenerateRouteOptions, type GenerateSurface, generateRoute } from './generate-route.js'
import { responsesAnswer, responsesEvents } from './responses-answer.js'
import { fromResponsesRequest } from './responses-input.js'

export type ResponsesOptions = GenerateRouteOptions

const surface: GenerateSurface<ResponsesRequest> = {
  name: 'responses',
  route: '/v1/responses',
  dialect: 'openai',
  native: 'openai-responses',
  request: responsesRequest,
  input: fromResponsesRequest,
  answer: responsesAnswer,
  events: responsesEvents,
}

/**
 * `POST /v1/responses`, OpenAI's Responses API, streaming included. A model whose upstream has it gets the caller's body and answers with its own bytes; for others both are put into its shape here. Nothing
 * is stored here: `previous_response_id` is for upstreams that do.
 *
 * Reads the slots `principal`, `deadline`, `signal`; writes `route`, `dialect`, `target`, `usage`, `upstreamMs`.
 *
 * @throws TollgateError as `chatCompletions`
 * @example app.post('/v1/responses', responses({ service }))
 */
export function responses(options: ResponsesOptions): Handler {
  return generateRoute(surface, options)
}
