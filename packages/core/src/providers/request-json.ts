import { TollgateError } from '../errors.js'

/**
 * The JSON text of a request. A caller's body may hold fields that nobody looked into, nested deeper than `JSON.stringify`, which unlike
 * `JSON.parse` works on the stack, can follow.
 *
 * @throws TollgateError `invalid_request` if it is nested too deeply
 */
export function requestJson(body: object): string {
  try {
    return JSON.stringify(body)
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    throw new TollgateError('invalid_request', 'The body is nested too deeply.', { cause })
  }
}
