import { isScope, missingScopes } from '../scopes.js'
import { type TokenRefusal, tokenRefusal } from './token-refusal.js'

/**
 * The scopes of a token: those that were asked for, if `has` gives each of them; all of `has` if none were.
 *
 * @param asked the parameter `scope` (RFC 6749, 3.3)
 */
export function requestedScopes(has: readonly string[], asked: string | undefined): readonly string[] | TokenRefusal {
  if (asked === undefined) return has
  const wanted = [...new Set(asked.split(' '))]
  if (asked.length > 4096 || !wanted.every(isScope)) {
    return tokenRefusal('invalid_scope', 'Write scopes with one space between them.')
  }
  if (missingScopes(has, wanted).length === 0) return wanted
  return tokenRefusal('invalid_scope', 'Not all of these scopes can be had.', { code: 'insufficient_scope' })
}
