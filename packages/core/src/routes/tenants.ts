import type { Handler } from '../http/handler.js'
import { checkedOptions } from '../options.js'
import type { Tenant } from '../stores/identity-store.js'
import type { TenantObject } from '../wire/identity.js'
import { createTenant, updateTenant } from '../wire/identity-requests.js'
import { parseWith } from '../wire/parse.js'
import { type AdminRouteOptions, adminRouteOptions } from './admin-options.js'
import { adminBody, isoTime, wantOperator } from './admin-request.js'
import { entityRoute, given, present } from './entity-route.js'

export type TenantsRouteOptions = AdminRouteOptions

/**
 * Tenants: `GET` and `POST /v1/tenants`, `GET` and `PATCH /v1/tenants/{id}`. What a tenant is allowed decides what is paid: making and changing them needs the scope `admin:all`.
 * With `admin` one sees one's own.
 *
 * Reads the slot `principal`; writes `route`.
 *
 * @throws TollgateError `unauthenticated`, `insufficient_scope`, `not_found`, `conflict` (the id is taken), `invalid_request`, `method_not_allowed`, `store_unavailable`
 * @example app.use('/v1/tenants', auth({ directory: store }), tenantsRoute({ store }))
 */
export function tenantsRoute(options: TenantsRouteOptions): Handler {
  return entityRoute({
    name: 'tenantsRoute',
    collection: 'tenants',
    kind: 'tenant',
    options: checkedOptions('tenantsRoute', adminRouteOptions, options),
    async make({ admin, req }) {
      wantOperator(admin)
      const { id, name = id, ...rest } = parseWith(createTenant, await adminBody(req))
      return { id, name, disabled: false, ...present(rest) }
    },
    async change({ admin, req }) {
      wantOperator(admin)
      const changes = given(parseWith(updateTenant, await adminBody(req)))
      return () => changes
    },
    show: tenantObject,
  })
}

function tenantObject({ id, name, tier, models, limits, disabled, createdAt, updatedAt }: Tenant): TenantObject {
  return {
    object: 'tenant',
    id,
    name,
    tier: tier ?? null,
    models: models === undefined ? null : [...models],
    limits: limits === undefined ? null : { ...limits },
    disabled,
    created_at: isoTime(createdAt),
    updated_at: isoTime(updatedAt),
  }
}
