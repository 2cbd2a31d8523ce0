import type { IncomingMessage } from 'node:http'
import type { JWTPayload } from 'jose'
import { generationOf, standsFor } from '../middleware/auth-own-token.js'
import { commonScopes, coversScope } from '../scopes.js'
import { parseApiKey } from '../stores/api-key.js'
import type { ApiKeyRecord, UserRecord } from '../stores/directory.js'
import type { IdentityStore } from '../stores/identity-store.js'
import type { Introspection } from '../wire/authorization-server.js'
import type { AccessTokens } from './access-tokens.js'
import type { Ask } from './ask-within.js'
import { type Client, invalidClient } from './oauth-client.js'
import type { OAuthAnswer, OAuthRequest } from './oauth-endpoint.js'
import { findUser } from './password-login.js'
import { type TokenRefusal, tokenRefusal } from './token-refusal.js'

interface IntrospectionOptions {
  readonly store: Pick<IdentityStore, 'digestsOf' | 'findApiKey' | 'findUser' | 'findRefreshToken' | 'isTokenRevoked'>
  readonly ask: Ask
  readonly tokens: AccessTokens
  readonly issuer: string
  readonly authenticate: (req: IncomingMessage, form: OAuthRequest['form']) => Promise<Client | TokenRefusal>
  readonly now: () => number
}

const inactive: Introspection = { active: false }

/**
 * Is a token good now, and what does it give (RFC 7662)? For clients whose key has the scope `introspect` or `admin`; of other tenants than their own for `admin:all`
 * only. Scopes are those that its holder still has.
 */
export function tokenIntrospection(options: IntrospectionOptions) {
  const { store, ask, tokens, issuer, authenticate, now } = options

  const isRevoked = (...ids: unknown[]) => {
    const known = ids.filter((id) => typeof id === 'string')
    return ask(() => store.isTokenRevoked(known))
  }

  /** The key or user that a token stands for. */
  const holderOf = async ({ sub = '', key_id: keyId }: JWTPayload): Promise<ApiKeyRecord | UserRecord | undefined> => {
    if (typeof keyId !== 'string') return findUser(store, ask, sub)
    return (await ask(() => store.findApiKey(keyId))) ?? undefined
  }

  const ofAccessToken = async (token: string, mayRead: (tenant: unknown) => boolean): Promise<Introspection> => {
    const claims = await tokens.verify(token)
    if (claims === undefined || !mayRead(claims['tenant'])) return inactive
    const { jti, sid, sub = '', exp = 0, iat = 0, aud, scope, client_id: clientId } = claims
    if (await isRevoked(jti, sid)) return inactive
    const holder = await holderOf(claims)
    if (holder === undefined || holder.tenant !== claims['tenant'] || !standsFor(claims, holder, now())) return inactive
    const claimed = typeof scope === 'string' ? scope.split(' ') : []
    return {
      active: true,
      ...scopeOf(commonScopes(claimed, holder.scopes)),
      ...(typeof clientId === 'string' ? { client_id: clientId } : undefined),
      username: sub,
      token_type: 'Bearer',
      exp,
      iat,
      sub,
      ...(aud === undefined ? undefined : { aud }),
      iss: issuer,
      ...(jti === undefined ? undefined : { jti }),
      tenant: holder.tenant,
    }
  }

  const ofRefreshToken = async (id: string, token: string, mayRead: (tenant: unknown) => boolean) => {
    const found = await ask(() => store.findRefreshToken(id, store.digestsOf(token), now()))
    if (found === undefined || !mayRead(found.tenant) || (await isRevoked(found.family))) return inactive
    const { username, tenant, clientId, scopes, createdAt, expiresAt } = found
    const user = await findUser(store, ask, username)
    if (user?.tenant !== tenant || user.disabled === true) return inactive
    if (generationOf(user) !== generationOf(found)) return inactive
    const answer: Introspection = {
      active: true,
      ...scopeOf(commonScopes(scopes, user.scopes)),
      ...(clientId === undefined ? undefined : { client_id: clientId }),
      username,
      exp: Math.floor(expiresAt / 1000),
      iat: Math.floor(createdAt / 1000),
      sub: username,
      iss: issuer,
      tenant,
    }
    return answer
  }

  return async ({ req, form }: OAuthRequest): Promise<OAuthAnswer | TokenRefusal> => {
    const token = form.get('token')
    if (token === undefined) return tokenRefusal('invalid_request', 'Missing: token.')
    const client = await authenticate(req, form)
    if ('status' in client) return client
    if (client.kind !== 'key') return invalidClient()
    const { scopes, tenant } = client.record
    if (!['introspect', 'admin', 'admin:all'].some((scope) => coversScope(scopes, scope))) {
      const refused = { status: 403, code: 'insufficient_scope' } as const
      return tokenRefusal('unauthorized_client', 'The key lacks the scope introspect.', refused)
    }
    const mayRead = (other: unknown) => other === tenant || coversScope(scopes, 'admin:all')
    const parsed = parseApiKey(token)
    if (parsed?.kind === 'refresh') return { body: await ofRefreshToken(parsed.id, token, mayRead) }
    return { body: await ofAccessToken(token, mayRead) }
  }
}

function scopeOf(scopes: readonly string[]) {
  return scopes.length === 0 ? undefined : { scope: scopes.join(' ') }
}
