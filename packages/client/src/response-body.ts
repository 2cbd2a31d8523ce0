import { ConnectionError, ResponseError } from './errors.js'
import { requestIdOf } from './response-info.js'
import type { Scope } from './scope.js'

/** Enough of an error's body to read a problem with a thousand field errors. */
const maxErrorBytes = 256 * 1024
const snippetLength = 200

/** Reads a body to its end, or no further than `maxBytes`, which `whole` then says. An unread rest is cancelled, so that the socket is free. */
async function readText(response: Response, maxBytes: number, scope: Scope): Promise<{ text: string; whole: boolean }> {
  if (response.body === null) return { text: '', whole: true }
  const reader: ReadableStreamDefaultReader<Uint8Array> = response.body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  let byteCount = 0
  let done = false
  try {
    while (!done) {
      const step = await scope.guard(reader.read())
      done = step.done
      if (step.value === undefined) continue
      byteCount += step.value.byteLength
      if (byteCount > maxBytes) return { text, whole: false }
      text += decoder.decode(step.value, { stream: true })
    }
    return { text: text + decoder.decode(), whole: true }
  } finally {
    if (!done) cancel(reader)
  }
}

/** Lets go of a body. Never awaited, as a cancel may wait for the other branch of a clone for ever. */
export function cancel(body: { cancel(): Promise<void> } | null): void {
  body?.cancel().catch(() => {})
}

export function isJson(headers: Headers): boolean {
  return /^application\/(?:json|[^\s;]+\+json)\s*(?:;|$)/i.test(headers.get('content-type') ?? '')
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The body of an answer that reported an error: parsed if it is JSON, else how it begins. Never throws for what it says. */
export async function readErrorBody(response: Response, scope: Scope): Promise<{ json?: unknown; snippet: string }> {
  const { text } = await readText(response, maxErrorBytes, scope)
  const snippet = text.slice(0, snippetLength)
  if (!isJson(response.headers)) return { snippet }
  try {
    return { json: JSON.parse(text), snippet }
  } catch {
    return { snippet }
  }
}

/** The text of an answer that reported success. */
export async function readPlain(response: Response, maxBytes: number, scope: Scope): Promise<string> {
  const { text, whole } = await readText(response, maxBytes, scope).catch((cause: unknown) => {
    if (scope.signal.aborted) throw cause
    throw new ConnectionError('body', 'The connection was lost while the answer arrived.', {
      requestId: requestIdOf(response.headers),
      cause,
    })
  })
  const { status } = response
  const requestId = requestIdOf(response.headers)
  if (!whole) {
    const message = `The answer is over ${maxBytes} bytes. Raise maxResponseBytes if that is expected.`
    throw new ResponseError('response_too_large', message, { status, requestId })
  }
  return text
}

/** The JSON object of an answer that reported success. */
export async function readJson(response: Response, maxBytes: number, scope: Scope): Promise<Record<string, unknown>> {
  const text = await readPlain(response, maxBytes, scope)
  let value: unknown
  if (isJson(response.headers)) {
    try {
      value = JSON.parse(text)
    } catch {
      // Not passed on as a cause: the parser's message quotes the answer.
    }
    if (isObject(value)) return value
  }
  throw unexpectedBody(response, text)
}

export async function rejectBody(response: Response, scope: Scope): Promise<ResponseError> {
  const { snippet } = await readErrorBody(response, scope).catch(() => ({ snippet: '' }))
  return unexpectedBody(response, snippet)
}

function unexpectedBody(response: Response, text: string): ResponseError {
  const kind = text === '' ? 'an empty body' : `a body of type ${response.headers.get('content-type') ?? 'unknown'}`
  const message = `The server answered ${response.status} with ${kind} that is not what was asked for. Does baseUrl point at a Tollgate server?`
  return new ResponseError('response_invalid', message, {
    status: response.status,
    requestId: requestIdOf(response.headers),
    snippet: isJson(response.headers) ? undefined : text.slice(0, snippetLength),
  })
}
