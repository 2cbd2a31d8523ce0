import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { addressKey } from '../http/client-address.js'
import { generationOf, keyVersionOf } from '../middleware/auth-own-token.js'
import { commonScopes } from '../scopes.js'
import { drawApiKey, parseApiKey } from '../stores/api-key.js'
import type { UserRecord } from '../stores/directory.js'
import type { IdentityStore, RefreshToken } from '../stores/identity-store.js'
import type { IssuedToken } from '../wire/authorization-server.js'
import type { AccessTokens } from './access-tokens.js'
import type { Ask } from './ask-within.js'
import type { ClientThrottle } from './client-throttle.js'
import { type Client, invalidClient } from './oauth-client.js'
import type { OAuthAnswer, OAuthRequest } from './oauth-endpoint.js'
import { findUser } from './password-login.js'
import { requestedScopes } from './requested-scopes.js'
import { type TokenRefusal, tokenDelay, tokenRefusal } from './token-refusal.js'

interface GrantOptions {
  readonly store: Pick<
    IdentityStore,
    'findUser' | 'digestsOf' | 'findRefreshToken' | 'redeemRefreshToken' | 'saveRefreshToken'
  >
  readonly ask: Ask
  readonly tokens: AccessTokens
  readonly authenticate: (req: IncomingMessage, form: OAuthRequest['form']) => Promise<Client | TokenRefusal>
  readonly throttle: ClientThrottle
  readonly addressOf: (req: IncomingMessage) => string
  /** Without it there is no password grant. */
  readonly logIn: ((request: OAuthRequest, client: Client) => Promise<UserRecord | TokenRefusal>) | undefined
  readonly refreshTokenMs: number
  readonly now: () => number
}

type Granted = Promise<OAuthAnswer | TokenRefusal>

/** The `client_id` of a token whose client has not said who it is: RFC 9068 wants one. */
const namelessClient = 'public'

const invalidGrant = tokenRefusal('invalid_grant', 'The refresh token is not valid.', { code: 'invalid_credentials' })

/** What the token endpoint grants (RFC 6749, 4.3, 4.4 and 6). */
export function tokenGrants(options: GrantOptions) {
  const { store, ask, tokens, authenticate, throttle, addressOf, logIn, refreshTokenMs, now } = options

  /** A refresh token, and how it is kept. */
  const drawRefreshToken = (of: Omit<RefreshToken, 'id' | 'digest' | 'createdAt' | 'expiresAt'>, createdAt: number) => {
    const text = drawApiKey('refresh')
    const id = parseApiKey(text)?.id ?? ''
    const digest = store.digestsOf(text)[0] ?? ''
    const token: RefreshToken = { ...of, id, digest, createdAt, expiresAt: createdAt + refreshTokenMs }
    return { text, token }
  }

  const accessFor = (user: UserRecord, scopes: readonly string[], family: string, clientId = namelessClient) =>
    tokens.issue({
      subject: user.username,
      tenant: user.tenant,
      scopes,
      clientId,
      sid: family,
      loginGeneration: generationOf(user),
    })

  const clientCredentials = async ({ form }: OAuthRequest, client: Client): Granted => {
    if (client.kind !== 'key') return invalidClient()
    const { id, record, secret } = client
    const scopes = requestedScopes(record.scopes, form.get('scope'))
    if ('status' in scopes) return scopes
    const { subject, tenant } = record
    const until = Math.min(record.expiresAt ?? Number.POSITIVE_INFINITY, secret.expiresAt ?? Number.POSITIVE_INFINITY)
    const holder = { subject, tenant, scopes, clientId: id, keyId: id, keyVersion: keyVersionOf(secret), until }
    return answerOf(await tokens.issue(holder), scopes)
  }

  const password = async (request: OAuthRequest, client: Client): Granted => {
    if (logIn === undefined) return unsupportedGrant()
    const user = await logIn(request, client)
    if ('status' in user) return user
    const scopes = requestedScopes(user.scopes, request.form.get('scope'))
    if ('status' in scopes) return scopes
    const family = randomUUID()
    const { username, tenant } = user
    const line = {
      family,
      tenant,
      username,
      scopes,
      // As the user was read: a password that is changed meanwhile ends this login too.
      loginGeneration: generationOf(user),
      ...(client.id === undefined ? undefined : { clientId: client.id }),
    }
    const refresh = drawRefreshToken(line, now())
    const access = await accessFor(user, scopes, family, client.id)
    await ask(() => store.saveRefreshToken(refresh.token))
    return answerOf(access, scopes, refresh.text)
  }

  /** The answer to a refresh token that is good; `undefined` if it is not. */
  const refreshed = async (sent: string, client: Client, asked: string | undefined) => {
    const parsed = parseApiKey(sent)
    if (parsed?.kind !== 'refresh') return undefined
    const digests = store.digestsOf(sent)
    const at = now()
    const redeem = (successor: (used: RefreshToken) => RefreshToken) =>
      ask(() => store.redeemRefreshToken(parsed.id, digests, at, successor))
    const found = await ask(() => store.findRefreshToken(parsed.id, digests, at))
    if (found === undefined) {
      // One that was used before ends its family.
      await redeem((used) => drawRefreshToken(lineOf(used), at).token)
      return undefined
    }
    if (found.clientId !== client.id) return undefined
    const user = await findUser(store, ask, found.username)
    if (user === undefined || user.disabled === true || user.tenant !== found.tenant) return undefined
    if (generationOf(found) !== generationOf(user)) return undefined
    const scopes = requestedScopes(commonScopes(found.scopes, user.scopes), asked)
    // Before it is used up: a client that asked for too much may ask again.
    if ('status' in scopes) return scopes
    const access = await accessFor(user, scopes, found.family, found.clientId)
    // The next one gives what this one gave, however little was asked for now (RFC 6749, 6).
    const next = drawRefreshToken(lineOf(found), at)
    const used = await redeem(() => next.token)
    return used === undefined ? undefined : answerOf(access, scopes, next.text)
  }

  const refresh = async ({ req, form }: OAuthRequest, client: Client): Granted => {
    const sent = form.get('refresh_token')
    if (sent === undefined) return tokenRefusal('invalid_request', 'Missing: refresh_token.')
    const address = addressKey(addressOf(req))
    const waitMs = await throttle.wait(address)
    if (waitMs > 0) return tokenDelay('rate_limited', 'Too many wrong tokens: wait, then try again.', waitMs)
    const answer = await refreshed(sent, client, form.get('scope'))
    if (answer !== undefined) return answer
    await throttle.count(address)
    return invalidGrant
  }

  const unsupportedGrant = () => {
    const known = ['client_credentials', 'refresh_token', ...(logIn === undefined ? [] : ['password'])]
    return tokenRefusal('unsupported_grant_type', `The grant_type is one of ${known.join(', ')}.`)
  }

  return async (request: OAuthRequest): Granted => {
    const { req, form } = request
    const grantType = form.get('grant_type')
    if (grantType === undefined) return tokenRefusal('invalid_request', 'Missing: grant_type.')
    const client = await authenticate(req, form)
    if ('status' in client) return client
    if (grantType === 'client_credentials') return clientCredentials(request, client)
    if (grantType === 'refresh_token') return refresh(request, client)
    return grantType === 'password' ? password(request, client) : unsupportedGrant()
  }
}

function answerOf(
  { token, expiresIn }: { token: string; expiresIn: number },
  scopes: readonly string[],
  refreshToken?: string,
): OAuthAnswer {
  const body: IssuedToken = {
    access_token: token,
    token_type: 'Bearer',
    expires_in: expiresIn,
    ...(scopes.length === 0 ? undefined : { scope: scopes.join(' ') }),
    ...(refreshToken === undefined ? undefined : { refresh_token: refreshToken }),
  }
  return { body }
}

/** What a refresh token hands on to the next. */
function lineOf({ family, tenant, username, clientId, scopes, loginGeneration = 0 }: RefreshToken) {
  return { family, tenant, username, scopes, loginGeneration, ...(clientId === undefined ? undefined : { clientId }) }
}
