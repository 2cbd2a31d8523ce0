import { allowedMethods } from '../http/allowed-methods.js'
import { endpoint, type Handler } from '../http/handler.js'
import { sendBytes } from '../http/respond.js'
import { gateScopes } from '../scopes.js'
import type { AuthorizationServerMetadata } from '../wire/authorization-server.js'

interface MetadataOptions {
  readonly issuer: string
  readonly basePath: string
  readonly passwordGrant: boolean
}

/** What clients need to know (RFC 8414). */
export function authorizationServerMetadata(options: MetadataOptions): AuthorizationServerMetadata {
  const { issuer, basePath, passwordGrant } = options
  const root = issuer.replace(/\/$/, '')
  const secrets = ['client_secret_basic', 'client_secret_post']
  return {
    issuer,
    token_endpoint: `${root}${basePath}/token`,
    revocation_endpoint: `${root}${basePath}/revoke`,
    introspection_endpoint: `${root}${basePath}/introspect`,
    jwks_uri: `${root}/.well-known/jwks.json`,
    scopes_supported: [...gateScopes],
    response_types_supported: [],
    grant_types_supported: ['client_credentials', 'refresh_token', ...(passwordGrant ? ['password'] : [])],
    token_endpoint_auth_methods_supported: [...secrets, 'none'],
    revocation_endpoint_auth_methods_supported: [...secrets, 'none'],
    introspection_endpoint_auth_methods_supported: secrets,
  }
}

/** A public document that may be kept for five minutes. Errors go to `next`. */
export function publicDocument(
  name: string,
  route: string,
  contentType: string,
  document: () => object | Promise<object>,
): Handler {
  const onlyGet = allowedMethods('GET')
  return endpoint(name, async (context, req, res) => {
    context.route ??= route
    onlyGet(req)
    const bytes = Buffer.from(JSON.stringify(await document()))
    sendBytes(res, 200, bytes, contentType, { 'cache-control': 'public, max-age=300' })
  })
}
