import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { allowedMethods } from '../http/allowed-methods.js'
import { type BodyOptions, jsonBody } from '../http/body.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendBytes, sendJson } from '../http/respond.js'
import { targetOf } from '../inference/call.js'
import type { InferenceService } from '../inference/service.js'
import { mayUseModel } from '../model-lists.js'
import { checkedOptions } from '../options.js'
import { promptTokens } from '../usage.js'
import { countTokensRequest, messagesRequest, type TokensCount } from '../wire/anthropic-messages.js'
import { parseWith } from '../wire/parse.js'
import { messageEvents, messageResponse } from './anthropic-answer.js'
import { fromMessagesRequest } from './anthropic-input.js'
import { bodyOptionsSchema, invoke, invokeStream, type OnDisconnect, serviceSchema } from './invoke.js'
import { sendStream } from './send-stream.js'

export interface MessagesOptions {
  readonly service: InferenceService
  readonly body?: BodyOptions
  /** A `ping` event is sent after this much silence in a stream, in milliseconds; 0: never. Default 15,000. */
  readonly heartbeatMs?: number
  /** What becomes of a call whose caller leaves. Default `abort`: it is stopped, and what it used is estimated. `drain`: it comes to its end, and is billed by what the provider says. */
  readonly onDisconnect?: OnDisconnect
}

const onlyPost = allowedMethods('POST')

const schema = z.strictObject({
  service: serviceSchema,
  body: bodyOptionsSchema.optional(),
  heartbeatMs: z.int().min(0).optional(),
  onDisconnect: z.enum(['abort', 'drain']).default('abort'),
})

const ping = 'event: ping\ndata: {"type":"ping"}\n\n'

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
  const { heartbeatMs, onDisconnect } = checkedOptions('messages', schema, options)
  const { service, body: bodyOptions } = options
  return endpoint('messages', async (context, req, res) => {
    context.route ??= '/v1/messages'
    context.dialect ??= 'anthropic'
    onlyPost(req)
    // Anthropic's clients read it from here.
    res.setHeader('request-id', context.id)
    const raw = await jsonBody(req, bodyOptions)
    const body = parseWith(messagesRequest, raw)
    const input = fromMessagesRequest(body, raw as Readonly<Record<string, unknown>>, headersOf(req))
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
            encode: messageEvents(context.id, answered.target.model),
            heartbeat: ping,
            heartbeatMs,
            onDisconnect,
          }),
        onDisconnect,
      )
      return
    }
    const { result, target } = await invoke(context, req, res, service, 'generate', body.model, input, onDisconnect)
    const { native } = result.output
    if (native?.dialect === 'anthropic-messages') sendBytes(res, 200, native.bytes, 'application/json; charset=utf-8')
    else sendJson(res, 200, messageResponse(context.id, target.model, result))
  })
}

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
    res.setHeader('request-id', context.id)
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
