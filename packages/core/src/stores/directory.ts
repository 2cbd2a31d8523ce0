import type { Awaitable } from './awaitable.js'
import type { KeySecret } from './identity-store.js'

/** An API key with all that follows from its owner, its tenant and its roles: what `auth` needs to know. */
export interface ApiKeyRecord {
  /** Public id, safe to log. */
  readonly id: string
  readonly tenant: string
  readonly team?: string
  /** The user or service that it acts for. */
  readonly subject: string
  readonly tier?: string
  readonly scopes: readonly string[]
  /** Lists of models: one that is used must be in each of them. */
  readonly models?: ReadonlyArray<readonly string[]>
  /** Amounts of its own for rules of `limits`, by their name: units, or US dollars for rules of money. */
  readonly limits?: Readonly<Record<string, number | string>>
  /** Addresses and networks it may be used from. Without it, all. */
  readonly addresses?: readonly string[]
  /** Revoked, or its owner or tenant is disabled. */
  readonly disabled?: boolean
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number
  /** The key is good if one of its digests is here and has not expired. */
  readonly secrets: readonly KeySecret[]
}

/** A user who logs in with a password, with all that follows from team, tenant and roles. */
export interface UserRecord {
  readonly username: string
  /** Its id in the store that keeps it. */
  readonly userId?: string
  readonly tenant: string
  readonly team?: string
  readonly tier?: string
  readonly scopes: readonly string[]
  readonly models?: ReadonlyArray<readonly string[]>
  /** Amounts of its own for rules of `limits`, by their name: units, or US dollars for rules of money. */
  readonly limits?: Readonly<Record<string, number | string>>
  /** PHC string: `$scrypt$ln=15,r=8,p=3$<salt>$<hash>`. Without it no password is right. */
  readonly passwordHash?: string
  /** Counts up when all logins, and their tokens, are to be over. Default 0. */
  readonly loginGeneration?: number
  readonly disabled?: boolean
}

/** What has changed, so that what was remembered of it is forgotten. */
export type DirectoryChange =
  | { readonly kind: 'key' | 'user' | 'tenant' | 'token'; readonly id: string }
  /** Nobody knows what was missed. */
  | { readonly kind: 'all' }

/**
 * Who may call. Results are snapshots. A source that is down throws (any error): the gate then answers 503, never 401.
 *
 * Conformance: `@tollgate/core/testing/directory`.
 */
export interface Directory {
  /** Under which digests a whole key would be kept here; the first is the one for new keys. */
  digestsOf(key: string): readonly string[]
  /** @param id the public id in the key; for a text of another form `sha256:` and its SHA-256 in lower-case hexadecimal (`credentialId`) */
  findApiKey(id: string): Awaitable<ApiKeyRecord | undefined>
  findUser(username: string): Awaitable<UserRecord | undefined>
  /** Notes that a key was used, at most once a minute. */
  keyUsed?(id: string, at: number): Awaitable<void>
  /** Was one of these access tokens (`jti`) or logins (`sid`) revoked? */
  isTokenRevoked?(ids: readonly string[]): Awaitable<boolean>
  /** Calls the listener soon after each change, in every process. Returns how to end that. Not every change need be told: answers live shortly. */
  onChange?(listener: (change: DirectoryChange) => void): () => void
  close(): Awaitable<void>
}
