import { Pool } from 'undici'
import { z } from 'zod'
import { configInvalid, isTollgateError, TollgateError } from '../errors.js'
import { deadlines as makeDeadlines } from '../inference/deadlines.js'
import type { Call } from '../inference/model.js'
import { exchange, type UpstreamResponse } from './http-exchange.js'
import { type BodyPatch, bodyPatch, compilePatches } from './json-patch.js'

/** What every provider over HTTP lets one set. */
export interface HttpOptions {
  /** Where its API begins, version included: `https://api.openai.com/v1`. */
  readonly baseUrl: string
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>>
  /** Changes of the body of every request that asks a model: for fields that are needed here and known nowhere else. */
  readonly patchBody?: readonly BodyPatch[]
  /** Connections to the upstream, one request each at a time. Default 256. */
  readonly maxConnections?: number
  /** Requests that may wait for a connection; more are refused with `overloaded`. Default 1,024. */
  readonly maxQueued?: number
  /** Milliseconds to connect. Default 10,000. */
  readonly connectTimeoutMs?: number
  /** Milliseconds from the sent request to the head of the answer. Default 300,000. */
  readonly headersTimeoutMs?: number
  /** Milliseconds of silence within an answer. Default 120,000. */
  readonly bodyIdleTimeoutMs?: number
  /** Bytes of one answer, streams included. Default 67,108,864 (64 MiB). */
  readonly maxResponseBytes?: number
}

/** The zod shape of {@link HttpOptions}, for the strict object of a provider's own. */
export const httpOptionsShape = {
  baseUrl: z.string(),
  headers: z.record(z.string(), z.string()).optional(),
  patchBody: z.array(bodyPatch).optional(),
  maxConnections: z.int().min(1).optional(),
  maxQueued: z.int().min(0).optional(),
  connectTimeoutMs: z.int().min(1).optional(),
  headersTimeoutMs: z.int().min(1).optional(),
  bodyIdleTimeoutMs: z.int().min(1).optional(),
  maxResponseBytes: z.int().min(1).optional(),
}

export interface UpstreamRequest {
  readonly method: 'GET' | 'POST'
  /** Below the base URL, with its slash: `/chat/completions`. */
  readonly path: string
  readonly accept: string
  /** JSON text, or bytes as they come: of these `headers` has the type, and the length if it is known. */
  readonly body?: string | AsyncIterable<Uint8Array>
  /** Of this request alone, in lower case; they replace the provider's own. */
  readonly headers?: Readonly<Record<string, string>>
}

/** An upstream's HTTP API. */
export interface Upstream {
  readonly name: string
  /**
   * Sends a request; resolves with the head of the answer, whatever its status.
   *
   * @throws TollgateError `upstream_failed`, `upstream_timeout`, `upstream_invalid`, `upstream_credentials`, `overloaded`, the signal's reason
   */
  send(request: UpstreamRequest, call: Pick<Call, 'signal' | 'requestId'>): Promise<UpstreamResponse>
  /** The body as it is to be sent. */
  patched(body: Record<string, unknown>): Record<string, unknown>
  /** Words of the upstream for people: one line, bounded, no secret of ours and nothing that looks like a key. */
  presentable(text: string): string
  /** Closes all connections at once. */
  close(): Promise<void>
}

/** What proves to an upstream who we are. */
export interface Proof {
  /** Names and values in turn. */
  readonly headers: readonly string[]
  /** What of them nobody else may see. */
  readonly secret: string
}

/** Asked for every request, with its whole URL, as it will be sent; a promise only where something has to be fetched, or worked out. */
export type Credentials = (request: UpstreamRequest, url: string) => Proof | Promise<Proof>

/**
 * The transport of a provider: a pool of connections to one origin.
 *
 * @param name the provider's, for errors
 * @throws TollgateError `config_invalid` for a base URL that is none
 */
export function upstream(name: string, options: HttpOptions, credentials?: Credentials): Upstream {
  const base = baseOf(name, options.baseUrl)
  const prefix = base.pathname.replace(/\/+$/, '')
  const { search } = base
  const withQuery = (path: string) => (path.includes('?') ? `${path}${search.replace('?', '&')}` : `${path}${search}`)
  const maxInFlight = (options.maxConnections ?? 256) + (options.maxQueued ?? 1024)
  const maxResponseBytes = options.maxResponseBytes ?? 67_108_864
  const pool = new Pool(base.origin, {
    connections: options.maxConnections ?? 256,
    connectTimeout: options.connectTimeoutMs ?? 10_000,
    headersTimeout: options.headersTimeoutMs ?? 300_000,
    bodyTimeout: options.bodyIdleTimeoutMs ?? 120_000,
  })
  const waiting = makeDeadlines()
  const own = Object.entries(options.headers ?? {}).flat()
  const without = (replaced: Readonly<Record<string, string>>) =>
    Object.entries(options.headers ?? {})
      .filter(([field]) => !Object.hasOwn(replaced, field.toLowerCase()))
      .flat()
  const secrets = new Set<string>()
  for (const [header, value] of Object.entries(options.headers ?? {})) {
    if (value !== '' && /key|auth|token|secret|cookie/i.test(header)) secrets.add(bare(value))
  }
  const changing = new Set<string>()
  let lastSecret = ''
  let inFlight = 0
  const onDone = () => {
    inFlight -= 1
  }

  const sendWith = (
    { method, path, accept, body, headers: extra }: UpstreamRequest,
    { signal, requestId }: Pick<Call, 'signal' | 'requestId'>,
    proof: readonly string[],
  ): Promise<UpstreamResponse> => {
    if (inFlight >= maxInFlight) {
      const message = `Too many requests wait for the upstream ${name}.`
      return Promise.reject(new TollgateError('overloaded', message, { retryAfterMs: 1000 }))
    }
    inFlight += 1
    const headers = [
      'accept',
      accept,
      'x-request-id',
      requestId,
      ...(extra === undefined ? own : without(extra)),
      ...proof,
    ]
    if (extra !== undefined) for (const [field, value] of Object.entries(extra)) headers.push(field, value)
    if (typeof body === 'string') headers.push('content-type', 'application/json')
    return exchange({
      upstream: name,
      dispatcher: pool,
      // Its types leave out what its documentation says of bodies: any iterable will do.
      request: { method, path: `${prefix}${withQuery(path)}`, headers, body: (body ?? null) as string | null },
      signal,
      maxResponseBytes,
      deadlines: waiting,
      onDone,
    })
  }

  const prove = (request: UpstreamRequest, call: Pick<Call, 'signal' | 'requestId'>, { headers, secret }: Proof) => {
    if (secret !== lastSecret) {
      lastSecret = secret
      remember(changing, secret)
    }
    return sendWith(request, call, headers)
  }

  const patched = compilePatches(options.patchBody ?? [])

  return {
    name,
    patched,
    send(request, call) {
      if (credentials === undefined) return sendWith(request, call, [])
      try {
        const proof = credentials(request, `${base.origin}${prefix}${withQuery(request.path)}`)
        return proof instanceof Promise
          ? proof.then(
              (fetched) => prove(request, call, fetched),
              (cause: unknown) => Promise.reject(noCredentials(name, cause)),
            )
          : prove(request, call, proof)
      } catch (cause) {
        return Promise.reject(noCredentials(name, cause))
      }
    },
    presentable(text) {
      let shown = text
      for (const secret of [...secrets, ...changing]) shown = shown.replaceAll(secret, '[redacted]')
      return shown
        .replace(/\b(?:sk|pk|rk|key)-[\w*.-]{6,}|Bearer\s+\S+/g, '[redacted]')
        .replace(/[\p{Cc}\s]+/gu, ' ')
        .trim()
        .slice(0, 500)
    },
    async close() {
      waiting.close()
      await pool.destroy()
    },
  }
}

/** Keeps a few of the last, for credentials that change. */
function remember(secrets: Set<string>, secret: string): void {
  const oldest = secrets.size >= 4 ? secrets.values().next().value : undefined
  if (oldest !== undefined) secrets.delete(oldest)
  if (secret !== '') secrets.add(secret)
}

function bare(value: string): string {
  return value.replace(/^(Bearer|Basic) /, '')
}

function noCredentials(name: string, cause: unknown): TollgateError {
  if (isTollgateError(cause)) return cause
  return new TollgateError(
    'upstream_credentials',
    `The server has no credentials for the upstream ${name} at the moment.`,
    {
      cause,
    },
  )
}

function baseOf(name: string, baseUrl: string): URL {
  const base = URL.parse(baseUrl)
  if (base === null || (base.protocol !== 'https:' && base.protocol !== 'http:')) {
    throw configInvalid(`${name}: baseUrl must be an http or https URL, such as https://api.openai.com/v1.`)
  }
  if (base.username !== '' || base.password !== '') {
    throw configInvalid(`${name}: baseUrl must not hold credentials; give apiKey or headers instead.`)
  }
  return base
}
