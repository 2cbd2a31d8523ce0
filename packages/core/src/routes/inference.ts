import { z } from 'zod'
import { allowedMethods } from '../http/allowed-methods.js'
import { jsonBody } from '../http/body.js'
import type { RequestContext } from '../http/context.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import { roundedMs } from '../http/rounded-ms.js'
import type { InferenceService } from '../inference/service.js'
import type { GenerateInput } from '../inference/task.js'
import { usdNumber } from '../money.js'
import { checkedOptions } from '../options.js'
import { completionTokens, promptTokens } from '../usage.js'
import { type InferenceResponse, inferenceRequest } from '../wire/inference.js'
import { parseWith } from '../wire/parse.js'
import { invoke, type OnDisconnect, onDisconnectSchema, serviceSchema } from './invoke.js'

export interface InferenceRouteOptions {
  readonly service: InferenceService
  /** What becomes of a call whose caller leaves. Default `abort`: it is stopped, and its input is paid for. `drain`: it comes to its end, and is billed by what the provider says. */
  readonly onDisconnect?: OnDisconnect
}

const onlyPost = allowedMethods('POST')

const optionsSchema = z.strictObject({ service: serviceSchema, onDisconnect: onDisconnectSchema })

/**
 * `POST /inference`: one prompt, one answer, with what it cost. A request that names no model gets the service's default for `generate`.
 * `estimated_cost_usd` needs `cost` before it, else it is `null`.
 *
 * Writes the slots `route`, and by recording usage `target`, `usage`, `upstreamMs`.
 *
 * @throws TollgateError `invalid_request`, `invalid_json`, `method_not_allowed`, `model_not_found`, and what the model throws; `config_invalid` for
 * wrong options
 * @example app.post('/inference', inference({ service }))
 */
export function inference(options: InferenceRouteOptions): Handler {
  const { service, onDisconnect } = checkedOptions('inference', optionsSchema, options)
  return endpoint('inference', async (context, req, res) => {
    context.route ??= '/inference'
    onlyPost(req)
    const body = parseWith(inferenceRequest, await jsonBody(req))
    const input: GenerateInput = {
      messages: [{ role: 'user', content: body.prompt }],
      ...(body.max_tokens === undefined ? {} : { maxOutputTokens: body.max_tokens }),
      ...(body.temperature === undefined ? {} : { temperature: body.temperature }),
    }
    const { result, target } = await invoke(context, req, res, service, 'generate', body.model, input, onDisconnect)
    const answer: InferenceResponse = {
      response: result.output.text,
      model: target.model,
      prompt_tokens: promptTokens(result.usage),
      completion_tokens: completionTokens(result.usage),
      estimated_cost_usd: context.costNanoUsd === undefined ? null : usdNumber(context.costNanoUsd),
      duration_ms: elapsedMs(context),
      request_id: context.id,
      cached: false,
    }
    sendJson(res, 200, answer)
  })
}

/**
 * What `cache` makes of a stored answer of {@link inference}: the same words and token counts, its own `request_id` and duration, `cached` true
 * and a cost of 0, because nothing was sent to a model.
 *
 * @example app.use('/inference', cache({ onHit: cachedInference }))
 */
export function cachedInference(stored: unknown, context: RequestContext): InferenceResponse {
  return {
    ...(stored as InferenceResponse),
    estimated_cost_usd: 0,
    duration_ms: elapsedMs(context),
    request_id: context.id,
    cached: true,
  }
}

function elapsedMs(context: RequestContext): number {
  return roundedMs(performance.now() - context.startedAt)
}
