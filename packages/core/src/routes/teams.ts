import { randomUUID } from 'node:crypto'
import type { Handler } from '../http/handler.js'
import { checkedOptions } from '../options.js'
import type { Team } from '../stores/identity-store.js'
import type { TeamObject } from '../wire/identity.js'
import { createTeam, updateTeam } from '../wire/identity-requests.js'
import { parseWith } from '../wire/parse.js'
import { type AdminRouteOptions, adminRouteOptions } from './admin-options.js'
import { adminBody, isoTime, tenantFor, wantOperator } from './admin-request.js'
import { entityRoute, given, present } from './entity-route.js'

export type TeamsRouteOptions = AdminRouteOptions

/**
 * Teams, the parts of a tenant: `GET` and `POST /v1/teams`, `GET` and `PATCH /v1/teams/{id}`. Needs the scope `admin`, for those of the caller's own tenant, or `admin:all`, which
 * `tier` needs too.
 *
 * Reads the slot `principal`; writes `route`.
 *
 * @throws TollgateError `unauthenticated`, `insufficient_scope`, `not_found` (the same for a team of another tenant), `invalid_request`, `method_not_allowed`, `store_unavailable`
 * @example app.use('/v1/teams', auth({ directory: store }), teamsRoute({ store }))
 */
export function teamsRoute(options: TeamsRouteOptions): Handler {
  return entityRoute({
    name: 'teamsRoute',
    collection: 'teams',
    kind: 'team',
    options: checkedOptions('teamsRoute', adminRouteOptions, options),
    async make({ admin, req }) {
      const { tenant, ...rest } = parseWith(createTeam, await adminBody(req))
      if (rest.tier !== undefined) wantOperator(admin)
      return { id: randomUUID(), tenant: tenantFor(admin, tenant), disabled: false, ...present(rest), name: rest.name }
    },
    async change({ admin, req }) {
      const changes = given(parseWith(updateTeam, await adminBody(req)))
      if ('tier' in changes) wantOperator(admin)
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
