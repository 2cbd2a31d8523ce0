import { z } from 'zod'

/** `POST /v1/token`, `application/x-www-form-urlencoded` (RFC 6749, 4.3). */
export interface TokenRequest {
  grant_type: string
  username: string
  password: string
  /** Space-separated; must be among the user's own. */
  scope?: string | undefined
}

export const tokenRequest = z.object({
  grant_type: z.string(),
  username: z.string().min(1).max(256),
  password: z.string().min(1).max(1024),
  scope: z.string().max(1024).optional(),
}) satisfies z.ZodType<TokenRequest>

export interface TokenResponse {
  access_token: string
  token_type: 'Bearer'
  /** Seconds. */
  expires_in: number
  scope: string
}

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
