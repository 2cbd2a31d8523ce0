import type { ChatChunk, ChatRequest, ChatResponse } from '@tollgate/core/wire/openai-chat'
import { type Answer, type CallSpec, jsonBody, type Sender, send } from './call.js'
import { createChatAssembly } from './chat-assembly.js'
import { streamErrorOf } from './error-body.js'
import { attachPartial, isTollgateClientError, StreamError, UsageError } from './errors.js'
import { type EventSource, openEventSource } from './event-source.js'
import { type CallOptions, callOptionNames, checkOptions } from './options.js'
import { isObject, rejectBody } from './response-body.js'
import { type ResponseInfo, rememberResponse } from './response-info.js'

/**
 * A chat answer as it is written. The request is sent when reading begins, and it is read once: by `for await`, by `text()` or by `final()`.
 * Leaving the loop closes the connection, and so stops the model. Whatever goes wrong is thrown to the reader, with `partial` in it;
 * an end that the server did not announce is an error too.
 */
export interface ChatStream extends AsyncIterable<ChatChunk> {
  /** `waiting` until it is read, `open` from its first chunk; `cancelled` if its reader left. */
  readonly status: 'waiting' | 'open' | 'completed' | 'cancelled' | 'failed'
  /** What came with the answer; there once the stream is open. */
  readonly response: ResponseInfo | undefined
  /** The text of the first choice, piece by piece. */
  text(): AsyncIterable<string>
  /** Reads to the end and puts the whole answer together. After the stream has been read, the same without reading. */
  final(): Promise<ChatResponse>
}

/** Chunks without content to wait for before the stream is passed on: until then a failure is still worth another attempt. */
const maxHeldChunks = 8

interface OpenStream {
  readonly answer: Answer
  readonly events: EventSource
  /** Chunks that came while the stream was being opened. */
  readonly held: readonly ChatChunk[]
  readonly isOver: boolean
}

export function createChatStream(sender: Sender, request: ChatRequest, options: CallOptions = {}): ChatStream {
  checkOptions('chat.stream', options, callOptionNames)
  const spec: CallSpec = {
    method: 'POST',
    path: '/v1/chat/completions',
    accept: 'text/event-stream',
    contentType: 'application/json',
    // The usage comes with a last chunk, if it is asked for: a stream that says nothing of its cost helps nobody.
    body: jsonBody(request, ({ stream_options, ...rest }) => {
      return { ...rest, stream: true, stream_options: { include_usage: true, ...stream_options } }
    }),
  }
  const assembly = createChatAssembly()
  let status: ChatStream['status'] = 'waiting'
  let taken = false
  let failure: unknown
  let response: ResponseInfo | undefined
  let lastEventId = ''

  async function open(answer: Answer): Promise<OpenStream> {
    const { body, headers } = answer.response
    if (body === null || !/^text\/event-stream\s*(?:;|$)/i.test(headers.get('content-type') ?? '')) {
      throw await rejectBody(answer.response, answer.scope)
    }
    answer.lift()
    const events = openEventSource(answer.response, body, answer.scope, sender.settings)
    const held: ChatChunk[] = []
    try {
      for (;;) {
        const chunk = await nextChunk(events, answer.info.requestId)
        if (chunk === undefined) return { answer, events, held, isOver: true }
        held.push(chunk)
        if (hasContent(chunk) || held.length === maxHeldChunks) return { answer, events, held, isOver: false }
      }
    } catch (error) {
      events.release(false)
      throw error
    }
  }

  /** `undefined` once the end is announced. */
  async function nextChunk(events: EventSource, requestId: string | undefined): Promise<ChatChunk | undefined> {
    for (;;) {
      const event = await events.next()
      if (event === undefined) {
        const message = 'The stream ended before its end was announced: the answer is cut off.'
        throw new StreamError('truncated', 'stream_truncated', message, true, { requestId })
      }
      lastEventId = event.id
      if (event.data === '[DONE]') return undefined
      if (event.data === '') continue
      const body = parse(event.data)
      if (event.event === 'error' || (isObject(body) && body['error'])) throw streamErrorOf(body, requestId)
      if (body === undefined) {
        // The parser's own message would quote the answer.
        const message = `Event ${assembly.chunkCount + 1} of the stream is not JSON.`
        throw new StreamError('invalid', 'stream_invalid', message, false, { requestId })
      }
      // Events that are not chunks are somebody's extension: not an error, and not ours to pass on.
      if (isChunk(body)) return body
    }
  }

  async function* read(): AsyncGenerator<ChatChunk, void, undefined> {
    let stream: OpenStream | undefined
    let isOver = false
    try {
      stream = await send(sender, spec, options, open, true)
      status = 'open'
      response = stream.answer.info
      for (const chunk of stream.held) {
        assembly.add(chunk)
        yield chunk
      }
      isOver = stream.isOver
      while (!isOver) {
        const chunk = await nextChunk(stream.events, response.requestId)
        if (chunk === undefined) isOver = true
        else {
          assembly.add(chunk)
          yield chunk
        }
      }
      status = 'completed'
    } catch (error) {
      status = 'failed'
      failure = error
      if (stream !== undefined && isTollgateClientError(error)) {
        stream.answer.blame(error)
        const { text, chunkCount } = assembly
        attachPartial(error, { text, chunkCount, ...(lastEventId === '' ? {} : { lastEventId }) })
      }
      throw error
    } finally {
      if (status === 'open' || status === 'waiting') status = 'cancelled'
      stream?.events.release(isOver)
      stream?.answer.close()
    }
  }

  function take(): AsyncGenerator<ChatChunk, void, undefined> {
    if (taken)
      throw new UsageError('stream_consumed', 'A stream is read once. Its whole answer is in final(), after that.')
    taken = true
    return read()
  }

  return {
    get status() {
      return status
    },
    get response() {
      return response
    },
    [Symbol.asyncIterator]: take,
    async *text() {
      for await (const chunk of take()) {
        const piece = chunk.choices.find((choice) => choice.index === 0)?.delta?.content
        if (piece) yield piece
      }
    },
    async final() {
      if (status === 'failed') throw failure
      if (status !== 'completed') {
        for await (const _ of take()) {
          // The assembly has them.
        }
      }
      const whole = assembly.response(response?.requestId)
      return response === undefined ? whole : rememberResponse(whole, response)
    },
  }
}

function parse(data: string): unknown {
  try {
    return JSON.parse(data)
  } catch {
    return undefined
  }
}

function isChunk(body: unknown): body is ChatChunk {
  return isObject(body) && Array.isArray(body['choices']) && body['choices'].every(isObject)
}

/** Something of the answer itself, and not only the role or a filter's notes. */
function hasContent({ choices }: ChatChunk): boolean {
  return choices.some(({ delta, finish_reason }) => {
    if (finish_reason) return true
    return Object.entries(delta ?? {}).some(([name, value]) => name !== 'role' && value !== null && value !== '')
  })
}
