import type { Awaitable } from './awaitable.js'

/** An API key as it is kept: by its digest, never in clear. */
export interface ApiKeyRecord {
  /** Public id, safe to log. */
  readonly id: string
  readonly tenant: string
  /** The user or service that it acts for. */
  readonly subject: string
  readonly tier?: string
  readonly scopes: readonly string[]
  readonly disabled?: boolean
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number
}

/** A user who logs in with a password. */
export interface UserRecord {
  readonly username: string
  readonly tenant: string
  readonly tier?: string
  readonly scopes: readonly string[]
  /** PHC string: `$scrypt$ln=15,r=8,p=3$<salt>$<hash>`. */
  readonly passwordHash: string
  readonly disabled?: boolean
}

/**
 * Who may call. Results are snapshots. A source that is down throws (any error): the gate then answers 503, never 401.
 *
 * Conformance: `@tollgate/core/testing/directory`.
 */
export interface Directory {
  /** `digest`: SHA-256 of the whole key, lower-case hexadecimal. */
  findApiKey(digest: string): Awaitable<ApiKeyRecord | undefined>
  findUser(username: string): Awaitable<UserRecord | undefined>
  close(): Awaitable<void>
}
