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
  limit?: number | undefined
  cursor?: string | undefined
  tenant?: string | undefined
}

/** For whom a key acts. */
export interface ApiKeyOwner {
  type: 'tenant' | 'team' | 'user'
  /** May be left out for the tenant. */
  id?: string | undefined
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
  /** Amounts of its own for rules of limits, by their name: units, or US dollars as text. */
  limits: Record<string, number | string> | null
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
  owner?: ApiKeyOwner | undefined
  /** Default: `predict`, `batch`, `chat`, `embed`, as far as the caller has them, unless roles are given. */
  scopes?: string[] | undefined
  roles?: string[] | undefined
  models?: string[] | undefined
  /** Needs `admin:all`. */
  tier?: string | undefined
  /** Needs `admin:all`. */
  limits?: Record<string, number | string> | undefined
  allowed_addresses?: string[] | undefined
  expires_at?: string | undefined
  /** Another tenant than the caller's own: needs `admin:all`. */
  tenant?: string | undefined
}

/** `PATCH /v1/keys/{id}`. `null` takes an optional field away. */
export interface UpdateApiKey {
  name?: string | undefined
  scopes?: string[] | undefined
  roles?: string[] | undefined
  models?: string[] | null | undefined
  tier?: string | null | undefined
  limits?: Record<string, number | string> | null | undefined
  allowed_addresses?: string[] | null | undefined
  expires_at?: string | null | undefined
}

/** `POST /v1/keys/{id}/rotate`. */
export interface RotateApiKey {
  /** How long the secrets before stay good, seconds. Default 86,400; 0 ends them now; at most 2,592,000. */
  grace_seconds?: number | undefined
}

/** A user, without the password. Times are ISO 8601. */
export interface UserObject {
  object: 'user'
  id: string
  tenant: string
  username: string
  team: string | null
  /** Their own; `null`: that of the team or the tenant. */
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
  /** One in all tenants, never changed. 1 to 256 characters, no colon, no control characters, no blanks at the ends. */
  username: string
  /** 8 characters to 1,024 bytes. Without it, no login. */
  password?: string | undefined
  team?: string | undefined
  /** Needs `admin:all`. */
  tier?: string | undefined
  /** Default: `predict`, `batch`, `chat`, `embed`, as far as the caller has them, unless roles are given. */
  scopes?: string[] | undefined
  roles?: string[] | undefined
  /** Another tenant than the caller's own: needs `admin:all`. */
  tenant?: string | undefined
}

/** `PATCH /v1/users/{id}`. `null` takes an optional field away. */
export interface UpdateUser {
  /** Ends every login of the user. `null`: they log in no more. */
  password?: string | null | undefined
  team?: string | null | undefined
  tier?: string | null | undefined
  scopes?: string[] | undefined
  roles?: string[] | undefined
  /** Neither their logins nor their keys get in. */
  disabled?: boolean | undefined
}

/** Whose money and whose data. Times are ISO 8601. */
export interface TenantObject {
  object: 'tenant'
  id: string
  name: string
  tier: string | null
  /** `null`: all. */
  models: string[] | null
  /** Amounts for rules of limits, by their name, of everyone in it who has none of their own. */
  limits: Record<string, number | string> | null
  disabled: boolean
  created_at: string
  updated_at: string
}

/** `POST /v1/tenants`: needs `admin:all`. */
export interface CreateTenant {
  /** Never changed. 1 to 128 letters, digits and `.` `_` `:` `@` `-`, a letter or digit at both ends. */
  id: string
  /** Default: the id. */
  name?: string | undefined
  tier?: string | undefined
  models?: string[] | undefined
  limits?: Record<string, number | string> | undefined
}

/** `PATCH /v1/tenants/{id}`: needs `admin:all`. `null` takes an optional field away. */
export interface UpdateTenant {
  name?: string | undefined
  tier?: string | null | undefined
  models?: string[] | null | undefined
  limits?: Record<string, number | string> | null | undefined
  /** Nobody in it gets in. */
  disabled?: boolean | undefined
}

/** A part of a tenant. Times are ISO 8601. */
export interface TeamObject {
  object: 'team'
  id: string
  tenant: string
  name: string
  tier: string | null
  /** `null`: all that the tenant may use. */
  models: string[] | null
  disabled: boolean
  created_at: string
  updated_at: string
}

/** `POST /v1/teams`. */
export interface CreateTeam {
  name: string
  /** Needs `admin:all`. */
  tier?: string | undefined
  models?: string[] | undefined
  /** Another tenant than the caller's own: needs `admin:all`. */
  tenant?: string | undefined
}

/** `PATCH /v1/teams/{id}`. `null` takes an optional field away. */
export interface UpdateTeam {
  name?: string | undefined
  tier?: string | null | undefined
  models?: string[] | null | undefined
  /** Neither its users nor its keys get in. */
  disabled?: boolean | undefined
}

/** A named set of scopes of one tenant. Times are ISO 8601. */
export interface RoleObject {
  object: 'role'
  /** Its name. */
  id: string
  tenant: string
  scopes: string[]
  created_at: string
  updated_at: string
}

/** `POST /v1/roles`. */
export interface CreateRole {
  /** Its name, never changed: as the id of a tenant. That of a built-in role takes its place in this tenant. */
  id: string
  scopes: string[]
  /** Another tenant than the caller's own: needs `admin:all`. */
  tenant?: string | undefined
}

/** `PATCH /v1/roles/{id}`. */
export interface UpdateRole {
  scopes: string[]
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
