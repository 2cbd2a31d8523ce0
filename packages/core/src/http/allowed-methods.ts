import type { IncomingMessage } from 'node:http'
import { TollgateError } from '../errors.js'

/**
 * For factories of routes: a check that refuses every method but these. `HEAD` goes with `GET`.
 *
 * @throws TollgateError from the check, `method_not_allowed` with `Allow`
 * @example const onlyPost = allowedMethods('POST')
 */
export function allowedMethods(...methods: readonly string[]): (req: IncomingMessage) => void {
  const allowed = new Set(methods.map((method) => method.toUpperCase()))
  if (allowed.has('GET')) allowed.add('HEAD')
  const allow = [...allowed].join(', ')
  return ({ method = '' }) => {
    if (allowed.has(method)) return
    throw new TollgateError('method_not_allowed', `${method} is not allowed here; use ${allow}.`, {
      headers: { allow },
    })
  }
}
