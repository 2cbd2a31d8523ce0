import type { IncomingMessage } from 'node:http'
import { addressKey } from '../http/client-address.js'
import { looksLikeApiKey, parseApiKey } from '../stores/api-key.js'
import type { Change, IdentityStore } from '../stores/identity-store.js'
import type { AccessTokens } from './access-tokens.js'
import type { Ask } from './ask-within.js'
import type { ClientThrottle } from './client-throttle.js'
import { type Client, invalidClient } from './oauth-client.js'
import type { OAuthAnswer, OAuthRequest } from './oauth-endpoint.js'
import { type TokenRefusal, tokenDelay, tokenRefusal } from './token-refusal.js'

interface RevocationOptions {
  readonly store: Pick<IdentityStore, 'digestsOf' | 'findRefreshToken' | 'revokeToken'>
  readonly ask: Ask
  readonly tokens: AccessTokens
  readonly authenticate: (req: IncomingMessage, form: OAuthRequest['form']) => Promise<Client | TokenRefusal>
  readonly throttle: ClientThrottle
  readonly addressOf: (req: IncomingMessage) => string
  readonly refreshTokenMs: number
  readonly now: () => number
}

/** The longest life of an access token. */
const longestAccessMs = 86_400_000

const notYours = tokenRefusal('invalid_grant', 'The token was not made for this client.', { code: 'forbidden' })
const done: OAuthAnswer = {}

/**
 * Ends a token (RFC 7009): a refresh token with all that came out of the same login, an access token alone. A token that is unknown, or over, has ended already: 200.
 */
export function tokenRevocation(options: RevocationOptions) {
  const { store, ask, tokens, authenticate, throttle, addressOf, refreshTokenMs, now } = options

  const changeBy = ({ req, context }: OAuthRequest, actor: Change['actor']): Change => ({
    action: 'token.revoke',
    at: now(),
    actor,
    address: addressOf(req),
    requestId: context.id,
  })

  const endLogin = async (request: OAuthRequest, client: Client, id: string, token: string) => {
    const address = addressKey(addressOf(request.req))
    const waitMs = await throttle.wait(address)
    if (waitMs > 0) return tokenDelay('rate_limited', 'Too many wrong tokens: wait, then try again.', waitMs)
    const found = await ask(() => store.findRefreshToken(id, store.digestsOf(token), now()))
    if (found === undefined) {
      await throttle.count(address)
      return done
    }
    const { tenant, family, username, clientId } = found
    const own = client.kind === 'key' ? client.record.tenant === tenant : client.id === clientId
    if (!own) return notYours
    // As long as the youngest of the family can live.
    const until = now() + refreshTokenMs + longestAccessMs
    const actor = client.kind === 'key' ? actorOf(client) : { tenant, subject: username, method: 'refresh_token' }
    await ask(() => store.revokeToken({ id: family, tenant, until }, changeBy(request, actor)))
    return done
  }

  return async (request: OAuthRequest): Promise<OAuthAnswer | TokenRefusal> => {
    const { req, form } = request
    const token = form.get('token')
    if (token === undefined) return tokenRefusal('invalid_request', 'Missing: token.')
    const client = await authenticate(req, form)
    if ('status' in client) return client
    const parsed = parseApiKey(token)
    if (parsed?.kind === 'refresh') return endLogin(request, client, parsed.id, token)
    if (client.kind !== 'key') return invalidClient()
    if (parsed !== undefined || looksLikeApiKey(token)) {
      return tokenRefusal('unsupported_token_type', 'API keys are not revoked here.')
    }
    const claims = await tokens.verify(token)
    if (claims === undefined) return done
    const { jti = '', exp = 0 } = claims
    const { tenant } = client.record
    if (claims['tenant'] !== tenant) return notYours
    // A minute more, for clocks that are late.
    const revoked = { id: jti, tenant, until: exp * 1000 + 60_000 }
    await ask(() => store.revokeToken(revoked, changeBy(request, actorOf(client))))
    return done
  }
}

function actorOf({ id, record }: Extract<Client, { kind: 'key' }>): Change['actor'] {
  return { tenant: record.tenant, subject: record.subject, method: 'api-key', keyId: id }
}
