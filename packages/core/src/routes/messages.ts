import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { allowedMethods } from '../http/allowed-methods.js'
import { jsonBody } from '../http/body.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import { targetOf } from '../inference/call.js'
import { mayUseModel } from '../model-lists.js'
import { checkedOptions } from '../options.js'
import { promptTokens } from '../usage.js'
import {
  countTokensRequest,
  type MessagesRequest,
  messagesRequest,
  type TokensCount,
} from '../wire/anthropic-messages.js'
import { parseWith } from '../wire/parse.js'
import { messageEvents, messageResponse } from './anthropic-answer.js'
import { fromMessagesRequest } from './anthropic-input.js'
import { type GenerateRouteOptions, type GenerateSurface, generateRoute } from './generate-route.js'
import { bodyOptionsSchema, serviceSchema } from './invoke.js'

export type MessagesOptions = GenerateRouteOptions

/** Anthropic's clients read the request's id from here. */
const requestIdHeader = 'request-id'

const surface: GenerateSurface<MessagesRequest> = {
  name: 'messages',
  route: '/v1/messages',
  dialect: 'anthropic',
  native: 'anthropic-messages',
  request: messagesRequest,
  input: (body, raw, _context, req) => fromMessagesRequest(body, raw, headersOf(req)),
  answer: messageResponse,
  events: messageEvents,
  heartbeat: 'event: ping\ndata: {"type":"ping"}\n\n',
  requestIdHeader,
}

/**
 * `POST /v1/messages`, Anthropic's own shapes, streaming included. A model whose provider speaks the same API is sent the caller's body, with `anthropic-beta` and `anthropic-version`, and answers
 * with its own bytes; for others both are put into Anthropic's shape here.
 *
 * Reads the slots `principal`, `deadline`, `signal`; writes `route`, `dialect`, `target`, `usage`, `upstreamMs`.
 *
 * @throws TollgateError `config_invalid` for wrong options; `invalid_request`, `model_not_found`, `upstream_*`, `timeout`, … as real HTTP errors before the first byte of a stream, through `next(error)` after it
 * @example app.post('/v1/messages', dialect('anthropic'), auth({ directory }), messages({ service }))
 */
export function messages(options: MessagesOptions): Handler {
  return generateRoute(surface, options)
}

const onlyPost = allowedMethods('POST')

const countSchema = z.strictObject({ service: serviceSchema, body: bodyOptionsSchema.optional() })

/**
 * `POST /v1/messages/count_tokens`: the tokens of a prompt, as the model's provider counts them where it can, else as estimated. Nothing is run or charged.
 *
 * Reads the slots `principal`, `signal`; writes `route`, `dialect`.
 *
 * @throws TollgateError as {@link messages}; `model_not_allowed` for a model outside the principal's lists
 * @example app.post('/v1/messages/count_tokens', dialect('anthropic'), auth({ directory }), countTokens({ service }))
 */
export function countTokens(options: Pick<MessagesOptions, 'service' | 'body'>): Handler {
  checkedOptions('countTokens', countSchema, options)
  const { service, body: bodyOptions } = options
  return endpoint('countTokens', async (context, req, res) => {
    context.route ??= '/v1/messages/count_tokens'
    context.dialect ??= 'anthropic'
    onlyPost(req)
    res.setHeader(requestIdHeader, context.id)
    const raw = await jsonBody(req, bodyOptions)
    const body = parseWith(countTokensRequest, raw)
    const model = await service.resolve('generate', body.model)
    if (!mayUseModel(context.principal?.models, targetOf(model))) {
      throw new TollgateError(
        'model_not_allowed',
        `The model ${model.id} is not among those these credentials may use.`,
      )
    }
    const input = fromMessagesRequest(body, raw as Readonly<Record<string, unknown>>, headersOf(req))
    const call = { signal: context.signal, requestId: context.id }
    const tokens = (await model.countTokens?.(input, call)) ?? promptTokens(model.inputUsage?.(input) ?? noTokens)
    sendJson(res, 200, { input_tokens: tokens } satisfies TokensCount)
  })
}

const noTokens = { inputTokens: 0, outputTokens: 0, estimated: true }

/** The fields of this API that a caller chooses and the upstream is to see. */
function headersOf(req: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const name of ['anthropic-beta', 'anthropic-version']) {
    const value = req.headers[name]
    if (typeof value === 'string') headers[name] = value
  }
  return headers
}
