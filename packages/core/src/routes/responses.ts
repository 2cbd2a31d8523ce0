import { z } from 'zod'
import type { Handler } from '../http/handler.js'
import type { NativeRequest } from '../inference/task.js'
import { checkedOptions } from '../options.js'
import { type ResponsesRequest, responsesRequest } from '../wire/openai-responses.js'
import { type GenerateRouteOptions, generateRoute } from './generate-route.js'
import { type ResponseIds, responseIdsSchema } from './response-ids.js'
import { responsesAnswer, responsesEvents } from './responses-answer.js'
import { fromResponsesRequest } from './responses-input.js'
import { sealedBytes } from './sealed-bytes.js'
import { type SharedKind, sharedKinds, withStoredReferences } from './stored-references.js'
import { storedTokens } from './stored-tokens.js'

export { type SharedKind, sharedKinds } from './stored-references.js'

export interface ResponsesOptions extends GenerateRouteOptions {
  /** Ids of what upstreams store, each for one tenant. Default: ids pass as the upstream gives them out, and what names one of them is refused. */
  readonly ids?: ResponseIds
  /** What of the upstream's account callers may name as it is, all of them alike. Default: nothing. */
  readonly allow?: readonly SharedKind[]
}

const schema = z.looseObject({
  ids: responseIdsSchema.optional(),
  allow: z.array(z.enum(sharedKinds)).default([]),
})

/**
 * `POST /v1/responses`, OpenAI's Responses API, streaming included. A model whose upstream has it gets the caller's body and answers with its own bytes; for others both are put into its shape here.
 *
 * Upstreams store responses, all callers' in one account. With `ids` each caller may go on from its own (`previous_response_id`, items by their id), at the upstream that has them; whatever else names something of the account is refused unless `allow` says otherwise.
 *
 * Reads the slots `principal`, `deadline`, `signal`; writes `route`, `dialect`, `target`, `usage`, `upstreamMs`.
 *
 * @throws TollgateError as `chatCompletions`; `not_found` for an id that was not given to the caller
 * @example app.post('/v1/responses', responses({ service, ids: responseIds({ secrets }) }))
 */
export function responses(options: ResponsesOptions): Handler {
  const { ids: _ids, allow: _allow, ...routeOptions } = options
  const { ids, allow: kinds } = checkedOptions('responses', schema, options)
  const allow: ReadonlySet<SharedKind> = new Set(kinds)
  const lengths = storedTokens()
  return generateRoute<ResponsesRequest>(
    {
      name: 'responses',
      route: '/v1/responses',
      dialect: 'openai',
      native: 'openai-responses',
      request: responsesRequest,
      input(body, raw, context) {
        const native = withStoredReferences(raw, { ids, principal: context.principal, allow })
        if (!goesOn(native, raw)) return fromResponsesRequest(body, native)
        return fromResponsesRequest(body, { ...native, storedTokens: lengths.expect(context, previousOf(native)) })
      },
      answer: responsesAnswer,
      events: responsesEvents,
      ...(ids === undefined
        ? undefined
        : {
            relay: (context, target, body) =>
              sealedBytes(ids, context.principal, target, body.previous_response_id, lengths.remember(context)),
          }),
    },
    routeOptions,
  )
}

/** The response that is gone on from, by the upstream's own id. */
function previousOf({ account, body: { previous_response_id: id } }: Omit<NativeRequest, 'dialect'>) {
  return account === undefined || typeof id !== 'string' ? undefined : { account, id }
}

/** Does the upstream read something that is stored there? Thoughts alone are no conversation. */
function goesOn(native: Omit<NativeRequest, 'dialect'>, { conversation, prompt }: NativeRequest['body']): boolean {
  return native.isBridgeable === false || (conversation ?? prompt ?? undefined) !== undefined
}
