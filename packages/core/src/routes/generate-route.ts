import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { allowedMethods } from '../http/allowed-methods.js'
import { type BodyOptions, jsonBody } from '../http/body.js'
import type { Dialect, RequestContext } from '../http/context.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendBytes, sendJson } from '../http/respond.js'
import type { InferenceService } from '../inference/service.js'
import type { GenerateDialect, GenerateInput, Result } from '../inference/task.js'
import { checkedOptions } from '../options.js'
import type { Target } from '../target.js'
import { parseWith } from '../wire/parse.js'
import {
  bodyOptionsSchema,
  invoke,
  invokeStream,
  type OnDisconnect,
  onDisconnectSchema,
  serviceSchema,
} from './invoke.js'
import { type EncodePart, type RelayBytes, sendStream, untouched } from './send-stream.js'

/** Options of every route that generates text. */
export interface GenerateRouteOptions {
  readonly service: InferenceService
  readonly body?: BodyOptions
  /** A comment (of Anthropic's API: a `ping` event) is sent after this much silence in a stream, in milliseconds; 0: never. Default 15,000. */
  readonly heartbeatMs?: number
  /** What becomes of a call whose caller leaves. Default `abort`: it is stopped, and what it used is estimated. `drain`: it comes to its end, and is billed by what the provider says. */
  readonly onDisconnect?: OnDisconnect
}

/** What an API has of its own. */
export interface GenerateSurface<Body> {
  /** The middleware's, for what is wrong with its options. */
  readonly name: string
  readonly route: string
  /** How its errors are worded. */
  readonly dialect: Dialect
  /** Answers in these words are relayed byte for byte. */
  readonly native: GenerateDialect
  readonly request: z.ZodType<Body>
  readonly input: (
    body: Body,
    raw: Readonly<Record<string, unknown>>,
    context: RequestContext,
    req: IncomingMessage,
  ) => GenerateInput
  /** What becomes of an upstream's own bytes on their way to the caller. Default: nothing. */
  readonly relay?: (context: RequestContext, target: Target, body: Body) => RelayBytes
  /** An answer in the words of this API. */
  readonly answer: (requestId: string, model: string, result: Result<'generate'>, body: Body) => object
  /** The same in parts. */
  readonly events: (requestId: string, model: string, body: Body) => EncodePart
  /** After the last event. */
  readonly end?: string
  /** What goes out after silence. Default: a comment. */
  readonly heartbeat?: string
  /** The response header field in which this API's clients look for the request's id. */
  readonly requestIdHeader?: string
}

const onlyPost = allowedMethods('POST')

const schema = z.strictObject({
  service: serviceSchema,
  body: bodyOptionsSchema.optional(),
  heartbeatMs: z.int().min(0).optional(),
  onDisconnect: onDisconnectSchema,
})

/** A route that answers requests of one API by whichever model they name. */
export function generateRoute<
  Body extends { readonly model?: string | undefined; readonly stream?: boolean | null | undefined },
>(surface: GenerateSurface<Body>, options: GenerateRouteOptions): Handler {
  const { name, route, dialect, native: own, request, input: toInput, answer, events, requestIdHeader } = surface
  const { heartbeatMs, onDisconnect } = checkedOptions(name, schema, options)
  const { service, body: bodyOptions } = options
  const { end, heartbeat, relay = () => untouched } = surface
  return endpoint(name, async (context, req, res) => {
    context.route ??= route
    context.dialect ??= dialect
    onlyPost(req)
    if (requestIdHeader !== undefined) res.setHeader(requestIdHeader, context.id)
    const raw = await jsonBody(req, bodyOptions)
    const body = parseWith(request, raw)
    const input = toInput(body, raw as Readonly<Record<string, unknown>>, context, req)
    // What is stored is read, and paid for, with every request that goes on from it. Only the upstream can count it.
    const leaving = input.native?.account === undefined ? onDisconnect : 'drain'
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
            encode: events(context.id, answered.target.model, body),
            relay: relay(context, answered.target, body),
            end,
            heartbeat,
            heartbeatMs,
            onDisconnect: leaving,
          }),
        leaving,
      )
      return
    }
    const { result, target } = await invoke(context, req, res, service, 'generate', body.model, input, leaving)
    const { native } = result.output
    if (native?.dialect === own) {
      sendBytes(res, 200, relay(context, target, body)(native, false), 'application/json; charset=utf-8')
    } else sendJson(res, 200, answer(context.id, target.model, result, body))
  })
}
