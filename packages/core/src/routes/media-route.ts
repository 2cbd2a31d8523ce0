import type { IncomingMessage, ServerResponse } from 'node:http'
import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { allowedMethods } from '../http/allowed-methods.js'
import { type BodyOptions, jsonBody } from '../http/body.js'
import { expectUsage } from '../http/expected-usage.js'
import { formField, isFormType } from '../http/form-field.js'
import { endpoint, type Handler } from '../http/handler.js'
import { lingerForBody } from '../http/linger.js'
import { sendBytes, writeDrained } from '../http/respond.js'
import { type EventStream, openEventStream } from '../http/sse.js'
import type { InferenceService } from '../inference/service.js'
import type { MediaInput, MediaPath } from '../inference/task.js'
import { checkedOptions } from '../options.js'
import { expectedMedia, tellingFields } from '../providers/media-usage.js'
import { mediaRequest } from '../wire/openai-media.js'
import { parseWith } from '../wire/parse.js'
import {
  type AnsweredStream,
  bodyOptionsSchema,
  invokeStream,
  type OnDisconnect,
  onDisconnectSchema,
  serviceSchema,
} from './invoke.js'

/** Options of every route for pictures and sound. */
export interface MediaRouteOptions {
  readonly service: InferenceService
  /** For bodies in JSON; `timeoutMs` also for the model's name in a form. */
  readonly body?: BodyOptions
  /** Bytes of a form, files and all; they are streamed. A `bodyLimit` holds beside it. Default 104,857,600 (100 MiB). */
  readonly maxUploadBytes?: number
  /** Bytes of a form in which `model` has to come, unless `x-tollgate-model` names it. So much is held in memory. Default 65,536 (64 KiB). */
  readonly maxHeldBytes?: number
  /** A folder in which forms wait that have it later, behind their files, in files without a name. Default: such forms are refused. */
  readonly spoolFolder?: string
  /** A comment is sent after this much silence in an event stream, in milliseconds; 0: never. Default 15,000. */
  readonly heartbeatMs?: number
  /** What becomes of a call whose caller leaves. Default `abort`. */
  readonly onDisconnect?: OnDisconnect
}

const onlyPost = allowedMethods('POST')

const schema = z.strictObject({
  service: serviceSchema,
  body: bodyOptionsSchema.optional(),
  maxUploadBytes: z.int().min(1).default(104_857_600),
  maxHeldBytes: z.int().min(1_024).default(65_536),
  spoolFolder: z.string().min(1).optional(),
  heartbeatMs: z.int().min(0).default(15_000),
  onDisconnect: onDisconnectSchema,
})

/** A route that hands requests of one endpoint of OpenAI's on, JSON or a form, and their answers back, as bytes. */
export function mediaRoute(name: string, path: MediaPath, options: MediaRouteOptions): Handler {
  const checked = checkedOptions(name, schema, options)
  const { maxUploadBytes: maxBytes, maxHeldBytes, spoolFolder, heartbeatMs, onDisconnect } = checked
  const { service, body: bodyOptions } = options
  const timeoutMs = bodyOptions?.timeoutMs ?? 30_000

  return endpoint(name, async (context, req, res) => {
    context.route ??= `/v1${path}`
    context.dialect ??= 'openai'
    onlyPost(req)
    const send = (answered: AnsweredStream<'media'>) => sendMedia(req, res, answered, { heartbeatMs, onDisconnect })
    const ask = (
      model: string | undefined,
      body: MediaInput['body'],
      fields: ReadonlyMap<string, string> = new Map(),
    ) => {
      const input: MediaInput = { path, body }
      const { 'content-length': length } = req.headers
      const uploadBytes = length === undefined ? Math.min(maxBytes, context.maxBodyBytes ?? maxBytes) : Number(length)
      expectUsage(context, expectedMedia(input, { uploadBytes, isSized: length !== undefined, fields }))
      return invokeStream(context, req, res, service, 'media', model, input, send, onDisconnect)
    }
    if (!isFormType(req.headers['content-type'])) {
      const json = await jsonBody(req, bodyOptions)
      const { model } = parseWith(mediaRequest, json)
      await ask(model, { json: json as Readonly<Record<string, unknown>> })
      return
    }
    const header = 'x-tollgate-model'
    const notes = path.startsWith('/images/') ? tellingFields : []
    const form = await formField(req, { name: 'model', header, notes, maxHeldBytes, spoolFolder, maxBytes, timeoutMs })
    try {
      const { model } = parseWith(mediaRequest, { model: form.value })
      await ask(model, { form }, form.noted)
    } finally {
      await form.close()
    }
  })
}

interface SendOptions {
  readonly heartbeatMs: number
  readonly onDisconnect: OnDisconnect
}

/** Sends an answer on as it comes; a short one when all of it is there and paid for. */
async function sendMedia(
  req: IncomingMessage,
  res: ServerResponse,
  { parts }: AnsweredStream<'media'>,
  { heartbeatMs, onDisconnect }: SendOptions,
): Promise<void> {
  let events: EventStream | undefined
  let whole: { readonly contentType: string; bytes: Uint8Array } | undefined
  const isOpen = () => !res.writableEnded && !res.destroyed
  for await (const part of parts) {
    // Nobody reads any more; the rest is for the bill.
    if (onDisconnect === 'drain' && !isOpen()) continue
    if (part.type === 'head') {
      // An upstream may answer before it has read all of a form: nobody is to send another request behind the rest.
      if (!req.complete && req.httpVersionMajor === 1) res.setHeader('connection', 'close')
      const { contentType, length, isWhole } = part
      if (isWhole) whole = { contentType, bytes: Buffer.alloc(0) }
      else if (/^\s*text\/event-stream/i.test(contentType)) events = openEventStream(res, { heartbeatMs })
      else
        res.writeHead(200, {
          'content-type': contentType,
          ...(length === undefined ? {} : { 'content-length': length }),
        })
    } else if (part.type === 'bytes') {
      if (whole !== undefined) whole.bytes = part.bytes
      else await (events === undefined ? writeDrained(res, part.bytes) : events.send(part.bytes))
    }
    if (onDisconnect === 'abort' && !isOpen())
      throw new TollgateError('client_closed', 'The caller left before the answer was complete.')
  }
  if (!isOpen()) return
  if (!req.complete) lingerForBody(req, res)
  if (whole !== undefined) sendBytes(res, 200, whole.bytes, whole.contentType)
  else if (events !== undefined) events.end()
  else res.end()
}
