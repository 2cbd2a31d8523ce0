import type { IncomingMessage } from 'node:http'
import type { JSONWebKeySet } from 'jose'
import { addressKey, checkTrustProxy, clientAddress } from '../http/client-address.js'
import type { Handler } from '../http/handler.js'
import { checkedOptions } from '../options.js'
import type { Change } from '../stores/identity-store.js'
import { accessTokens } from './access-tokens.js'
import { askWithin } from './ask-within.js'
import { authorizationServerMetadata, publicDocument } from './authorization-metadata.js'
import { type AuthorizationServerOptions, authorizationServerOptions } from './authorization-server-options.js'
import { clientThrottle } from './client-throttle.js'
import { hashQueue } from './hash-queue.js'
import { clientAuthentication } from './oauth-client.js'
import { oauthEndpoint } from './oauth-endpoint.js'
import { passwordLogin } from './password-login.js'
import { type RotateOptions, signingKeyRing } from './signing-key-ring.js'
import { tokenGrants } from './token-grants.js'
import { tokenIntrospection } from './token-introspection.js'
import { tokenRevocation } from './token-revocation.js'
import { tokenThrottle } from './token-throttle.js'

export type { AuthorizationServerOptions, RotateOptions }

/** Give it to `auth` as `tokens`. */
export interface AuthorizationServer {
  readonly issuer: string
  readonly audience: string | readonly string[]
  /** `POST {basePath}/token`. */
  readonly token: Handler
  /** `POST {basePath}/revoke`. */
  readonly revoke: Handler
  /** `POST {basePath}/introspect`. */
  readonly introspect: Handler
  /** `GET /.well-known/jwks.json`. */
  readonly jwks: Handler
  /** `GET /.well-known/oauth-authorization-server`. */
  readonly metadata: Handler
  /** The public keys of its tokens. The same object as long as they are the same. Rejects with `identity_unavailable`. */
  keySet(): Promise<JSONWebKeySet>
  /**
   * Makes a new signing key. It is published now and signs in 15 minutes; the earlier ones are believed until the last of their tokens is over. With `retireNow` it signs
   * now, and nothing signed before is believed: for a key that got out.
   *
   * @returns its kid, or that of another process that was faster
   * @throws TollgateError `identity_unavailable`, `conflict`
   */
  rotateSigningKey(by?: Change, options?: RotateOptions): Promise<string>
  /** Resolves when tokens can be made. Rejects with `identity_unavailable`. */
  ready(): Promise<void>
}

/**
 * An OAuth 2.0 authorization server for API keys and users: tokens for clients (`client_credentials`, RFC 6749, 4.4), for users if you switch it on (`password`), from refresh
 * tokens; revocation (RFC 7009), introspection (RFC 7662), metadata (RFC 8414). Access tokens are JSON Web Tokens (RFC 9068), signed with ES256 by keys that the store keeps and
 * that are replaced by themselves. Answers 503, never 401, when the store is down.
 *
 * @throws TollgateError `config_invalid` from the factory; handlers give `client_closed` to `next` when the caller leaves
 * @example
 * const server = authorizationServer({ store, issuer: 'https://api.acme.com', audience: 'https://api.acme.com' })
 * app.post('/v1/token', server.token)
 */
export function authorizationServer(options: AuthorizationServerOptions): AuthorizationServer {
  const settings = checkedOptions('authorizationServer', authorizationServerOptions, options)
  const { store, issuer, audience, passwordGrant, trustProxy, proxyHeader, limits, basePath, now } = settings
  const { environment, realm, maxBodyBytes, decoyHash, failuresPerAddress: perAddress } = settings
  checkTrustProxy(trustProxy)
  if (passwordGrant) warnOnce()

  const ask = askWithin(settings.directoryTimeoutMs)
  const ring = signingKeyRing({ store, ask, maxAgeMs: settings.signingKeyDays * 86_400_000, now })
  const tokens = accessTokens({ ring, issuer, audience, lifetimeSeconds: settings.accessTokenSeconds, now })
  const addressOf = (req: IncomingMessage) => clientAddress(req, { trustProxy, proxyHeader })
  const throttle = clientThrottle({ limits, perClient: settings.failuresPerClient, perAddress })
  const authenticate = clientAuthentication({ store, ask, environment, throttle, addressOf, realm, now })
  const attempt = tokenThrottle({
    limits,
    perUser: settings.failuresPerUser,
    perAddress,
    addressOf: (req) => addressKey(addressOf(req)),
  })
  const queue = hashQueue({ maxConcurrent: settings.maxConcurrentHashes, maxQueued: settings.maxQueuedHashes })
  const logIn = passwordGrant ? passwordLogin({ store, ask, queue, decoyHash, attempt, now }) : undefined
  const refreshTokenMs = settings.refreshTokenSeconds * 1000
  const shared = { store, ask, tokens, authenticate, throttle, addressOf, refreshTokenMs, now }

  const formEndpoint = (name: string, answer: Parameters<typeof oauthEndpoint>[0]['answer']) =>
    oauthEndpoint({ name, route: `${basePath}/${name}`, maxBodyBytes, answer })
  const metadata = authorizationServerMetadata({ issuer, basePath, passwordGrant })

  return {
    issuer,
    audience,
    token: formEndpoint('token', tokenGrants({ ...shared, logIn })),
    revoke: formEndpoint('revoke', tokenRevocation(shared)),
    introspect: formEndpoint('introspect', tokenIntrospection({ ...shared, issuer })),
    jwks: publicDocument('jwks', '/.well-known/jwks.json', 'application/jwk-set+json', () => ring.keySet()),
    metadata: publicDocument(
      'metadata',
      '/.well-known/oauth-authorization-server',
      'application/json; charset=utf-8',
      () => metadata,
    ),
    keySet: () => ring.keySet(),
    rotateSigningKey: (by, rotation) => ring.rotate(by, rotation),
    async ready() {
      await ring.signer()
    },
  }
}

let warned = false

function warnOnce(): void {
  if (warned) return
  warned = true
  process.emitWarning(
    'authorizationServer: the password grant hands passwords to clients, and RFC 9700 (2.4) says it must not be used. Prefer client_credentials, or tokens of ' +
      'an identity provider (auth({ jwt: { jwksUrl } })).',
    { code: 'TOLLGATE_PASSWORD_GRANT' },
  )
}
