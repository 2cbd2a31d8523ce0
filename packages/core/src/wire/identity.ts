/** A page of a list, newest first. */
export interface ListPage<Item> {
  object: 'list'
  data: Item[]
  has_more: boolean
  /** Give it as `?cursor=` for the next page; `null` on the last. */
  next_cursor: string | null
}

/** `?limit=` (1 to 100, default 20), `?cursor=`, and for operators `?tenant=`. */
export interface ListRequest {
  limit?: number
  cursor?: string
  tenant?: string
}

/** For whom a key acts. */
export interface ApiKeyOwner {
  type: 'tenant' | 'team' | 'user'
  /** May be left out for the tenant. */
  id?: string
}

/** An API key, without its secret. Times are ISO 8601. */
export interface ApiKeyObject {
  object: 'api_key'
  id: string
  tenant: string
  environment: 'live' | 'test'
  name: string
  owner: ApiKeyOwner
  scopes: string[]
  roles: string[]
  /** `null`: all that the tenant may use. */
  models: string[] | null
  tier: string | null
  /** `null`: from anywhere. */
  allowed_addresses: string[] | null
  status: 'active' | 'expired' | 'revoked'
  created_at: string
  updated_at: string
  expires_at: string | null
  revoked_at: string | null
  last_used_at: string | null
  /** The secrets that are good now, by their last four characters; newest first. */
  secrets: Array<{ hint: string; created_at: string; expires_at: string | null }>
}

/** An answer that shows the key itself: the only one that does. */
export interface ApiKeyWithSecret extends ApiKeyObject {
  secret: string
}

/** `POST /v1/keys`. */
export interface CreateApiKey {
  name: string
  /** Default: the tenant. */
  owner?: ApiKeyOwner
  /** Default: `predict`, `batch`, `chat`, `embed`, as far as the caller has them, unless roles are given. */
  scopes?: string[]
  roles?: string[]
  models?: string[]
  /** Needs `admin:all`. */
  tier?: string
  allowed_addresses?: string[]
  expires_at?: string
  /** Another tenant than the caller's own: needs `admin:all`. */
  tenant?: string
}

/** `PATCH /v1/keys/{id}`. `null` takes an optional field away. */
export interface UpdateApiKey {
  name?: string
  scopes?: string[]
  roles?: string[]
  models?: string[] | null
  tier?: string | null
  allowed_addresses?: string[] | null
  expires_at?: string | null
}

/** `POST /v1/keys/{id}/rotate`. */
export interface RotateApiKey {
  /** How long the secrets before stay good, seconds. Default 86,400; 0 ends them now; at most 2,592,000. */
  grace_seconds?: number
}

export interface UserObject {
  object: 'user'
  id: string
  tenant: string
  username: string
  team: string | null
  tier: string | null
  scopes: string[]
  roles: string[]
  has_password: boolean
  disabled: boolean
  created_at: string
  updated_at: string
}

/** `POST /v1/users`. */
export interface CreateUser {
  /** 1 to 256 characters, no blanks, no colon; one in all tenants, never changed. */
  username: string
  /** 8 characters or more, 1,024 bytes at most. */
  password?: string
  team?: string
  /** Needs `admin:all`. */
  tier?: string
  scopes?: string[]
  /** Default: `member`, unless scopes are given. */
  roles?: string[]
  tenant?: string
}

/** `PATCH /v1/users/{id}`. */
export interface UpdateUser {
  password?: string | null
  team?: string | null
  tier?: string | null
  scopes?: string[]
  roles?: string[]
  disabled?: boolean
}

export interface TenantObject {
  object: 'tenant'
  id: string
  name: string
  tier: string | null
  models: string[] | null
  disabled: boolean
  created_at: string
  updated_at: string
}

/** `POST /v1/tenants`: needs `admin:all`. */
export interface CreateTenant {
  /** 1 to 64 of `a-z 0-9 . _ -`. */
  id: string
  name?: string
  tier?: string
  models?: string[]
}

/** `PATCH /v1/tenants/{id}`: needs `admin:all`. */
export interface UpdateTenant {
  name?: string
  tier?: string | null
  models?: string[] | null
  disabled?: boolean
}

/** `GET /v1/audit`: what was changed, by whom, when, from where. */
export interface AuditObject {
  object: 'audit_entry'
  id: string
  at: string
  action: string
  tenant: string
  actor: { tenant: string; subject: string; method: string; key_id: string | null }
  target: { type: string; id: string }
  address: string | null
  request_id: string | null
  /** What changed, with the new values; secrets by name only. */
  fields: Record<string, unknown>
}
