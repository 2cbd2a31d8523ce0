/** What the token endpoint answers (RFC 6749, 5.1). */
export interface IssuedToken {
  access_token: string
  token_type: 'Bearer'
  /** Seconds. */
  expires_in: number
  /** Space-separated. Not there if the token gives none. */
  scope?: string
  /** Good once. Logins only. */
  refresh_token?: string
}

/** What the introspection endpoint answers (RFC 7662, 2.2). Times are seconds since the epoch. */
export type Introspection =
  | { active: false }
  | {
      active: true
      scope?: string
      client_id?: string
      username: string
      /** Access tokens only. */
      token_type?: 'Bearer'
      exp: number
      iat: number
      sub: string
      aud?: string | string[]
      iss: string
      jti?: string
      tenant: string
    }

/** `GET /.well-known/oauth-authorization-server` (RFC 8414, 2). */
export interface AuthorizationServerMetadata {
  issuer: string
  token_endpoint: string
  revocation_endpoint: string
  introspection_endpoint: string
  jwks_uri: string
  scopes_supported: string[]
  response_types_supported: string[]
  grant_types_supported: string[]
  token_endpoint_auth_methods_supported: string[]
  revocation_endpoint_auth_methods_supported: string[]
  introspection_endpoint_auth_methods_supported: string[]
}
