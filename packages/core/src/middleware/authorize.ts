import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { type Handler, middleware } from '../http/handler.js'
import { onDispatch } from '../http/record-usage.js'
import { mayUseModel } from '../model-lists.js'
import { checkedOptions } from '../options.js'
import { coversScope, isScope, missingScopes } from '../scopes.js'
import { challenges, challengeText, insufficientScope } from './auth-challenge.js'

export interface AuthorizeOptions {
  /** All of these scopes are needed. Default: none. */
  readonly scopes?: readonly string[]
  /** One of these is needed. Default: none. */
  readonly anyOf?: readonly string[]
  /** Named in challenges. Default `api`. */
  readonly realm?: string
}

const scopeList = z
  .array(z.string().refine(isScope, 'must be one scope: visible ASCII without blanks, " and \\'))
  .min(1)

const schema = z.strictObject({
  scopes: scopeList.optional(),
  anyOf: scopeList.optional(),
  realm: z.string().regex(challengeText, 'must be printable ASCII without " and \\').default('api'),
})

/**
 * May this caller do this? Checks the scopes of the slot `principal`, and every model before it is sent to: one that is not in each of the principal's lists of
 * models is refused, whatever name it was asked for by (an alias, a default, a fallback).
 *
 * @throws TollgateError `unauthenticated` without a principal; `insufficient_scope` (403, naming what is missing); `model_not_allowed` (403) when a route
 * dispatches. The factory: `config_invalid`.
 * @example app.use('/v1/chat', auth({ directory }), authorize({ scopes: ['chat'] }))
 */
export function authorize(options: AuthorizeOptions = {}): Handler {
  const { scopes = [], anyOf, realm } = checkedOptions('authorize', schema, options)
  const { missing: unauthenticated } = challenges(realm)
  return middleware('authorize', (context) => {
    const { principal } = context
    if (principal === undefined) throw unauthenticated()
    const missing = missingScopes(principal.scopes, scopes)
    if (missing.length > 0) throw insufficientScope(realm, missing)
    if (anyOf !== undefined && !anyOf.some((scope) => coversScope(principal.scopes, scope))) {
      throw insufficientScope(realm, anyOf)
    }
    const { models } = principal
    if (models === undefined) return
    onDispatch(context, (_context, target) => {
      if (mayUseModel(models, target)) return
      throw new TollgateError(
        'model_not_allowed',
        `The model ${target.model} is not among those these credentials may use.`,
      )
    })
  })
}
