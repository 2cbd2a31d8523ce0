import { z } from 'zod'
import { allowedMethods } from '../http/allowed-methods.js'
import { endpoint, type Handler } from '../http/handler.js'
import { noStore, sendJson } from '../http/respond.js'
import { checkedOptions, objectOption } from '../options.js'
import type { AuditEntry, IdentityStore } from '../stores/identity-store.js'
import type { AuditObject } from '../wire/identity.js'
import { administrator, fromStore, isoTime, listPage, listQuery } from './admin-request.js'

export interface AuditRouteOptions {
  readonly store: IdentityStore
  /** How long the store may take, milliseconds. Default 5,000. */
  readonly timeoutMs?: number
}

const schema = z.strictObject({
  store: objectOption<IdentityStore>('an IdentityStore, for example memoryIdentityStore()', 'listAudit'),
  timeoutMs: z.int().min(1).max(60_000).default(5_000),
})

const onlyGet = allowedMethods('GET')

/**
 * `GET /v1/audit`: every change to tenants, teams, roles, users and keys, newest first: who, what, when, from where, and the new values; of secrets the name only. Needs
 * the scope `admin` (the caller's own tenant) or `admin:all`.
 *
 * Reads the slot `principal`; writes `route`.
 *
 * @throws TollgateError `unauthenticated`, `insufficient_scope`, `invalid_request`, `method_not_allowed`, `store_unavailable`
 * @example app.get('/v1/audit', auth({ directory: store }), auditRoute({ store }))
 */
export function auditRoute(options: AuditRouteOptions): Handler {
  const { store, timeoutMs } = checkedOptions('auditRoute', schema, options)
  return endpoint('auditRoute', async (context, req, res) => {
    context.route ??= '/v1/audit'
    const admin = administrator(context)
    onlyGet(req)
    sendJson(
      res,
      200,
      listPage(await fromStore(store.listAudit(listQuery(admin, req)), timeoutMs), auditObject),
      noStore,
    )
  })
}

function auditObject({ id, at, action, tenant, actor, target, address, requestId, fields }: AuditEntry): AuditObject {
  return {
    object: 'audit_entry',
    id,
    at: isoTime(at),
    action,
    tenant,
    actor: { tenant: actor.tenant, subject: actor.subject, method: actor.method, key_id: actor.keyId ?? null },
    target: { type: target.kind, id: target.id },
    address: address ?? null,
    request_id: requestId ?? null,
    fields: { ...fields },
  }
}
