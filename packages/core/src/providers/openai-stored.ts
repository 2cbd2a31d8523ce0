import { TollgateError } from '../errors.js'
import type { Call } from '../inference/model.js'
import { notStored, type StoredAnswer, type StoredRequest } from '../inference/stored.js'
import type { UpstreamResponse } from './http-exchange.js'
import type { Upstream } from './http-kit.js'
import { isJson, isOfType, requireSuccess } from './openai-answer.js'
import { eventSplitter, withoutMark } from './sse-decoder.js'

/**
 * Asks an upstream for something that it has stored, and hands its bytes on. What has failed is stored too: nothing in an answer is an error but its status.
 *
 * @throws TollgateError `not_found`, `invalid_request`, `upstream_*`, `timeout`, `client_closed`
 */
export async function askStored(
  upstream: Upstream,
  maxEventBytes: number,
  { method, path, stream }: StoredRequest,
  call: Pick<Call, 'signal' | 'requestId'>,
): Promise<StoredAnswer> {
  const accept = stream ? 'text/event-stream' : 'application/json'
  const response = await upstream.send({ method, path, accept }, call)
  if (response.status === 404) {
    response.release()
    throw notStored()
  }
  if (stream) {
    await requireSuccess(upstream, response, (type) => isOfType(type, 'text/event-stream'), 'an event stream')
    return { events: eventsOf(upstream, maxEventBytes, response) }
  }
  await requireSuccess(upstream, response, isJson, 'JSON')
  return { bytes: await response.bytes() }
}

async function* eventsOf(
  upstream: Upstream,
  maxEventBytes: number,
  response: UpstreamResponse,
): AsyncGenerator<Uint8Array> {
  const splitter = eventSplitter(upstream.name, maxEventBytes)
  let begun = false
  try {
    for (let chunk = await response.read(); chunk !== undefined; chunk = await response.read()) {
      const split = splitter.push(chunk)
      if (split === undefined) continue
      yield begun ? split : withoutMark(split)
      begun = true
    }
    if (splitter.rest().length === 0) return
    throw new TollgateError('upstream_invalid', `The upstream ${upstream.name} ended the stream within an event.`)
  } finally {
    response.destroy()
  }
}
