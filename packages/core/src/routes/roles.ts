import type { Handler } from '../http/handler.js'
import { checkedOptions } from '../options.js'
import type { Role } from '../stores/identity-store.js'
import type { RoleObject } from '../wire/identity.js'
import { createRole, updateRole } from '../wire/identity-requests.js'
import { parseWith } from '../wire/parse.js'
import { type AdminRouteOptions, adminRouteOptions } from './admin-options.js'
import { adminBody, changedMeanwhile, fromStore, isoTime, isSameList, tenantFor, wantToGive } from './admin-request.js'
import { entityRoute } from './entity-route.js'

export type RolesRouteOptions = AdminRouteOptions

/**
 * Roles, the named sets of scopes of a tenant: `GET` and `POST /v1/roles`, `GET` and `PATCH /v1/roles/{id}`. A change holds for everyone who has the role. Needs the scope `admin`,
 * for those of the caller's own tenant, or `admin:all`, then with `?tenant=`. Nobody gives a role scopes that they do not have, nor changes one that has more than
 * they.
 *
 * Reads the slot `principal`; writes `route`.
 *
 * @throws TollgateError `unauthenticated`, `insufficient_scope` (naming what is missing), `not_found`, `conflict` (the name is taken), `invalid_request`, `method_not_allowed`,
 * `store_unavailable`
 * @example app.use('/v1/roles', auth({ directory: store }), rolesRoute({ store }))
 */
export function rolesRoute(options: RolesRouteOptions): Handler {
  const settings = checkedOptions('rolesRoute', adminRouteOptions, options)
  const { store, timeoutMs } = settings
  return entityRoute({
    name: 'rolesRoute',
    collection: 'roles',
    kind: 'role',
    options: settings,
    async make({ admin, req }) {
      const { id, scopes, tenant: asked } = parseWith(createRole, await adminBody(req))
      const tenant = tenantFor(admin, asked)
      await fromStore(wantToGive(admin, store, { tenant, scopes }), timeoutMs)
      return { id, tenant, scopes }
    },
    async change({ admin, req }, current) {
      const { scopes } = parseWith(updateRole, await adminBody(req))
      const from = { ...current, roles: [] }
      await fromStore(wantToGive(admin, store, { tenant: current.tenant, scopes }, from), timeoutMs)
      return (role) => {
        if (!isSameList(role.scopes, current.scopes)) throw changedMeanwhile('role', role.id)
        return { scopes }
      }
    },
    show: roleObject,
  })
}

function roleObject({ id, tenant, scopes, createdAt, updatedAt }: Role): RoleObject {
  return {
    object: 'role',
    id,
    tenant,
    scopes: [...scopes],
    created_at: isoTime(createdAt),
    updated_at: isoTime(updatedAt),
  }
}
