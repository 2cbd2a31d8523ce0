import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { TollgateError } from '../errors.js'
import type { Handler } from '../http/handler.js'
import { pathOf } from '../http/route-template.js'
import { checkedOptions } from '../options.js'
import { type EffectiveUserFields, effectiveUser } from '../stores/effective-identity.js'
import type { User } from '../stores/identity-store.js'
import { hashPassword } from '../stores/password-hash.js'
import type { UserObject } from '../wire/identity.js'
import { createUser, updateUser } from '../wire/identity-requests.js'
import { parseWith } from '../wire/parse.js'
import { adminBounds, frameOf } from './admin-bounds.js'
import { type AdminRouteOptions, adminRouteOptions } from './admin-options.js'
import {
  type Administrator,
  adminBody,
  changedMeanwhile,
  fittingScopes,
  fromStore,
  isoTime,
  isSameList,
  tenantFor,
  wantAllOf,
  wantOperator,
  wantToGive,
} from './admin-request.js'
import { type AdminRequest, entityRoute, given, present } from './entity-route.js'
import { hashQueue, threadsToSpare } from './hash-queue.js'
import { usersMe } from './users-me.js'

export interface UsersRouteOptions extends AdminRouteOptions {
  /** Passwords hashed at once. Default: one less than libuv has threads or the machine has cores, at least 1. */
  readonly maxConcurrentHashes?: number
  /** Requests that wait for one; more are answered 503. Default 32. */
  readonly maxQueuedHashes?: number
}

const schema = adminRouteOptions.extend({
  maxConcurrentHashes: z.int().min(1).default(threadsToSpare),
  maxQueuedHashes: z.int().min(1).default(32),
})

/**
 * Users: `GET` and `POST /v1/users`, `GET` and `PATCH /v1/users/{id}`, and for every caller `GET /v1/users/me`. Needs the scope `admin`, for those of the caller's own tenant, or
 * `admin:all`. Nobody hands out scopes, models or tiers that they do not have, nor sets the password of a user who has more than they; `tier`, and the users of other tenants, are for
 * `admin:all`.
 * A user who is disabled gets in no more, nor do their keys and tokens; a new password ends the logins made with the old one.
 *
 * Reads the slot `principal`; writes `route`.
 *
 * @throws TollgateError `unauthenticated`, `insufficient_scope` (naming what is missing), `not_found` (the same for a user of another tenant), `conflict` (the username is taken),
 * `invalid_request`, `method_not_allowed`, `overloaded` (too many passwords at once), `store_unavailable`
 * @example app.use('/v1/users', auth({ directory: store }), usersRoute({ store }))
 */
export function usersRoute(options: UsersRouteOptions): Handler {
  const { maxConcurrentHashes, maxQueuedHashes, ...settings } = checkedOptions('usersRoute', schema, options)
  const { store, timeoutMs } = settings
  const queue = hashQueue({ maxConcurrent: maxConcurrentHashes, maxQueued: maxQueuedHashes })

  const hashed = async (password: string, { context }: AdminRequest): Promise<string> => {
    const passwordHash = await queue.run(() => hashPassword(password), context.signal)
    if (passwordHash !== undefined) return passwordHash
    throw new TollgateError('overloaded', 'Too many passwords are being set at once.', { retryAfterMs: 5_000 })
  }

  const effective = async (user: EffectiveUserFields) => {
    const frame = await fromStore(frameOf(store, user.tenant, user.team), timeoutMs)
    return { ...effectiveUser(user, frame), bounds: (admin: Administrator) => adminBounds(admin, frame.tenant) }
  }
  const wantWithinBounds = async (admin: Administrator, user: EffectiveUserFields): Promise<void> => {
    const { bounds, ...holder } = await effective(user)
    bounds(admin).check(holder)
  }
  /** Moving somebody gives what the other team has, and not what they have by themselves. */
  const wantToMove = async (admin: Administrator, user: User, team: string | undefined): Promise<void> => {
    const [before, after] = await Promise.all([effective(user), effective({ ...user, team })])
    const { models, tier } = after
    after.bounds(admin).check({
      ...(models === undefined ? undefined : { models }),
      ...(tier === undefined || tier === before.tier ? undefined : { tier }),
    })
  }

  const users = entityRoute({
    name: 'usersRoute',
    collection: 'users',
    kind: 'user',
    options: settings,
    async make(request) {
      const { admin, req } = request
      const { tenant: asked, password, roles = [], ...rest } = parseWith(createUser, await adminBody(req))
      const tenant = tenantFor(admin, asked)
      if (rest.tier !== undefined) wantOperator(admin)
      const scopes = rest.scopes ?? (roles.length > 0 ? [] : fittingScopes(admin))
      await fromStore(wantToGive(admin, store, { tenant, scopes, roles }), timeoutMs)
      const user = {
        id: randomUUID(),
        tenant,
        disabled: false,
        ...present(rest),
        username: rest.username,
        scopes,
        roles,
      }
      await wantWithinBounds(admin, user)
      return password === undefined ? user : { ...user, passwordHash: await hashed(password, request) }
    },
    async change(request, current) {
      const { admin, req } = request
      const { password, ...rest } = parseWith(updateUser, await adminBody(req))
      if (rest.tier !== undefined) wantOperator(admin)
      await fromStore(wantToGive(admin, store, { ...rest, tenant: current.tenant }, current), timeoutMs)
      const fields = given(rest)
      // Whoever knows the password has what the user may do.
      if (typeof password === 'string') {
        await fromStore(wantAllOf(admin, store, current), timeoutMs)
        await wantWithinBounds(admin, current)
      }
      if ('team' in fields) await wantToMove(admin, current, fields.team)
      const passwordHash = typeof password === 'string' ? await hashed(password, request) : undefined
      return (user) => {
        if (!isAsBefore(user, current)) throw changedMeanwhile('user', user.id)
        if (password === undefined) return fields
        return { ...fields, passwordHash, loginGeneration: (user.loginGeneration ?? 0) + 1 }
      }
    },
    show: userObject,
  })

  const me = usersMe()
  return (req, res, next) => (/\/users\/me\/?$/i.test(pathOf(req)) ? me : users)(req, res, next)
}

/** In what was looked at before the change was allowed. */
function isAsBefore(user: User, before: User): boolean {
  const isSame = isSameList(user.scopes, before.scopes) && isSameList(user.roles, before.roles)
  return isSame && user.team === before.team && user.tier === before.tier
}

function userObject(user: User): UserObject {
  return {
    object: 'user',
    id: user.id,
    tenant: user.tenant,
    username: user.username,
    team: user.team ?? null,
    tier: user.tier ?? null,
    scopes: [...user.scopes],
    roles: [...user.roles],
    has_password: user.passwordHash !== undefined,
    disabled: user.disabled,
    created_at: isoTime(user.createdAt),
    updated_at: isoTime(user.updatedAt),
  }
}
