import { type Answer, type CallSpec, type Sender, send } from './call.js'
import { streamErrorOf } from './error-body.js'
import { attachPartial, isTollgateClientError, StreamError, UsageError } from './errors.js'
import { type EventSource, openEventSource } from './event-source.js'
import { type CallOptions, callOptionNames, checkOptions } from './options.js'
import { isObject, rejectBody } from './response-body.js'
import type { ResponseInfo } from './response-info.js'

export type StreamStatus = 'waiting' | 'open' | 'completed' | 'cancelled' | 'failed'

/** What one kind of stream has of its own: its items, and how they add up. */
export interface StreamKind<Item> {
  /** For errors: `chat.stream`. */
  readonly name: string
  isItem(body: Record<string, unknown>): boolean
  /** Is there something of the answer itself in it? Until then a failure is worth another attempt. */
  begins(item: Item): boolean
  add(item: Item): void
  /** May the bytes end after it, though no `[DONE]` is said? */
  ends(item: Item): boolean
  /** The text so far, for errors. */
  readonly text: string
}

/** An answer that comes as events, and is read once. */
export interface ItemStream<Item> {
  readonly status: StreamStatus
  readonly response: ResponseInfo | undefined
  /** Throws where it has been read already. */
  take(): AsyncGenerator<Item, void, undefined>
  /** Reads what is left; after it was read, nothing. Throws what ended it. */
  finish(): Promise<void>
}

/** What a reader sees of an {@link ItemStream}. */
interface ReadStream<Item> extends AsyncIterable<Item> {
  readonly status: StreamStatus
  /** What came with the answer; there once the stream is open. */
  readonly response: ResponseInfo | undefined
}

/** Items without content to wait for before the stream is passed on. */
const maxHeldItems = 8

interface OpenStream<Item> {
  readonly answer: Answer
  readonly events: EventSource
  /** Items that came while the stream was being opened. */
  readonly held: readonly Item[]
  readonly isOver: boolean
}

/** The request is sent when reading begins. */
export function createItemStream<Item>(
  sender: Sender,
  spec: Omit<CallSpec, 'accept' | 'method'>,
  kind: StreamKind<Item>,
  options: CallOptions,
): ItemStream<Item> {
  checkOptions(kind.name, options, callOptionNames)
  let status: StreamStatus = 'waiting'
  let taken = false
  let failure: unknown
  let response: ResponseInfo | undefined
  let lastEventId = ''
  let itemCount = 0
  let isWhole = false

  async function open(answer: Answer): Promise<OpenStream<Item>> {
    const { body, headers } = answer.response
    if (body === null || !/^text\/event-stream\s*(?:;|$)/i.test(headers.get('content-type') ?? '')) {
      throw await rejectBody(answer.response, answer.scope)
    }
    answer.lift()
    const events = openEventSource(answer.response, body, answer.scope, sender.settings)
    const held: Item[] = []
    isWhole = false
    try {
      for (;;) {
        const item = await nextItem(events, answer.info.requestId)
        if (item === undefined) return { answer, events, held, isOver: true }
        held.push(item)
        if (kind.begins(item) || held.length === maxHeldItems) return { answer, events, held, isOver: false }
      }
    } catch (error) {
      events.release(false)
      throw error
    }
  }

  /** `undefined` once the end is announced. */
  async function nextItem(events: EventSource, requestId: string | undefined): Promise<Item | undefined> {
    for (;;) {
      const event = await events.next()
      if (event === undefined) {
        if (isWhole) return undefined
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
        const message = `Event ${itemCount + 1} of the stream is not JSON.`
        throw new StreamError('invalid', 'stream_invalid', message, false, { requestId })
      }
      // Events that are of another kind are somebody's extension: not an error, and not ours to pass on.
      if (!isObject(body) || !kind.isItem(body)) continue
      const item = body as Item
      isWhole ||= kind.ends(item)
      return item
    }
  }

  function passOn(item: Item): Item {
    kind.add(item)
    itemCount += 1
    return item
  }

  async function* read(): AsyncGenerator<Item, void, undefined> {
    let stream: OpenStream<Item> | undefined
    let isOver = false
    try {
      stream = await send(sender, { ...spec, method: 'POST', accept: 'text/event-stream' }, options, open, true)
      status = 'open'
      response = stream.answer.info
      for (const item of stream.held) yield passOn(item)
      isOver = stream.isOver
      while (!isOver) {
        const item = await nextItem(stream.events, response.requestId)
        if (item === undefined) isOver = true
        else yield passOn(item)
      }
      status = 'completed'
    } catch (error) {
      status = 'failed'
      failure = error
      if (stream !== undefined && isTollgateClientError(error)) {
        stream.answer.blame(error)
        const { text } = kind
        attachPartial(error, { text, chunkCount: itemCount, ...(lastEventId === '' ? {} : { lastEventId }) })
      }
      throw error
    } finally {
      if (status === 'open' || status === 'waiting') status = 'cancelled'
      stream?.events.release(isOver)
      stream?.answer.close()
    }
  }

  function take(): AsyncGenerator<Item, void, undefined> {
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
    take,
    async finish() {
      if (status === 'failed') throw failure
      if (status === 'completed') return
      for await (const _ of take()) {
        // What adds them up has them.
      }
    },
  }
}

/** What a reader sees of a stream, and what its kind can do besides. */
export function readStream<Item, Own extends object>(stream: ItemStream<Item>, own: Own): ReadStream<Item> & Own {
  const read: ReadStream<Item> = {
    get status() {
      return stream.status
    },
    get response() {
      return stream.response
    },
    [Symbol.asyncIterator]: stream.take,
  }
  return Object.assign(read, own)
}

function parse(data: string): unknown {
  try {
    return JSON.parse(data)
  } catch {
    return undefined
  }
}
