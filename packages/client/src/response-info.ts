import { parseRateLimit, type RateLimit } from './rate-limit.js'

/** What is known of an answer besides its data. */
export interface ResponseInfo {
  readonly status: number
  /** The id under which the server logged the request. */
  readonly requestId: string | undefined
  readonly rateLimit: RateLimit | undefined
  /** US dollars, where the server knew it before the answer began; a stream tells none. */
  readonly costUsd: number | undefined
  /** How many requests the call took, this one included; replays after a new login are not counted. */
  readonly attempts: number
  readonly headers: Headers
}

export function describeResponse(response: Response, attempts: number): ResponseInfo {
  const { status, headers } = response
  const cost = Number.parseFloat(headers.get('x-tollgate-cost-usd') ?? '')
  return {
    status,
    requestId: requestIdOf(headers),
    rateLimit: parseRateLimit(headers),
    costUsd: cost >= 0 ? cost : undefined,
    attempts,
    headers,
  }
}

export function requestIdOf(headers: Headers): string | undefined {
  return headers.get('x-request-id') ?? headers.get('request-id') ?? undefined
}

const infos = new WeakMap<object, ResponseInfo>()

/** The data stays as the server sent it: what belongs to the answer around it, if there was one, is kept beside it. */
export function rememberResponse<T extends object>(data: T, info: ResponseInfo | undefined): T {
  if (info !== undefined) infos.set(data, info)
  return data
}

/**
 * The answer that a result came with: request id, rate limits, headers, attempts. Takes whatever a method of the client resolved to; `undefined`
 * for anything else, and for the array of `predictBatch`, which comes from many answers.
 *
 * @example
 * const answer = await client.inference({ prompt })
 * console.log(responseOf(answer)?.rateLimit?.policies[0]?.remaining)
 */
export function responseOf(result: object): ResponseInfo | undefined {
  return infos.get(result)
}
