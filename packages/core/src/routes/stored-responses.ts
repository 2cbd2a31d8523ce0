import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { allowedMethods } from '../http/allowed-methods.js'
import { endpoint, type Handler } from '../http/handler.js'
import { dispatching } from '../http/record-usage.js'
import { noStore, sendBytes } from '../http/respond.js'
import { queryParams } from '../http/route-template.js'
import { openEventStream } from '../http/sse.js'
import type { InferenceService } from '../inference/service.js'
import { notStored, type StoredRequest } from '../inference/stored.js'
import { checkedOptions } from '../options.js'
import { segmentsAfter } from './admin-request.js'
import { serviceSchema } from './invoke.js'
import { type ResponseIds, responseIdsSchema, type Stored } from './response-ids.js'
import { sealedBytes } from './sealed-bytes.js'

export interface StoredResponsesOptions {
  readonly service: InferenceService
  /** The same as those of `responses`. */
  readonly ids: ResponseIds
  /** A comment is sent after this much silence in a stream, in milliseconds; 0: never. Default 15,000. */
  readonly heartbeatMs?: number
}

const schema = z.strictObject({
  service: serviceSchema,
  ids: responseIdsSchema,
  heartbeatMs: z.int().min(0).default(15_000),
})

/** What may be asked of a response, by what follows its id in the path. */
const questions = {
  '': {
    allowed: allowedMethods('GET', 'DELETE'),
    query: ['include', 'include[]', 'stream', 'starting_after', 'include_obfuscation'],
  },
  cancel: { allowed: allowedMethods('POST'), query: [] },
  input_items: { allowed: allowedMethods('GET'), query: ['include', 'include[]', 'after', 'limit', 'order'] },
} as const

/**
 * `GET` and `DELETE /v1/responses/{id}`, `GET /v1/responses/{id}/input_items` and `POST /v1/responses/{id}/cancel`: what an upstream has stored, for whoever was given the id. Asks the account that has it, hands its bytes on with ids for this
 * caller, and records no usage: nothing was used.
 *
 * Everyone who has a say is asked about the model that answered then, as for a new call to it.
 *
 * Reads the slots `principal`, `deadline`, `signal`; writes `route`, `dialect`, `target`.
 *
 * @throws TollgateError `not_found`, the same for ids of others, unknown ones and those that the upstream has forgotten; `invalid_request`, `method_not_allowed`, `upstream_*`, `timeout`; `config_invalid` for wrong options
 * @example app.use('/v1/responses', storedResponses({ service, ids }))
 */
export function storedResponses(options: StoredResponsesOptions): Handler {
  const { service, ids, heartbeatMs } = checkedOptions('storedResponses', schema, options)
  return endpoint('storedResponses', async (context, req, res) => {
    const [id, what = '', ...more] = segmentsAfter('responses', req)
    context.dialect ??= 'openai'
    if (id === undefined || more.length > 0 || !Object.hasOwn(questions, what)) {
      throw new TollgateError('not_found', 'There is nothing at this path.')
    }
    context.route ??= `/v1/responses/{id}${what === '' ? '' : `/${what}`}`
    const { allowed, query } = questions[what as keyof typeof questions]
    allowed(req)
    const stored = ids.open(context.principal, id)
    if (stored === undefined) throw notStored()
    const { account, target } = stored
    const request = requestOf(req, stored, what, query, (item) => ids.open(context.principal, item))
    const asked = dispatching(context, target)
    if (asked !== undefined) await asked
    const { signal, id: requestId, deadline } = context
    const call = { signal, requestId, ...(deadline === undefined ? {} : { deadline }) }
    const answer = await service.stored(account, request, call)
    const relay = sealedBytes(ids, context.principal, target, id)
    if ('bytes' in answer) {
      sendBytes(res, 200, relay({ ...answer, account }, false), 'application/json; charset=utf-8', noStore)
      return
    }
    const events = openEventStream(res, { heartbeatMs })
    for await (const bytes of answer.events) {
      if (!events.isOpen()) break
      await events.send(relay({ bytes, account }, true))
    }
    events.end()
  })
}

/** The question in the upstream's words, with what of the query belongs to it. */
function requestOf(
  req: IncomingMessage,
  { account, id }: Stored,
  what: string,
  wanted: readonly string[],
  opened: (item: string) => Stored | undefined,
): StoredRequest {
  const method = req.method === 'HEAD' ? 'GET' : (req.method as StoredRequest['method'])
  const query = new URLSearchParams()
  for (const [name, value] of method === 'GET' ? queryParams(req) : []) {
    if (!wanted.includes(name)) continue
    const item = name === 'after' ? opened(value) : undefined
    if (name === 'after' && item?.account !== account) throw notStored('query.after')
    query.append(name, item?.id ?? value)
  }
  const path = `/responses/${encodeURIComponent(id)}${what === '' ? '' : `/${what}`}`
  const stream = query.get('stream') === 'true'
  return { method, path: query.size === 0 ? path : `${path}?${query}`, stream }
}
