import { randomUUID } from 'node:crypto'
import type { Handler } from '../http/handler.js'
import { checkedOptions } from '../options.js'
import { listsOf } from '../stores/effective-identity.js'
import type { Team } from '../stores/identity-store.js'
import type { TeamObject } from '../wire/identity.js'
import { createTeam, updateTeam } from '../wire/identity-requests.js'
import { parseWith } from '../wire/parse.js'
import { adminBounds, frameOf } from './admin-bounds.js'
import { type AdminRouteOptions, adminRouteOptions } from './admin-options.js'
import { adminBody, fromStore, isoTime, tenantFor, wantOperator } from './admin-request.js'
import { entityRoute, given, present } from './entity-route.js'

export type TeamsRouteOptions = AdminRouteOptions

/**
 * Teams, the parts of a tenant: `GET` and `POST /v1/teams`, `GET` and `PATCH /v1/teams/{id}`. Needs the scope `admin`, for those of the caller's own tenant, or `admin:all`, which
 * `tier` needs too. Nobody gives a team models that they may not use themselves.
 *
 * Reads the slot `principal`; writes `route`.
 *
 * @throws TollgateError `unauthenticated`, `insufficient_scope`, `not_found` (the same for a team of another tenant), `invalid_request`, `method_not_allowed`, `store_unavailable`
 * @example app.use('/v1/teams', auth({ directory: store }), teamsRoute({ store }))
 */
export function teamsRoute(options: TeamsRouteOptions): Handler {
  const settings = checkedOptions('teamsRoute', adminRouteOptions, options)
  const { store, timeoutMs } = settings
  return entityRoute({
    name: 'teamsRoute',
    collection: 'teams',
    kind: 'team',
    options: settings,
    async make({ admin, req }) {
      const { tenant, ...rest } = parseWith(createTeam, await adminBody(req))
      if (rest.tier !== undefined) wantOperator(admin)
      return { id: randomUUID(), tenant: tenantFor(admin, tenant), disabled: false, ...present(rest), name: rest.name }
    },
    async change({ admin, req }, { tenant }) {
      const changes = given(parseWith(updateTeam, await adminBody(req)))
      if ('tier' in changes) wantOperator(admin)
      if ('models' in changes) {
        const frame = await fromStore(frameOf(store, tenant, undefined), timeoutMs)
        adminBounds(admin, frame.tenant).check({ models: listsOf(changes.models, frame.tenant?.models) })
      }
      return () => changes
    },
    show: teamObject,
  })
}

function teamObject({ id, tenant, name, tier, models, disabled, createdAt, updatedAt }: Team): TeamObject {
  return {
    object: 'team',
    id,
    tenant,
    name,
    tier: tier ?? null,
    models: models === undefined ? null : [...models],
    disabled,
    created_at: isoTime(createdAt),
    updated_at: isoTime(updatedAt),
  }
}
