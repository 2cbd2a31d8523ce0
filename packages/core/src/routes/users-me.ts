import { allowedMethods } from '../http/allowed-methods.js'
import { endpoint, type Handler } from '../http/handler.js'
import { noStore, sendJson } from '../http/respond.js'
import { challenges } from '../middleware/auth-challenge.js'
import type { Me } from '../wire/token.js'

const onlyGet = allowedMethods('GET')
const { missing } = challenges('api')

/**
 * `GET /v1/users/me`: whom the gate takes the caller for. Reads the slot `principal`; never tells the credentials.
 *
 * @throws TollgateError `unauthenticated` without a principal, `method_not_allowed`
 * @example app.get('/v1/users/me', auth({ directory }), usersMe())
 */
export function usersMe(): Handler {
  return endpoint('usersMe', (context, req, res) => {
    context.route ??= '/v1/users/me'
    onlyGet(req)
    const { principal } = context
    if (principal === undefined) throw missing()
    const me: Me = {
      tenant: principal.tenant,
      subject: principal.subject,
      method: principal.method,
      ...(principal.keyId === undefined ? undefined : { key_id: principal.keyId }),
      tier: principal.tier ?? null,
      scopes: [...principal.scopes],
      expires_at: isoTime(principal.expiresAt),
    }
    sendJson(res, 200, me, noStore)
  })
}

/** ISO 8601; `null` for no end, and for one beyond what a date can be. */
function isoTime(time: number | undefined): string | null {
  const date = new Date(time ?? Number.NaN)
  return Number.isNaN(date.getTime()) ? null : date.toISOString()
}
