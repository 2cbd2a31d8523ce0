import { TollgateError } from '../errors.js'
import type { UpstreamResponse } from './http-exchange.js'
import type { Upstream } from './http-kit.js'
import { parsedJson } from './parsed-json.js'
import { withoutMark } from './sse-decoder.js'
import { answerError } from './upstream-errors.js'

/** An error answer beyond this is no message. */
const maxErrorBytes = 65_536
/** What an error says is not waited for any longer, milliseconds: its status has said what matters. */
const errorWordsMs = 1_000

/**
 * The JSON of a successful answer, with its bytes.
 *
 * @param cut called when a successful answer breaks off half way
 * @throws TollgateError for any status but 2xx, an `error` in a 200, another content type, and what is not JSON
 */
export async function jsonAnswer(
  upstream: Upstream,
  response: UpstreamResponse,
  cut: () => void = () => {},
): Promise<{ bytes: Buffer; json: object }> {
  await requireSuccess(upstream, response, isJson, 'JSON')
  let bytes: Buffer
  try {
    bytes = await response.bytes()
  } catch (error) {
    cut()
    throw error
  }
  bytes = withoutMark(bytes)
  const json = parsedJson(bytes.toString('utf8'))
  if (typeof json !== 'object' || json === null) {
    throw new TollgateError(
      'upstream_invalid',
      `The upstream ${upstream.name} answered with something that is not JSON.`,
    )
  }
  const error = toldError(json)
  if (error !== undefined) throw errorInSuccess(upstream, error)
  return { bytes, json }
}

/**
 * Throws unless the answer is a 2xx of the wanted content type, unencoded. The body is then closed.
 */
export async function requireSuccess(
  upstream: Upstream,
  response: UpstreamResponse,
  wanted: (contentType: string) => boolean,
  what: string,
): Promise<void> {
  const { status, headers } = response
  const contentType = headers['content-type'] ?? ''
  const encoding = headers['content-encoding']
  if (status >= 200 && status < 300) {
    if (wanted(contentType) && (encoding === undefined || encoding === 'identity')) return
    const beginning = await beginningOf(response)
    const error = isJson(contentType) ? toldError(parsedJson(beginning)) : undefined
    if (error !== undefined) throw errorInSuccess(upstream, error)
    const cause = new Error(`content-type ${contentType}: ${upstream.presentable(beginning).slice(0, 200)}`)
    throw new TollgateError('upstream_invalid', `The upstream ${upstream.name} did not answer with ${what}.`, { cause })
  }
  const body = parsedJson(await beginningOf(response))
  const error = errorObject(body)
  throw answerError(upstream.name, {
    status,
    headers: { ...headers, ...delayOf(error, headers) },
    ...amazonType(headers),
    ...errorFields(upstream, error),
  })
}

/** The error of an `error` object that came with a 200: in the body, or as an event of a stream. */
export function errorInSuccess(upstream: Upstream, error: unknown): TollgateError {
  const fields = errorFields(upstream, error)
  const kind = `${fields.type ?? ''} ${fields.code ?? ''}`
  // Routers of models send the status that they would have answered with.
  const told = Number(fields.code)
  const status = told >= 400 && told <= 599 ? told : statusOfKind(kind)
  if (status !== undefined) return answerError(upstream.name, { status, headers: delayOf(error, {}), ...fields })
  const cause = new Error(`${upstream.name} sent an error: ${fields.message ?? 'no message'}`)
  return new TollgateError('upstream_failed', `The upstream ${upstream.name} broke off with an error.`, { cause })
}

function statusOfKind(kind: string): number | undefined {
  if (kind.includes('authentication') || kind.includes('permission')) return 401
  if (kind.includes('rate_limit')) return 429
  return kind.includes('invalid_request') || kind.includes('context_length') ? 400 : undefined
}

export function isOfType(contentType: string, mediaType: string): boolean {
  return contentType.split(';', 1)[0]?.trim().toLowerCase() === mediaType
}

export function isJson(contentType: string): boolean {
  return /^\s*application\/([\w.-]+\+)?json\s*(;|$)/i.test(contentType)
}

/** `{ error: {…} }`; in a list as Google has it where a stream was to begin. */
function toldError(body: unknown): unknown {
  const { error } = (firstOf(body) ?? {}) as { error?: unknown }
  return error ?? undefined
}

// Bare, or `detail`, as seen from servers that speak OpenAI's API; `Message` from Amazon's front.
function errorObject(body: unknown): unknown {
  const { message, detail, Message } = (firstOf(body) ?? {}) as Readonly<Record<string, unknown>>
  return toldError(body) ?? (message === undefined ? (detail ?? Message) : body)
}

function firstOf(body: unknown): unknown {
  return Array.isArray(body) ? body[0] : body
}

/** Amazon tells the kind in a header, some with more behind a colon: `ThrottlingException:http://internal.amazon.com/…`. */
function amazonType(headers: Readonly<Record<string, unknown>>): { type?: string } {
  const type = headers['x-amzn-errortype']
  return typeof type === 'string' ? { type: type.replace(/:.*/, '') } : {}
}

/** Google tells when to come back in the body alone. */
function delayOf(error: unknown, headers: Readonly<Record<string, unknown>>): { 'retry-after'?: string } {
  const { details } = (error ?? {}) as { details?: unknown }
  if (!Array.isArray(details) || headers['retry-after'] !== undefined) return {}
  for (const detail of details) {
    const [, seconds] =
      /^(\d{1,9}(?:\.\d{1,9})?)s$/.exec(String((detail as { retryDelay?: unknown })?.retryDelay)) ?? []
    if (seconds !== undefined) return { 'retry-after': String(Math.ceil(Number(seconds))) }
  }
  return {}
}

function errorFields(upstream: Upstream, error: unknown): { message?: string; code?: string; type?: string } {
  if (typeof error === 'string') return { message: upstream.presentable(error) }
  if (typeof error !== 'object' || error === null) return {}
  const { message, code, type, status } = error as {
    message?: unknown
    code?: unknown
    type?: unknown
    status?: unknown
  }
  return {
    ...(typeof message === 'string' ? { message: upstream.presentable(message) } : {}),
    ...(typeof code === 'string' || typeof code === 'number' ? { code: String(code) } : {}),
    // Google's word for the kind is `status`.
    ...(typeof type === 'string' ? { type } : typeof status === 'string' ? { type: status } : {}),
  }
}

async function beginningOf(response: UpstreamResponse): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  const timer = setTimeout(() => response.destroy(), errorWordsMs)
  try {
    for (let chunk = await response.read(); chunk !== undefined; chunk = await response.read()) {
      chunks.push(chunk)
      length += chunk.length
      if (length > maxErrorBytes) break
    }
  } catch {
    // The head has said what matters.
  }
  clearTimeout(timer)
  response.destroy()
  return Buffer.concat(chunks).toString('utf8')
}
