import type { ChatChunk, ChatRequest, ChatResponse } from '@tollgate/core/wire/openai-chat'
import { jsonBody, type Sender } from './call.js'
import { createChatAssembly } from './chat-assembly.js'
import { createItemStream, readStream, type StreamStatus } from './event-stream.js'
import type { CallOptions } from './options.js'
import { isObject } from './response-body.js'
import { type ResponseInfo, rememberResponse } from './response-info.js'

/**
 * A chat answer as it is written. The request is sent when reading begins, and it is read once: by `for await`, by `text()` or by `final()`.
 * Leaving the loop closes the connection, and so stops the model. Whatever goes wrong is thrown to the reader, with `partial` in it;
 * an end that the server did not announce is an error too.
 */
export interface ChatStream extends AsyncIterable<ChatChunk> {
  /** `waiting` until it is read, `open` from its first chunk; `cancelled` if its reader left. */
  readonly status: StreamStatus
  /** What came with the answer; there once the stream is open. */
  readonly response: ResponseInfo | undefined
  /** The text of the first choice, piece by piece. */
  text(): AsyncIterable<string>
  /** Reads to the end and puts the whole answer together. After the stream has been read, the same without reading. */
  final(): Promise<ChatResponse>
}

export function createChatStream(sender: Sender, request: ChatRequest, options: CallOptions = {}): ChatStream {
  const assembly = createChatAssembly()
  const stream = createItemStream<ChatChunk>(
    sender,
    {
      path: '/v1/chat/completions',
      contentType: 'application/json',
      // The usage comes with a last chunk, if it is asked for: a stream that says nothing of its cost helps nobody.
      body: jsonBody(request, ({ stream_options, ...rest }) => {
        return { ...rest, stream: true, stream_options: { include_usage: true, ...stream_options } }
      }),
    },
    {
      name: 'chat.stream',
      isItem: ({ choices }) => Array.isArray(choices) && choices.every(isObject),
      begins: hasContent,
      // Only `[DONE]` does: the usage comes after what looks like the end.
      ends: () => false,
      add: assembly.add,
      get text() {
        return assembly.text
      },
    },
    options,
  )

  return readStream(stream, {
    async *text() {
      for await (const chunk of stream.take()) {
        const piece = chunk.choices.find((choice) => choice.index === 0)?.delta?.content
        if (piece) yield piece
      }
    },
    async final() {
      await stream.finish()
      const { response } = stream
      return rememberResponse(assembly.response(response?.requestId), response)
    },
  })
}

/** Something of the answer itself, and not only the role or a filter's notes. */
function hasContent({ choices }: ChatChunk): boolean {
  return choices.some(({ delta, finish_reason }) => {
    if (finish_reason) return true
    return Object.entries(delta ?? {}).some(([name, value]) => name !== 'role' && value !== null && value !== '')
  })
}
