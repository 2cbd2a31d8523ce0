import type { SpeechRequest } from '@tollgate/core/wire/openai-audio'
import { type Answer, jsonBody, type Sender, send } from './call.js'
import { ConnectionError, isTollgateClientError, ResponseError, TimeoutError } from './errors.js'
import type { CallOptions } from './options.js'
import { cancel, isJson, rejectBody } from './response-body.js'
import { type ResponseInfo, rememberResponse } from './response-info.js'

/** Sound as it is spoken. Read it, or cancel `body`: until then its connection is held. */
export interface Speech {
  /** `audio/mpeg` and the like. */
  readonly contentType: string
  /** Read once. Cancelling it closes the connection, and so stops the model. */
  readonly body: ReadableStream<Uint8Array>
  /** All of it, `maxResponseBytes` at most. */
  bytes(): Promise<Uint8Array>
}

/** `POST /v1/audio/speech`: resolves when the answer begins; the time limits of calls end there. */
export async function speech(sender: Sender, request: SpeechRequest, options: CallOptions): Promise<Speech> {
  const { streamIdleTimeoutMs, maxResponseBytes } = sender.settings
  const spec = {
    method: 'POST',
    path: '/v1/audio/speech',
    accept: '*/*',
    contentType: 'application/json',
    body: jsonBody(request),
  } as const
  const open = async (answer: Answer): Promise<Speech> => {
    const { response, info } = answer
    if (response.body === null || isJson(response.headers)) throw await rejectBody(response, answer.scope)
    answer.lift()
    const body = heldBody(answer, response.body, streamIdleTimeoutMs)
    const contentType = response.headers.get('content-type') ?? 'application/octet-stream'
    return rememberResponse({ contentType, body, bytes: () => allBytes(body, maxResponseBytes, info) }, info)
  }
  return send(sender, spec, options, open, true)
}

/** A body under the limits of its call: read only as it is asked for, and whatever ends it is one of the client's errors. */
function heldBody(answer: Answer, body: ReadableStream<Uint8Array>, idleMs: number): ReadableStream<Uint8Array> {
  const { scope, info } = answer
  const { requestId } = info
  const reader = body.getReader()
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const stopIdle = scope.after(idleMs, () => {
          const message = `The stream was silent for ${idleMs} ms (streamIdleTimeoutMs).`
          return new TimeoutError('idle', message, idleMs, { requestId })
        })
        try {
          const { done, value } = await scope.guard(reader.read())
          if (value !== undefined) controller.enqueue(value)
          if (!done) return
          controller.close()
          answer.close()
        } catch (cause) {
          const error = scope.signal.aborted
            ? cause
            : new ConnectionError('stream', 'The connection was lost within the stream.', { requestId, cause })
          if (isTollgateClientError(error)) answer.blame(error)
          cancel(reader)
          answer.close()
          throw error
        } finally {
          stopIdle()
        }
      },
      cancel() {
        cancel(reader)
        answer.close()
      },
    },
    { highWaterMark: 0 },
  )
}

async function allBytes(
  body: ReadableStream<Uint8Array>,
  maxBytes: number,
  { status, requestId }: ResponseInfo,
): Promise<Uint8Array> {
  const reader = body.getReader()
  const chunks: Uint8Array[] = []
  let length = 0
  for (;;) {
    const { value } = await reader.read()
    if (value === undefined) break
    chunks.push(value)
    length += value.byteLength
    if (length <= maxBytes) continue
    cancel(reader)
    const message = `The answer is over ${maxBytes} bytes. Raise maxResponseBytes if that is expected.`
    throw new ResponseError('response_too_large', message, { status, requestId })
  }
  const all = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.byteLength
  }
  return all
}
