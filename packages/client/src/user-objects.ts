/** A user, without the password. Times are ISO 8601. */
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
  /** One in all tenants, never changed. */
  username: string
  password?: string | undefined
  team?: string | undefined
  /** Needs `admin:all`. */
  tier?: string | undefined
  scopes?: string[] | undefined
  roles?: string[] | undefined
  /** Another tenant than the caller's own: needs `admin:all`. */
  tenant?: string | undefined
}

/** `PATCH /v1/users/{id}`. `null` takes an optional field away. */
export interface UpdateUser {
  password?: string | null | undefined
  team?: string | null | undefined
  tier?: string | null | undefined
  scopes?: string[] | undefined
  roles?: string[] | undefined
  disabled?: boolean | undefined
}
