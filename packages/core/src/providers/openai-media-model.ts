import { TollgateError } from '../errors.js'
import type { Call, Model, ModelStream } from '../inference/model.js'
import type { MediaInput, Part } from '../inference/task.js'
import type { Tokenizer } from '../tokenizer.js'
import { addUsage, noUsage, type Usage } from '../usage.js'
import { usageFromMedia } from '../wire/openai-media.js'
import type { UpstreamResponse } from './http-exchange.js'
import type { Upstream, UpstreamRequest } from './http-kit.js'
import { type JsonWatch, jsonWatch } from './json-watch.js'
import { estimatedMedia, kindOf } from './media-usage.js'
import { errorInSuccess, isJson, isOfType, requireSuccess } from './openai-answer.js'
import { parsedJson } from './parsed-json.js'
import { requestJson } from './request-json.js'
import { eventSplitter, parseEvents } from './sse-decoder.js'

export interface MediaModelOptions {
  readonly upstream: Upstream
  readonly id: string
  readonly tokenizer: Tokenizer
}

/** An answer in JSON or in words that is no longer than this is had whole before it is handed on. */
const maxHeldBytes = 65_536

/** Streams in OpenAI's words end in one that says so; those of others, which may just end, are not held to it. */
const openAiEvent = /"type":\s*"(?:image_generation|image_edit|transcript|speech)\./
const terminalEvent = /"type":\s*"[a-z_.]+\.(?:completed|done)"/

/** A model behind OpenAI's endpoints for pictures and sound. What is sent and answered passes as bytes. */
export function mediaModel(options: MediaModelOptions): Model<'media'> {
  return {
    task: 'media',
    provider: options.upstream.name,
    id: options.id,
    async run(input, call) {
      const chunks: Uint8Array[] = []
      let contentType = ''
      for await (const part of mediaStream(options, input, call)) {
        if (part.type === 'head') contentType = part.contentType
        else if (part.type === 'bytes') chunks.push(part.bytes)
        else return { output: { contentType, bytes: Buffer.concat(chunks) }, usage: part.usage }
      }
      throw new TollgateError('internal', 'The answer had no end.')
    },
    stream: (input, call) => mediaStream(options, input, call),
    inputUsage: (input) => estimatedMedia(input, { sentBytes: 0, pictures: 0 }, options.tokenizer),
  }
}

interface Streaming extends MediaModelOptions {
  readonly input: MediaInput
  readonly call: Call
  readonly watched: JsonWatch
  reported: Usage | undefined
  sentBytes: number
  /** From when the whole request is on its way until the upstream turns it down. */
  charged: boolean
}

function mediaStream(options: MediaModelOptions, input: MediaInput, call: Call): ModelStream<'media'> {
  const streaming: Streaming = {
    ...options,
    input,
    call,
    watched: jsonWatch(new Set(['usage', 'error']), 'data'),
    reported: undefined,
    sentBytes: 0,
    charged: false,
  }
  return { usageSoFar: () => usageSoFar(streaming), [Symbol.asyncIterator]: () => partsOf(streaming) }
}

function usageSoFar({ reported, charged, input, sentBytes, watched, tokenizer }: Streaming): Usage {
  if (reported !== undefined) return reported
  return charged ? estimatedMedia(input, { sentBytes, pictures: watched.items() }, tokenizer) : noUsage
}

/** One function for all streams, as of `generate-stream`: one made for each would keep its request until the next full collection. So are all that are here. */
async function* partsOf(streaming: Streaming): AsyncGenerator<Part<'media'>> {
  const { upstream, call } = streaming
  let response: UpstreamResponse
  try {
    response = await upstream.send(requestOf(streaming), call)
    await requireSuccess(upstream, response, () => true, 'an answer')
  } catch (error) {
    streaming.charged &&= call.signal.aborted
    throw error
  }
  streaming.charged = true
  const { 'content-type': contentType = 'application/octet-stream' } = response.headers
  try {
    yield* isOfType(contentType, 'text/event-stream')
      ? eventsOf(streaming, response, contentType)
      : bytesOf(streaming, response, contentType)
    yield { type: 'end', finishReason: 'stop', usage: usageSoFar(streaming) }
  } finally {
    response.destroy()
  }
}

function requestOf(streaming: Streaming): UpstreamRequest {
  const { upstream, id } = streaming
  const { path, body } = streaming.input
  const request = { model: id, method: 'POST', path, accept: '*/*' } as const
  if ('json' in body) {
    streaming.charged = true
    return { ...request, body: requestJson(upstream.patched({ ...body.json, model: id })) }
  }
  const { bytes, length } = body.form.send(id)
  const headers = {
    'content-type': body.form.contentType,
    ...(length === undefined ? {} : { 'content-length': String(length) }),
  }
  return { ...request, headers, body: sentOnce(streaming, bytes) }
}

/** Nothing is kept of what was sent: once it has begun, nobody may try again. */
async function* sentOnce(streaming: Streaming, bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { attempts } = streaming.call
  if (attempts !== undefined) attempts.left = 0
  for await (const chunk of bytes) {
    streaming.sentBytes += chunk.length
    yield chunk
  }
  streaming.charged = true
}

function learn(streaming: Streaming, usage: unknown, error: unknown): void {
  if (error !== undefined && error !== null) throw errorInSuccess(streaming.upstream, error)
  const { reported, input } = streaming
  const told = usageFromMedia(usage, kindOf(input))
  // Of a stream that makes several, each tells its own.
  if (told !== undefined) streaming.reported = reported === undefined ? told : addUsage(reported, told)
}

async function* eventsOf(
  streaming: Streaming,
  response: UpstreamResponse,
  contentType: string,
): AsyncGenerator<Part<'media'>> {
  const { upstream } = streaming
  // An event may hold a picture. What bounds it is the bound of the whole answer.
  const splitter = eventSplitter(upstream.name, Number.POSITIVE_INFINITY)
  let begun = false
  let isOpenAi = false
  let isDone = false
  for (let chunk = await response.read(); chunk !== undefined; chunk = await response.read()) {
    const bytes = splitter.push(chunk)
    if (bytes === undefined) continue
    for (const { data } of parseEvents(bytes)) {
      isOpenAi ||= openAiEvent.test(data)
      isDone ||= data === '[DONE]' || terminalEvent.test(data)
      if (!/"(?:usage|error)"/.test(data)) continue
      const { usage, error } = (parsedJson(data) ?? {}) as { usage?: unknown; error?: unknown }
      learn(streaming, usage, error)
    }
    if (!begun) yield { type: 'head', contentType, length: undefined, isWhole: false }
    begun = true
    yield { type: 'bytes', bytes }
  }
  if (splitter.rest().length > 0 || !begun || (isOpenAi && !isDone)) {
    throw new TollgateError('upstream_invalid', `The upstream ${upstream.name} ended the stream before its end.`)
  }
}

async function* bytesOf(
  streaming: Streaming,
  response: UpstreamResponse,
  contentType: string,
): AsyncGenerator<Part<'media'>> {
  const { watched } = streaming
  const { 'content-length': given } = response.headers
  const length = given === undefined ? undefined : Number(given)
  const isWatched = isJson(contentType)
  let held: Buffer[] | undefined = isWatched || /^\s*text\//i.test(contentType) ? [] : undefined
  let heldBytes = 0
  if (held === undefined) yield { type: 'head', contentType, length, isWhole: false }
  for (let chunk = await response.read(); chunk !== undefined; chunk = await response.read()) {
    if (isWatched) watched.push(chunk)
    if (held === undefined) yield { type: 'bytes', bytes: chunk }
    else {
      held.push(chunk)
      heldBytes += chunk.length
      if (heldBytes <= maxHeldBytes) continue
      yield { type: 'head', contentType, length, isWhole: false }
      yield { type: 'bytes', bytes: Buffer.concat(held) }
      held = undefined
    }
  }
  learn(streaming, watched.field('usage'), watched.field('error'))
  if (held === undefined) return
  yield { type: 'head', contentType, length: heldBytes, isWhole: true }
  yield { type: 'bytes', bytes: Buffer.concat(held) }
}
