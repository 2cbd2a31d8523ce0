/** An OAuth error body (RFC 6749, 5.2). */
export interface TokenError {
  error:
    | 'invalid_request'
    | 'invalid_client'
    | 'invalid_grant'
    | 'unauthorized_client'
    | 'unsupported_grant_type'
    | 'invalid_scope'
    | 'unsupported_token_type'
    | 'temporarily_unavailable'
  error_description?: string
}

/** `GET /v1/users/me`: who the gate takes the caller for. */
export interface Me {
  tenant: string
  subject: string
  method: string
  key_id?: string
  tier: string | null
  scopes: string[]
  /** ISO 8601. */
  expires_at: string | null
}
