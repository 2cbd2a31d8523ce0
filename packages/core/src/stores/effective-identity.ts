import { builtInRoles, commonScopes } from '../scopes.js'
import type { ApiKeyRecord, UserRecord } from './directory.js'
import type { NewEntity, Role, Team, Tenant, User } from './identity-store.js'

/** What an identity hangs on, as kept. A tenant, team or owner that is named but not there disables it. */
export interface IdentityFrame {
  readonly tenant: Tenant | undefined
  readonly team: Team | undefined
  /** Those that are named; more do no harm. */
  readonly roles: readonly Role[]
}

/** The names of all roles that count for a key: its own, and those of the user it belongs to. */
export function rolesOf(key: Pick<NewEntity<'key'>, 'roles'>, owner: Pick<User, 'roles'> | undefined): string[] {
  return [...new Set([...key.roles, ...(owner?.roles ?? [])])]
}

/** Direct scopes and those of the roles, each once. */
function scopesWith(direct: readonly string[], names: readonly string[], roles: readonly Role[]): string[] {
  const ofRoles = names.flatMap(
    (name) =>
      roles.find((role) => role.id === name)?.scopes ??
      (Object.hasOwn(builtInRoles, name) ? (builtInRoles[name] ?? []) : []),
  )
  return [...new Set([...direct, ...ofRoles])]
}

/** The lists that a model must be in. */
export function listsOf(...lists: ReadonlyArray<readonly string[] | undefined>): ReadonlyArray<readonly string[]> {
  return lists.filter((list) => list !== undefined)
}

function modelsOf(...lists: ReadonlyArray<readonly string[] | undefined>) {
  const models = listsOf(...lists)
  return models.length === 0 ? undefined : { models }
}

/** The narrower wins. */
function limitsOf(...limits: ReadonlyArray<Readonly<Record<string, number | string>> | undefined>) {
  return limits.every((each) => each === undefined)
    ? undefined
    : { limits: Object.assign({}, ...limits) as Record<string, number | string> }
}

/** What of a user counts; one that is not kept yet has no times. */
export type EffectiveUserFields = Omit<User, 'createdAt' | 'updatedAt' | 'team'> & {
  readonly team?: string | undefined
}

/** The user as `auth` and logins see them. */
export function effectiveUser(user: EffectiveUserFields, { tenant, team, roles }: IdentityFrame): UserRecord {
  const tier = user.tier ?? team?.tier ?? tenant?.tier
  const gone = tenant === undefined || (user.team !== undefined && team === undefined)
  const disabled = gone || user.disabled || tenant.disabled || team?.disabled === true
  return {
    username: user.username,
    userId: user.id,
    tenant: user.tenant,
    scopes: scopesWith(user.scopes, user.roles, roles),
    ...(user.team === undefined ? undefined : { team: user.team }),
    ...(tier === undefined ? undefined : { tier }),
    ...modelsOf(tenant?.models, team?.models),
    ...(tenant?.limits === undefined ? undefined : { limits: tenant.limits }),
    ...(user.passwordHash === undefined ? undefined : { passwordHash: user.passwordHash }),
    ...(user.loginGeneration === undefined ? undefined : { loginGeneration: user.loginGeneration }),
    ...(disabled ? { disabled } : undefined),
  }
}

/**
 * The key as `auth` sees it. A user's key never has more than the user has now.
 *
 * @param owner the user it belongs to, if it does; `frame.team` is the owning team's, or that user's
 */
export function effectiveKey(key: NewEntity<'key'>, owner: User | undefined, frame: IdentityFrame): ApiKeyRecord {
  const { tenant, team, roles } = frame
  const user = owner === undefined ? undefined : effectiveUser(owner, frame)
  const tier = key.tier ?? user?.tier ?? team?.tier ?? tenant?.tier
  const ownScopes = scopesWith(key.scopes, key.roles, roles)
  const scopes = user === undefined ? ownScopes : commonScopes(ownScopes, user.scopes)
  const gone =
    tenant === undefined ||
    (key.owner.kind === 'user' && user === undefined) ||
    (key.owner.kind === 'team' && team === undefined)
  const disabled =
    gone || key.revokedAt !== undefined || tenant.disabled || team?.disabled === true || user?.disabled === true
  return {
    id: key.id,
    tenant: key.tenant,
    subject: subjectOf(key, owner),
    scopes,
    secrets: key.secrets,
    ...(team === undefined ? undefined : { team: team.id }),
    ...(tier === undefined ? undefined : { tier }),
    ...modelsOf(key.models, team?.models, tenant?.models),
    ...limitsOf(tenant?.limits, key.limits),
    ...(key.addresses === undefined ? undefined : { addresses: key.addresses }),
    ...(disabled ? { disabled } : undefined),
    ...(key.expiresAt === undefined ? undefined : { expiresAt: key.expiresAt }),
  }
}

/** A username has no colon, so that no key of a team's can be taken for a user. */
function subjectOf(key: NewEntity<'key'>, owner: User | undefined): string {
  if (owner !== undefined) return owner.username
  return key.owner.kind === 'team' ? `team:${key.owner.id}` : `key:${key.id}`
}
