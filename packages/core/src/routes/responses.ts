import { z } from 'zod'
import { allowedMethods } from '../http/allowed-methods.js'
import { type BodyOptions, jsonBody } from '../http/body.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendBytes, sendJson } from '../http/respond.js'
import type { InferenceService } from '../inference/service.js'
import { checkedOptions } from '../options.js'
import { responsesRequest } from '../wire/openai-responses.js'
import { parseWith } from '../wire/parse.js'
import { bodyOptionsSchema, invoke, invokeStream, type OnDisconnect, serviceSchema } from './invoke.js'
import { responsesAnswer, responsesEvents } from './responses-answer.js'
import { fromResponsesRequest } from './responses-input.js'
import { sendStream } from './send-stream.js'

export interface ResponsesOptions {
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
 * `POST /v1/responses`, OpenAI's Responses API, streaming included. A model whose upstream has it gets the caller's body and answers with its own bytes; for others both are put into its shape here. Nothing
 * is stored here: `previous_response_id` is for upstreams that do.
 *
 * Reads the slots `principal`, `deadline`, `signal`; writes `route`, `dialect`, `target`, `usage`, `upstreamMs`.
 *
 * @throws TollgateError as `chatCompletions`
 * @example app.post('/v1/responses', responses({ service }))
 */
export function responses(options: ResponsesOptions): Handler {
  const { heartbeatMs, onDisconnect } = checkedOptions('responses', schema, options)
  const { service, body: bodyOptions } = options
  return endpoint('responses', async (context, req, res) => {
    context.route ??= '/v1/responses'
    context.dialect ??= 'openai'
    onlyPost(req)
    const raw = await jsonBody(req, bodyOptions)
    const body = parseWith(responsesRequest, raw)
    const input = fromResponsesRequest(body, raw as Readonly<Record<string, unknown>>)
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
            encode: responsesEvents(context.id, answered.target.model, body),
            heartbeatMs,
            onDisconnect,
          }),
        onDisconnect,
      )
      return
    }
    const { result, target } = await invoke(context, req, res, service, 'generate', body.model, input, onDisconnect)
    const { native } = result.output
    if (native?.dialect === 'openai-responses') sendBytes(res, 200, native.bytes, 'application/json; charset=utf-8')
    else sendJson(res, 200, responsesAnswer(context.id, target.model, body, result))
  })
}
