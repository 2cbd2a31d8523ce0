import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { allowedMethods } from '../http/allowed-methods.js'
import { jsonBody } from '../http/body.js'
import { endpoint, type Handler } from '../http/handler.js'
import { noStore, sendJson } from '../http/respond.js'
import type { LimitStanding, Limits } from '../middleware/limits.js'
import { formatUsd } from '../money.js'
import { checkedOptions } from '../options.js'
import { parseWith } from '../wire/parse.js'
import type { LimitCheck, LimitCheckRequest, LimitObject } from '../wire/usage.js'
import { segmentsAfter } from './admin-request.js'

export interface LimitsRouteOptions {
  /** The middleware whose rules are told. */
  readonly limits: Limits
}

const schema = z.strictObject({
  limits: z.custom<Limits>(
    (value) => typeof (value as Limits | undefined)?.standing === 'function',
    'must be a limits()',
  ),
})

const checkRequest = z.strictObject({
  model: z.string().min(1).max(256).optional(),
  input_tokens: z.int().min(0),
  max_output_tokens: z.int().min(0).optional(),
}) satisfies z.ZodType<LimitCheckRequest>

const onlyGet = allowedMethods('GET')
const onlyPost = allowedMethods('POST')

/**
 * `GET /v1/limits`: how the caller stands with each rule. `POST /v1/limits/check`: would a request of a size pass, and by which rules not. Both take nothing.
 *
 * Reads the slot `principal`; writes `route`.
 *
 * @throws TollgateError `invalid_request`, `method_not_allowed`, `not_found`, `store_unavailable`
 * @example app.use('/v1/limits', auth({ directory }), limitsRoute({ limits: limiter }))
 */
export function limitsRoute(options: LimitsRouteOptions): Handler {
  const { limits } = checkedOptions('limitsRoute', schema, options)
  return endpoint('limitsRoute', async (context, req, res) => {
    const [action, ...more] = segmentsAfter('limits', req)
    if (action === undefined) {
      context.route ??= '/v1/limits'
      onlyGet(req)
      const data = (await limits.standing(req, context)).map(limitObject)
      return sendJson(res, 200, { object: 'list', data, has_more: false, next_cursor: null }, noStore)
    }
    if (action !== 'check' || more.length > 0)
      throw new TollgateError('not_found', 'There is /v1/limits and /v1/limits/check.')
    context.route ??= '/v1/limits/check'
    onlyPost(req)
    const {
      model,
      input_tokens: inputTokens,
      max_output_tokens: maxOutputTokens,
    } = parseWith(checkRequest, await jsonBody(req))
    const { allowed, refusedBy } = await limits.check(req, context, { model, inputTokens, maxOutputTokens })
    return sendJson(
      res,
      200,
      { object: 'limit_check', allowed, refused_by: [...refusedBy] } satisfies LimitCheck,
      noStore,
    )
  })
}

function limitObject({
  rule,
  measure,
  windowMs,
  allowed,
  limit,
  used,
  held,
  remaining,
  resetMs,
  shadow,
}: LimitStanding): LimitObject {
  const shown = (units: number) =>
    measure === 'money' ? formatUsd(Math.floor(units)) : Math.round(units * 1000) / 1000
  return {
    object: 'limit',
    name: rule,
    measure,
    window_ms: windowMs,
    allowed,
    limit: shown(limit),
    used: shown(used),
    held: shown(held),
    remaining: shown(remaining),
    reset_ms: resetMs,
    shadow,
  }
}
