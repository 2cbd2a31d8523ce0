import { randomBytes, randomUUID, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { TollgateError } from '../errors.js'
import { checkedOptions, functionOption } from '../options.js'
import type { DirectoryChange } from './directory.js'
import { effectiveKey, effectiveUser, rolesOf } from './effective-identity.js'
import { changedFields } from './identity-audit.js'
import { checkChanges, cursorOf } from './identity-changes.js'
import { type IdentitySecret, identitySecrets } from './identity-secrets.js'
import type {
  ApiKey,
  AuditEntry,
  Change,
  Entities,
  EntityAddress,
  EntityKind,
  IdentityStore,
  ListQuery,
  Page,
  RefreshToken,
  Role,
  SigningKey,
  Team,
  Tenant,
  User,
} from './identity-store.js'

export interface MemoryIdentityStoreOptions {
  /** Keys the hashes. Default: a random one, as everything else here ends with the process. */
  readonly secret?: IdentitySecret
  /** Lines of the audit log that are kept. Default 10,000. */
  readonly maxAudit?: number
  /** The clock, milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

const schema = z.strictObject({
  secret: z.custom<IdentitySecret>().default(() => randomBytes(32)),
  maxAudit: z.int().min(1).default(10_000),
  now: functionOption<() => number>().default(() => Date.now),
})

interface Kept<Item> {
  readonly item: Item
  /** The order in which they were made. */
  readonly sequence: number
}

type Entity = Entities[EntityKind]

/**
 * Tenants, teams, roles, users and API keys in memory: for tests, and for a single process that may forget. The lookups of `auth` are answered at once.
 *
 * @throws TollgateError `config_invalid` for wrong options
 * @example const store = memoryIdentityStore()
 */
export function memoryIdentityStore(options: MemoryIdentityStoreOptions = {}): IdentityStore {
  const { secret, maxAudit, now } = checkedOptions('memoryIdentityStore', schema, options)
  const { digestsOf } = identitySecrets(secret)
  const kept = {
    tenant: new Map<string, Kept<Tenant>>(),
    team: new Map<string, Kept<Team>>(),
    role: new Map<string, Kept<Role>>(),
    user: new Map<string, Kept<User>>(),
    key: new Map<string, Kept<ApiKey>>(),
  }
  const usernames = new Map<string, string>()
  const audit: Array<Kept<AuditEntry>> = []
  const refreshTokens = new Map<string, { token: RefreshToken; used: boolean }>()
  const revoked = new Map<string, number>()
  let signing: readonly SigningKey[] = []
  const listeners = new Set<(change: DirectoryChange) => void>()
  let sequence = 0

  const table = <Kind extends EntityKind>(kind: Kind) => kept[kind] as unknown as Map<string, Kept<Entities[Kind]>>

  const at = <Kind extends EntityKind>(kind: Kind, { tenant, id }: EntityAddress): Kept<Entities[Kind]> | undefined => {
    // A role's name is one in its tenant only.
    const found = table(kind).get(kind === 'role' ? roleKey(tenant ?? '', id) : id)
    if (found === undefined || tenant === undefined) return found
    return tenantOf(kind, found.item) === tenant ? found : undefined
  }

  const tell = (kind: EntityKind, entity: Entity): void => {
    const change: DirectoryChange =
      kind === 'key'
        ? { kind, id: entity.id }
        : kind === 'user'
          ? { kind, id: (entity as User).username }
          : { kind: 'tenant', id: tenantOf(kind, entity) }
    announce(change)
  }
  const announce = (change: DirectoryChange): void => {
    for (const listener of listeners) {
      try {
        listener(change)
      } catch (error) {
        // What has changed has changed, and the others are to hear of it.
        process.emitWarning(error instanceof Error ? error : String(error))
      }
    }
  }

  const log = (by: Change, tenant: string, target: AuditEntry['target'], fields: AuditEntry['fields']): void => {
    sequence += 1
    audit.push({ sequence, item: frozen({ ...by, id: randomUUID(), tenant, target, fields }) })
    if (audit.length > maxAudit) audit.shift()
  }

  /** The parents that an entity names must be there, in its own tenant. */
  const checkParents = (kind: EntityKind, entity: object): void => {
    if (kind === 'tenant') return
    const { tenant, team, owner } = entity as { tenant: string; team?: string; owner?: ApiKey['owner'] }
    if (!kept.tenant.has(tenant)) throw missing('tenant', tenant)
    if (team !== undefined && at('team', { tenant, id: team }) === undefined) throw missing('team', team)
    if (owner !== undefined && at(owner.kind, { tenant, id: owner.id }) === undefined)
      throw missing(owner.kind, owner.id)
  }

  const frameOf = (tenant: string, team: string | undefined, roles: readonly string[]) => ({
    tenant: kept.tenant.get(tenant)?.item,
    team: team === undefined ? undefined : at('team', { tenant, id: team })?.item,
    roles: roles.flatMap((id) => at('role', { tenant, id })?.item ?? []),
  })

  const pageOf = <Item>(all: Iterable<Kept<Item>>, fits: (item: Item) => boolean, query: ListQuery): Page<Item> => {
    const before = query.after === undefined ? Number.POSITIVE_INFINITY : cursorOf(query.after)
    const found = [...all]
      .filter((each) => each.sequence < before && fits(each.item))
      .sort((one, other) => other.sequence - one.sequence)
    const items = found.slice(0, query.limit)
    const last = items.at(-1)
    return {
      items: items.map(({ item }) => item),
      ...(found.length > items.length && last !== undefined ? { next: String(last.sequence) } : undefined),
    }
  }

  const revokeToken = (id: string, tenant: string, until: number, by: Change): void => {
    // Never for a shorter time than it was.
    revoked.set(id, Math.max(until, revoked.get(id) ?? 0))
    for (const [other, end] of revoked) if (end <= now()) revoked.delete(other)
    log(by, tenant, { kind: 'token', id }, {})
    announce({ kind: 'token', id })
  }

  const findRefresh = (id: string, digests: readonly string[], time: number) => {
    const found = refreshTokens.get(id)
    if (found === undefined || found.token.expiresAt <= time) return undefined
    return digests.some((digest) => isSame(digest, found.token.digest)) ? found : undefined
  }

  return {
    digestsOf,
    findApiKey(id) {
      const key = kept.key.get(id)?.item
      if (key === undefined) return undefined
      const { owner, tenant } = key
      const user = owner.kind === 'user' ? at('user', { tenant, id: owner.id })?.item : undefined
      const frame = frameOf(tenant, owner.kind === 'team' ? owner.id : user?.team, rolesOf(key, user))
      return frozenWhole(effectiveKey(key, user, frame))
    },
    findUser(username) {
      const id = usernames.get(username)
      const user = id === undefined ? undefined : kept.user.get(id)?.item
      return user === undefined
        ? undefined
        : frozenWhole(effectiveUser(user, frameOf(user.tenant, user.team, user.roles)))
    },
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close() {
      listeners.clear()
    },

    async create(kind, entity, by) {
      const id = kind === 'role' ? roleKey((entity as unknown as Role).tenant, entity.id) : entity.id
      checkParents(kind, entity)
      if (table(kind).has(id)) throw taken(kind, entity.id)
      const { username } = entity as { username?: string }
      if (kind === 'user' && username !== undefined) {
        if (usernames.has(username)) throw taken(kind, username)
        usernames.set(username, id)
      }
      const made = frozen({
        ...present(entity),
        createdAt: by.at,
        updatedAt: by.at,
      }) as unknown as Entities[typeof kind]
      sequence += 1
      table(kind).set(id, { item: made, sequence })
      log(by, tenantOf(kind, made), { kind, id: made.id }, changedFields(undefined, made))
      tell(kind, made)
      return made
    },
    async find(kind, address) {
      return at(kind, address)?.item
    },
    async list(kind, query) {
      const { tenant, owner } = query
      return pageOf(
        table(kind).values(),
        (item) =>
          (tenant === undefined || tenantOf(kind, item) === tenant) &&
          (owner === undefined || ('owner' in item && item.owner.kind === owner.kind && item.owner.id === owner.id)),
        query,
      )
    },
    async update(kind, address, change, by) {
      const found = at(kind, address)
      if (found === undefined) return undefined
      const before = found.item
      const changes = change(before)
      checkChanges(before, changes)
      const after = frozen(present({ ...before, ...changes, updatedAt: by.at })) as unknown as typeof before
      checkParents(kind, after)
      const id = kind === 'role' ? roleKey(tenantOf(kind, before), before.id) : before.id
      table(kind).set(id, { ...found, item: after })
      log(by, tenantOf(kind, after), { kind, id: after.id }, changedFields(before, after))
      tell(kind, after)
      return after
    },
    async listAudit(query) {
      return pageOf(audit, ({ tenant }) => query.tenant === undefined || query.tenant === tenant, query)
    },

    async keyUsed(id, time) {
      const found = kept.key.get(id)
      if (found === undefined || (found.item.lastUsedAt ?? Number.NEGATIVE_INFINITY) >= time) return
      kept.key.set(id, { ...found, item: frozen({ ...found.item, lastUsedAt: time }) })
    },

    async saveRefreshToken(token) {
      for (const [id, { token: old }] of refreshTokens) if (old.expiresAt <= now()) refreshTokens.delete(id)
      if (refreshTokens.has(token.id)) throw new TollgateError('conflict', 'This refresh token is kept already.')
      refreshTokens.set(token.id, { token: frozen({ ...token }), used: false })
    },
    async redeemRefreshToken(id, digests, time, successor) {
      const found = findRefresh(id, digests, time)
      if (found === undefined) return undefined
      const { token } = found
      if (found.used || (revoked.get(token.family) ?? time) > time) {
        const actor = { tenant: token.tenant, subject: token.username, method: 'refresh_token' }
        // As long as the youngest of the family can live.
        const until = time + token.expiresAt - token.createdAt
        // Told once: whoever tries it again and again shall not fill the audit log.
        if ((revoked.get(token.family) ?? 0) > time)
          revoked.set(token.family, Math.max(until, revoked.get(token.family) ?? 0))
        else revokeToken(token.family, token.tenant, until, { action: 'token.reuse', at: time, actor })
        return undefined
      }
      const next = successor(token)
      if (refreshTokens.has(next.id)) throw new TollgateError('conflict', 'This refresh token is kept already.')
      found.used = true
      refreshTokens.set(next.id, { token: frozen({ ...next }), used: false })
      return token
    },
    async findRefreshToken(id, digests, time) {
      const found = findRefresh(id, digests, time)
      return found === undefined || found.used || (revoked.get(found.token.family) ?? time) > time
        ? undefined
        : found.token
    },
    async revokeToken({ id, tenant, until }, by) {
      revokeToken(id, tenant, until, by)
    },
    async isTokenRevoked(ids) {
      return ids.some((id) => (revoked.get(id) ?? 0) > now())
    },

    async signingKeys(time) {
      return signing.filter(({ expiresAt }) => expiresAt === undefined || expiresAt > time)
    },
    async addSigningKey(key, after, earlierExpireAt, by) {
      const newest = signing.filter(({ expiresAt }) => expiresAt === undefined || expiresAt > by.at).at(-1)
      if (newest?.kid !== after) return false
      const earlier = signing.map((each) =>
        frozen({ ...each, expiresAt: Math.min(each.expiresAt ?? Number.POSITIVE_INFINITY, earlierExpireAt) }),
      )
      signing = [...earlier.filter(({ expiresAt }) => expiresAt > by.at), frozen({ ...key })]
      log(by, by.actor.tenant, { kind: 'signing-key', id: key.kid }, {})
      announce({ kind: 'all' })
      return true
    },
  }
}

function tenantOf(kind: EntityKind, entity: Entity): string {
  return kind === 'tenant' ? entity.id : (entity as User).tenant
}

function roleKey(tenant: string, name: string): string {
  return JSON.stringify([tenant, name])
}

/** Without the optional fields that are not there. */
function present<Fields extends object>(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Fields
}

/** A deep copy that cannot be changed. */
function frozen<Value extends object>(value: Value): Value {
  return frozenWhole(structuredClone(value))
}

/** As it is, not to be changed any more, what is frozen already left alone. */
function frozenWhole<Value>(value: Value): Value {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  Object.freeze(value)
  for (const inner of Object.values(value)) frozenWhole(inner)
  return value
}

function isSame(one: string, other: string): boolean {
  const [left, right] = [Buffer.from(one), Buffer.from(other)]
  return left.length === right.length && timingSafeEqual(left, right)
}

function missing(kind: EntityKind, id: string): TollgateError {
  return new TollgateError('not_found', `There is no ${kind} ${id}.`)
}

function taken(kind: EntityKind, id: string): TollgateError {
  return new TollgateError('conflict', `The ${kind} ${id} is there already.`)
}
