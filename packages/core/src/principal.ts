/**
 * Who calls. Made by `auth`, read by everything that limits, prices, caches or logs.
 * A snapshot: never changed after it is made.
 */
export interface Principal {
  /** Whose money and whose data. Part of every key in every store. */
  readonly tenant: string
  /** The user or service within the tenant. */
  readonly subject: string
  /** The part of the tenant that the subject belongs to. */
  readonly team?: string
  /** How the caller proved it. */
  readonly method: 'api-key' | 'jwt' | (string & {})
  /** Public id of the API key, never the key. */
  readonly keyId?: string
  /** Name of the plan that decides limits: `free`, `pro`, `enterprise` or your own. */
  readonly tier?: string
  readonly scopes: readonly string[]
  /** Lists of models, the key's own and its tenant's: one that is used must be in each. Without it, all. See `mayUseModel`. */
  readonly models?: ReadonlyArray<readonly string[]>
  /** Amounts of its own for rules of `limits`, by their name: units, or US dollars for rules of money. */
  readonly limits?: Readonly<Record<string, number | string>>
  /** When the proof ends, in milliseconds since the epoch. */
  readonly expiresAt?: number
}

/**
 * One string per principal, safe as a part of a store's key: two principals never share it, whatever bytes their names hold.
 */
export function principalKey(principal: Principal): string {
  return `${encodeURIComponent(principal.tenant)}/${encodeURIComponent(principal.subject)}`
}

/**
 * May this name a tenant, a subject or a tier? 1 to 512 characters, well-formed Unicode (a lone surrogate has no place in a key of a
 * store) and no control characters (nor in a log line).
 */
export function isPrincipalName(value: unknown): value is string {
  return typeof value === 'string' && value.length <= 512 && wellFormedName.test(value)
}

const wellFormedName = /^[^\p{Cc}\p{Cs}]+$/u
