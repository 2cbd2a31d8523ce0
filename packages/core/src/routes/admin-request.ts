import type { IncomingMessage } from 'node:http'
import { isTollgateError, TollgateError } from '../errors.js'
import { jsonBody } from '../http/body.js'
import { clientAddress, type TrustProxy, unknownAddress } from '../http/client-address.js'
import type { RequestContext } from '../http/context.js'
import { pathOf, queryParams } from '../http/route-template.js'
import { challenges, insufficientScope } from '../middleware/auth-challenge.js'
import { withoutSecrets } from '../middleware/error-report.js'
import type { Principal } from '../principal.js'
import { builtInRoles, coversScope, missingScopes } from '../scopes.js'
import { answerWithin } from '../stores/answer-within.js'
import { parseApiKey } from '../stores/api-key.js'
import type { Change, EntityAddress, EntityKind, IdentityStore, Page } from '../stores/identity-store.js'
import type { ListPage } from '../wire/identity.js'
import { addressRequest, listRequest } from '../wire/identity-requests.js'
import { invalidRequest, parseWith } from '../wire/parse.js'

export const realm = 'api'
const { missing: unauthenticated } = challenges(realm)

/** Who administers, and where. */
export interface Administrator {
  readonly principal: Principal
  /** `undefined`: everywhere (`admin:all`). */
  readonly tenant: string | undefined
}

/** The caller, who must have the scope `admin` (own tenant) or `admin:all` (every tenant). */
export function administrator({ principal }: RequestContext): Administrator {
  if (principal === undefined) throw unauthenticated()
  if (coversScope(principal.scopes, 'admin:all')) return { principal, tenant: undefined }
  if (coversScope(principal.scopes, 'admin')) return { principal, tenant: principal.tenant }
  throw insufficientScope(realm, ['admin'])
}

/** The tenant that a request is about: the caller's own, or another one for those who may. */
export function tenantFor({ principal, tenant }: Administrator, asked: string | undefined): string {
  if (asked !== undefined && tenant !== undefined && asked !== tenant) throw insufficientScope(realm, ['admin:all'])
  return asked ?? principal.tenant
}

/** What only operators set, since it decides what is paid. */
export function wantOperator({ tenant }: Administrator): void {
  if (tenant !== undefined) throw insufficientScope(realm, ['admin:all'])
}

/** Nobody hands out more than they have: roles count with the scopes they have in that tenant now. */
export async function wantAllOf(
  { principal }: Administrator,
  store: IdentityStore,
  { tenant, scopes, roles }: Granted,
): Promise<void> {
  const ofRoles = await Promise.all(
    roles.map(async (id) => (await store.find('role', { tenant, id }))?.scopes ?? builtIn(id)),
  )
  const missing = missingScopes(principal.scopes, [...new Set([...scopes, ...ofRoles.flat()])])
  if (missing.length > 0) throw insufficientScope(realm, missing)
}

interface Granted {
  readonly tenant: string
  readonly scopes: readonly string[]
  readonly roles: readonly string[]
}

/**
 * May the caller give these? Roles must be there: one that is made later would give what nobody looked at. Nor does anyone take something from somebody who has more than they
 * (`from`): what is rotated or read in between would have it again when it is given back.
 */
export async function wantToGive(
  admin: Administrator,
  store: IdentityStore,
  {
    tenant,
    scopes,
    roles,
  }: { readonly tenant: string } & { readonly [Name in 'scopes' | 'roles']?: Granted[Name] | undefined },
  from?: Granted,
): Promise<void> {
  if (scopes === undefined && roles === undefined) return
  if (from !== undefined) await wantAllOf(admin, store, from)
  await wantAllOf(admin, store, { tenant, scopes: scopes ?? [], roles: roles ?? [] })
  const found = await Promise.all((roles ?? []).map((id) => isBuiltIn(id) || store.find('role', { tenant, id })))
  const errors = found.flatMap((role, index) =>
    role === undefined ? [{ path: `roles[${index}]`, message: 'is no role of this tenant: make it first' }] : [],
  )
  if (errors.length > 0) throw invalidRequest(errors)
}

/** What is handed out when nothing is said: everyday use, as far as the caller has it. */
export function fittingScopes({ principal }: Administrator): string[] {
  return (builtInRoles['member'] ?? []).filter((scope) => coversScope(principal.scopes, scope))
}

function isBuiltIn(role: string): boolean {
  return Object.hasOwn(builtInRoles, role)
}

function builtIn(role: string): readonly string[] {
  return isBuiltIn(role) ? (builtInRoles[role] ?? []) : []
}

interface ChangeOptions {
  readonly trustProxy: TrustProxy
  readonly proxyHeader: 'x-forwarded-for' | 'forwarded'
  readonly now: () => number
}

/** Who changes what, when, and from where, for the audit log. */
export function changeBy(
  { principal }: Administrator,
  action: string,
  context: RequestContext,
  req: IncomingMessage,
  { now, ...proxy }: ChangeOptions,
): Change {
  const { tenant, subject, method, keyId } = principal
  const address = clientAddress(req, proxy)
  return {
    action,
    at: now(),
    actor: { tenant, subject, method, ...(keyId === undefined ? undefined : { keyId }) },
    requestId: context.id,
    ...(address === unknownAddress ? undefined : { address }),
  }
}

/** What follows the collection in the path, decoded: `/v1/keys/abc/rotate` gives `['abc', 'rotate']`. */
export function segmentsAfter(collection: string, req: IncomingMessage): string[] {
  const path = pathOf(req)
  // Hosts may mount without regard to case.
  const at = path.toLowerCase().indexOf(`/${collection}`)
  const rest = at === -1 ? '' : path.slice(at + collection.length + 1)
  try {
    return rest.split('/').filter(Boolean).map(decodeURIComponent)
  } catch {
    throw new TollgateError('invalid_request', 'The path is not valid percent-encoding.', {
      errors: [{ path: 'path', message: 'is not valid percent-encoding' }],
    })
  }
}

/** The JSON body of a change, 64 KiB at most. */
export function adminBody(req: IncomingMessage): Promise<unknown> {
  return jsonBody(req, { maxBytes: 65_536 })
}

/** Where one entity is: `?tenant=` names another tenant than the caller's own. */
export function addressOf(admin: Administrator, kind: EntityKind, id: string, req: IncomingMessage): EntityAddress {
  const { tenant } = parseWith(addressRequest, queryOf(req), 'query')
  if (tenant !== undefined) return { tenant: tenantFor(admin, tenant), id }
  // The name of a role is one in its tenant only.
  return { tenant: kind === 'role' ? admin.principal.tenant : admin.tenant, id }
}

function queryOf(req: IncomingMessage): Record<string, string> {
  return Object.fromEntries(queryParams(req))
}

/** `?limit=`, `?cursor=`, `?tenant=`; an operator who names no tenant sees all. */
export function listQuery(admin: Administrator, req: IncomingMessage) {
  const { limit, cursor, tenant } = parseWith(listRequest, queryOf(req), 'query')
  return {
    limit,
    tenant: tenant === undefined ? admin.tenant : tenantFor(admin, tenant),
    ...(cursor === undefined ? undefined : { after: cursor }),
  }
}

export function listPage<Item, Shown>({ items, next }: Page<Item>, show: (item: Item) => Shown): ListPage<Shown> {
  return { object: 'list', data: items.map(show), has_more: next !== undefined, next_cursor: next ?? null }
}

/** The store's answer; 503 when it fails or takes too long. Its refusals stay what they are. */
export async function fromStore<Value>(answer: Promise<Value>, timeoutMs: number): Promise<Value> {
  try {
    return await answerWithin(answer, timeoutMs)
  } catch (cause) {
    if (isTollgateError(cause)) throw cause
    throw new TollgateError('store_unavailable', 'Identities cannot be read or changed right now. Try again shortly.', {
      retryAfterMs: 1_000,
      cause,
    })
  }
}

/** The id is told, unless it is a whole key: who means to revoke one may send it. */
export function notThere(kind: EntityKind, id: string): TollgateError {
  const shown = withoutSecrets(id.slice(0, 256))
  const mend = parseApiKey(id) === undefined ? '' : ' Its id is the part after live_ or test_.'
  return new TollgateError('not_found', `There is no ${kind} ${shown}.${mend}`)
}

export function changedMeanwhile(kind: EntityKind, id: string): TollgateError {
  return new TollgateError('conflict', `The ${kind} ${id} was changed meanwhile: try again.`)
}

/** The same in the same order? */
export function isSameList(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((each, index) => each === other[index])
}

export function isoTime(time: number): string
export function isoTime(time: number | undefined): string | null
export function isoTime(time: number | undefined): string | null {
  return time === undefined ? null : new Date(time).toISOString()
}
