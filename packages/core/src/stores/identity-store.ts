import type { Directory } from './directory.js'

/** Times are milliseconds since the epoch, everywhere in these contracts. */
interface Kept {
  readonly createdAt: number
  readonly updatedAt: number
}

/** Whose money and whose data. */
export interface Tenant extends Kept {
  /** Chosen by whoever makes it; the `tenant` of its principals. */
  readonly id: string
  readonly name: string
  /** The plan of everyone in it who has none of their own. */
  readonly tier?: string
  /** Models that anyone in it may use; `*` stands for any text. Without it, all. */
  readonly models?: readonly string[]
  /** Amounts for rules of `limits`, by their name, of everyone in it who has none of their own. */
  readonly limits?: Readonly<Record<string, number | string>>
  /** Nobody in it gets in. */
  readonly disabled: boolean
}

/** A part of a tenant. */
export interface Team extends Kept {
  readonly id: string
  readonly tenant: string
  readonly name: string
  readonly tier?: string
  readonly models?: readonly string[]
  readonly disabled: boolean
}

/** A named set of scopes of one tenant. */
export interface Role extends Kept {
  /** Its name. */
  readonly id: string
  readonly tenant: string
  readonly scopes: readonly string[]
}

export interface User extends Kept {
  readonly id: string
  readonly tenant: string
  /** One in all tenants, never changed: the `subject` of its principals. */
  readonly username: string
  readonly team?: string
  readonly tier?: string
  readonly scopes: readonly string[]
  /** Names of roles. One that nobody has made gives nothing. */
  readonly roles: readonly string[]
  /** PHC string. Without it, no password. */
  readonly passwordHash?: string
  /** Counts up when all logins, and their tokens, are to be over. Default 0. A number, since clocks cannot tell which of two came first. */
  readonly loginGeneration?: number
  readonly disabled: boolean
}

/** For whom a key acts: the whole tenant, a team of it, or a user. */
export interface KeyOwner {
  readonly kind: 'tenant' | 'team' | 'user'
  /** Of the team or the user; the tenant's own id. */
  readonly id: string
}

/** One secret of a key. Two are good while one replaces the other. */
export interface KeySecret {
  /** Keyed hash of the whole key (`Directory.digestsOf`), 64 hexadecimal digits. */
  readonly digest: string
  /** The last four characters of the key, to tell it by. */
  readonly hint: string
  readonly createdAt: number
  readonly expiresAt?: number
}

export interface ApiKey extends Kept {
  /** Public, part of the key. */
  readonly id: string
  readonly tenant: string
  readonly environment: 'live' | 'test'
  readonly name: string
  readonly owner: KeyOwner
  readonly scopes: readonly string[]
  readonly roles: readonly string[]
  readonly models?: readonly string[]
  readonly tier?: string
  /** Amounts of its own for rules of `limits`, by their name. */
  readonly limits?: Readonly<Record<string, number | string>>
  /** Addresses and networks (`10.0.0.0/8`) it may be used from. Without it, all. */
  readonly addresses?: readonly string[]
  readonly expiresAt?: number
  readonly revokedAt?: number
  /** Newest first. */
  readonly secrets: readonly KeySecret[]
  /** To the minute. */
  readonly lastUsedAt?: number
}

/** What an {@link IdentityStore} keeps, by kind. */
export interface Entities {
  tenant: Tenant
  team: Team
  role: Role
  user: User
  key: ApiKey
}

export type EntityKind = keyof Entities

/** An entity before it is kept. */
export type NewEntity<Kind extends EntityKind> = Omit<Entities[Kind], 'createdAt' | 'updatedAt' | 'lastUsedAt'>

/** What a change may set; `undefined` takes an optional field away. Id, tenant and username stay. */
export type EntityChange<Kind extends EntityKind> = {
  readonly [Field in Exclude<
    keyof Entities[Kind],
    'id' | 'tenant' | 'username' | 'environment' | 'createdAt' | 'updatedAt' | 'lastUsedAt'
  >]?: Entities[Kind][Field] | undefined
}

/** Where an entity is: a tenant by its id; all others by id within a tenant. Without `tenant`, in any (an operator's view; roles need it). */
export interface EntityAddress {
  readonly tenant?: string | undefined
  readonly id: string
}

/** Who changes something, and from where. */
export interface Change {
  /** `key.create`, `user.update`, … */
  readonly action: string
  readonly at: number
  readonly actor: {
    readonly tenant: string
    readonly subject: string
    readonly method: string
    readonly keyId?: string
  }
  readonly address?: string
  readonly requestId?: string
}

/** A line of the audit log. Written with the change, or neither is. */
export interface AuditEntry extends Change {
  readonly id: string
  /** Of what was changed. */
  readonly tenant: string
  readonly target: { readonly kind: EntityKind | 'token' | 'signing-key'; readonly id: string }
  /** Fields that changed, with their new values; secrets and hashes by name only, as `null`. */
  readonly fields: Readonly<Record<string, unknown>>
}

/** Newest first. */
export interface ListQuery {
  /** Without it, of all tenants. */
  readonly tenant?: string | undefined
  /** Keys only. */
  readonly owner?: KeyOwner | undefined
  /** 1 to 1,000. */
  readonly limit: number
  /** The `next` of the page before. */
  readonly after?: string | undefined
}

export interface Page<Item> {
  readonly items: readonly Item[]
  /** There when there is more. Opaque, visible ASCII. */
  readonly next?: string
}

/** A refresh token as it is kept. */
export interface RefreshToken {
  readonly id: string
  readonly digest: string
  /** All that came out of one login share it; it is the `sid` of their access tokens. */
  readonly family: string
  readonly tenant: string
  readonly username: string
  readonly clientId?: string
  readonly scopes: readonly string[]
  /** The `loginGeneration` that its user had at the login. Default 0. */
  readonly loginGeneration?: number
  readonly createdAt: number
  readonly expiresAt: number
}

/** A key pair that signs access tokens. */
export interface SigningKey {
  readonly kid: string
  readonly alg: string
  /** JWK. */
  readonly publicKey: Readonly<Record<string, unknown>>
  /** JWK as JSON text; stores seal it before they keep it. */
  readonly privateKey: string
  readonly createdAt: number
  /** When it begins to sign. */
  readonly signsFrom: number
  /** When its tokens are believed no longer; it is gone then. */
  readonly expiresAt?: number
}

/**
 * Everything about who may call: what {@link Directory} reads, and how it is changed. Every change is written with its line in the audit log, both
 * or neither, and is told to the listeners of `onChange` in every process that shares the store.
 *
 * Conformance: `@tollgate/core/testing/identity-store`.
 */
export interface IdentityStore extends Directory {
  /**
   * @throws TollgateError `conflict` if the id (or username) is taken; `not_found` if its tenant, team or owner is not there
   */
  create<Kind extends EntityKind>(kind: Kind, entity: NewEntity<Kind>, by: Change): Promise<Entities[Kind]>
  find<Kind extends EntityKind>(kind: Kind, at: EntityAddress): Promise<Entities[Kind] | undefined>
  list<Kind extends EntityKind>(kind: Kind, query: ListQuery): Promise<Page<Entities[Kind]>>
  /**
   * Reads, changes and writes in one step, whoever else changes it meanwhile. What `change` throws leaves everything as it was, and so does a change of what never changes
   * (id, tenant, username, environment, `createdAt`, `lastUsedAt`), which is a `TypeError`.
   *
   * @returns as it is now; `undefined` if it is not there
   */
  update<Kind extends EntityKind>(
    kind: Kind,
    at: EntityAddress,
    change: (current: Entities[Kind]) => EntityChange<Kind>,
    by: Change,
  ): Promise<Entities[Kind] | undefined>
  listAudit(query: Omit<ListQuery, 'owner'>): Promise<Page<AuditEntry>>

  /** Notes a use; at most a minute is lost if it is not kept. */
  keyUsed(id: string, at: number): Promise<void>

  saveRefreshToken(token: RefreshToken): Promise<void>
  /**
   * Uses up a refresh token and puts its successor in its place, in one step: of several who try at once, one succeeds. A token that was used before,
   * or whose family was revoked, revokes the family (with a line in the audit log, unless it was revoked already). What `successor` throws, and a successor whose id is taken
   * (`conflict`), leave the token unused.
   *
   * @returns the token that was used up; `undefined` for one that is unknown, expired, or was used before
   */
  redeemRefreshToken(
    id: string,
    digests: readonly string[],
    now: number,
    successor: (used: RefreshToken) => RefreshToken,
  ): Promise<RefreshToken | undefined>
  /** The token, unused and unexpired, without using it up. */
  findRefreshToken(id: string, digests: readonly string[], now: number): Promise<RefreshToken | undefined>
  /** `id`: the `jti` of one access token, or the `sid` of a family. Kept until `until`, or the later end that it had. */
  revokeToken(
    token: { readonly id: string; readonly tenant: string; readonly until: number },
    by: Change,
  ): Promise<void>
  isTokenRevoked(ids: readonly string[]): Promise<boolean>

  /** Those that have not expired, oldest first. */
  signingKeys(now: number): Promise<readonly SigningKey[]>
  /**
   * Adds a key if the newest that has not expired is still the one with kid `after` (`undefined`: if there is none), and sets when the earlier ones end. Of several
   * processes that rotate at once, one succeeds. Listeners of `onChange` are told `all`.
   */
  addSigningKey(key: SigningKey, after: string | undefined, earlierExpireAt: number, by: Change): Promise<boolean>
}
