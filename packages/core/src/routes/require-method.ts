import type { IncomingMessage } from 'node:http'
import { TollgateError } from '../errors.js'

/** For routes that are mounted for all methods. @throws TollgateError `method_not_allowed` */
export function requireMethod(req: IncomingMessage, ...allowed: readonly string[]): void {
  if (allowed.includes(req.method ?? '')) return
  const allow = allowed.join(', ')
  throw new TollgateError('method_not_allowed', `Use ${allow} here.`, { headers: { allow } })
}
