import { z } from 'zod'
import { allowedMethods } from '../http/allowed-methods.js'
import { type BodyOptions, jsonBody } from '../http/body.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendBytes, sendJson } from '../http/respond.js'
import type { InferenceService } from '../inference/service.js'
import { checkedOptions } from '../options.js'
import { chatRequest } from '../wire/openai-chat.js'
import { parseWith } from '../wire/parse.js'
import { bodyOptionsSchema, invoke, invokeStream, type OnDisconnect, serviceSchema } from './invoke.js'
import { chatChunks, chatResponse } from './openai-chat-answer.js'
import { toGenerateInput } from './openai-chat-input.js'
import { sendStream } from './send-stream.js'

export interface ChatCompletionsOptions {
  readonly service: InferenceService
  readonly body?: BodyOptions
  /** A comment is sent after this much silence in a stream, in milliseconds; 0: never. Default 15,000. */
  readonly heartbeatMs?: number
  /** What becomes of a call whose caller leaves. Default `abort`: it is stopped, and what it used is estimated. `drain`: it comes to its end, and is billed by what the provider says. */
  readonly onDisconnect?: OnDisconnect
}

const onlyPost = allowedMethods('POST')

const optionsSchema = z.strictObject({
  service: serviceSchema,
  body: bodyOptionsSchema.optional(),
  heartbeatMs: z.int().min(0).optional(),
  onDisconnect: z.enum(['abort', 'drain']).optional(),
})

const done = 'data: [DONE]\n\n'

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
  checkedOptions('chatCompletions', optionsSchema, options)
  const { service, body: bodyOptions, heartbeatMs, onDisconnect = 'abort' } = options
  return endpoint('chatCompletions', async (context, req, res) => {
    context.route ??= '/v1/chat/completions'
    context.dialect ??= 'openai'
    onlyPost(req)
    const raw = await jsonBody(req, bodyOptions)
    const body = parseWith(chatRequest, raw)
    const input = toGenerateInput(body, raw as Readonly<Record<string, unknown>>)
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
            encode: chatChunks(context.id, answered.target.model, body.stream_options?.include_usage === true),
            end: done,
            heartbeatMs,
            onDisconnect,
          }),
        onDisconnect,
      )
      return
    }
    const { result, target } = await invoke(context, req, res, service, 'generate', body.model, input, onDisconnect)
    const { native } = result.output
    if (native?.dialect === 'openai-chat') sendBytes(res, 200, native.bytes, 'application/json; charset=utf-8')
    else sendJson(res, 200, chatResponse(context.id, target.model, result))
  })
}
