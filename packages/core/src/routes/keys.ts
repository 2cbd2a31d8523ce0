import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { type FieldError, isTollgateError, TollgateError } from '../errors.js'
import { allowedMethods } from '../http/allowed-methods.js'
import { checkTrustProxy, isInNetworks } from '../http/client-address.js'
import type { RequestContext } from '../http/context.js'
import { endpoint, type Handler } from '../http/handler.js'
import { noStore, sendJson } from '../http/respond.js'
import { checkedOptions } from '../options.js'
import { drawApiKey, drawKeyId } from '../stores/api-key.js'
import { effectiveKey, listsOf } from '../stores/effective-identity.js'
import type { ApiKey, EntityChange, IdentityStore, KeySecret, NewEntity } from '../stores/identity-store.js'
import type { ApiKeyObject, ApiKeyWithSecret } from '../wire/identity.js'
import { createApiKey, rotateApiKey, updateApiKey } from '../wire/identity-requests.js'
import { invalidRequest, parseWith } from '../wire/parse.js'
import { adminBounds, frameOf } from './admin-bounds.js'
import { type AdminRouteOptions, adminRouteOptions } from './admin-options.js'
import {
  type Administrator,
  adminBody,
  administrator,
  changeBy,
  changedMeanwhile,
  fittingScopes,
  fromStore,
  isoTime,
  isSameList,
  listPage,
  listQuery,
  notThere,
  segmentsAfter,
  tenantFor,
  wantAllOf,
  wantOperator,
  wantToGive,
} from './admin-request.js'

export interface KeysRouteOptions extends AdminRouteOptions {
  /** Of the keys that are made: `tg_live_…` or `tg_test_…`. Default `live`. */
  readonly environment?: 'live' | 'test'
}

const schema = adminRouteOptions.extend({ environment: z.enum(['live', 'test']).default('live') })

const ofCollection = allowedMethods('GET', 'POST')
const ofKey = allowedMethods('GET', 'PATCH', 'DELETE')
const onlyPost = allowedMethods('POST')
const maxSecrets = 5

/**
 * API keys for administrators: `GET` and `POST /v1/keys`, `GET`, `PATCH` and `DELETE /v1/keys/{id}`, `POST /v1/keys/{id}/rotate` and
 * `POST /v1/keys/{id}/revoke` (the same as `DELETE`). Needs the scope `admin`, for keys of the caller's own tenant, or `admin:all`. A key itself is shown once, in the answer that
 * made it. Nobody hands out scopes, models or tiers that they do not have, and a new key gets the caller's own `limits`; `tier`, `limits`, and the keys of other tenants, are
 * for `admin:all`.
 *
 * Reads the slot `principal`; writes `route`.
 *
 * @throws TollgateError `unauthenticated`, `insufficient_scope` (naming what is missing), `not_found` (the same for a key of another tenant), `conflict`
 * (revoked already, too many secrets), `invalid_request`, `method_not_allowed`, `store_unavailable`
 * @example app.use('/v1/keys', auth({ directory: store }), keysRoute({ store }))
 */
export function keysRoute(options: KeysRouteOptions): Handler {
  const { store, environment, timeoutMs, now, ...proxy } = checkedOptions('keysRoute', schema, options)
  checkTrustProxy(proxy.trustProxy)
  const by = (admin: Administrator, action: string, context: RequestContext, req: IncomingMessage) =>
    changeBy(admin, action, context, req, { ...proxy, now })
  const show = (key: ApiKey) => keyObject(key, now())

  const find = async (admin: Administrator, id: string): Promise<ApiKey> => {
    const key = await fromStore(store.find('key', { tenant: admin.tenant, id }), timeoutMs)
    if (key === undefined) throw notThere('key', id)
    return key
  }

  /** What the key would be to `auth`, and what the caller may give. */
  const boundsOf = async (admin: Administrator, key: NewEntity<'key'>) => {
    const { tenant, owner } = key
    const user =
      owner.kind === 'user' ? await fromStore(store.find('user', { tenant, id: owner.id }), timeoutMs) : undefined
    const team = owner.kind === 'team' ? owner.id : user?.team
    const frame = await fromStore(frameOf(store, tenant, team), timeoutMs)
    return { bounds: adminBounds(admin, frame.tenant), holder: effectiveKey(key, user, frame) }
  }
  const wantWithinBounds = async (admin: Administrator, key: NewEntity<'key'>): Promise<void> => {
    const { bounds, holder } = await boundsOf(admin, key)
    bounds.check(holder)
  }

  /** Of a key that is still in use; checked again where it is changed. */
  const change = async (
    admin: Administrator,
    id: string,
    action: string,
    context: RequestContext,
    req: IncomingMessage,
    changes: (key: ApiKey) => EntityChange<'key'>,
  ): Promise<ApiKey> => {
    const changed = await fromStore(
      store.update('key', { tenant: admin.tenant, id }, changes, by(admin, action, context, req)),
      timeoutMs,
    )
    if (changed === undefined) throw notThere('key', id)
    return changed
  }

  const create = async (admin: Administrator, context: RequestContext, req: IncomingMessage) => {
    const asked = parseWith(createApiKey, await adminBody(req))
    const tenant = tenantFor(admin, asked.tenant)
    if (asked.tier !== undefined || asked.limits !== undefined) wantOperator(admin)
    const { owner = { type: 'tenant' as const }, roles = [] } = asked
    if (owner.type !== 'tenant' && owner.id === undefined) throw wrong('owner.id', `say which ${owner.type}`)
    if (owner.type === 'tenant' && owner.id !== undefined && owner.id !== tenant) {
      throw wrong('owner.id', "must be the key's own tenant, or be left out")
    }
    const scopes = asked.scopes ?? (roles.length > 0 ? [] : fittingScopes(admin))
    await fromStore(wantToGive(admin, store, { tenant, scopes, roles }), timeoutMs)
    const expiresAt = timeOf('expires_at', asked.expires_at, now())
    checkAddresses(asked.allowed_addresses)
    const id = drawKeyId()
    const secret = drawApiKey(environment, id)
    const key: NewEntity<'key'> = {
      id,
      tenant,
      environment,
      name: asked.name,
      owner: { kind: owner.type, id: owner.id ?? tenant },
      scopes,
      roles,
      secrets: [secretOf(store, secret, now())],
      ...(asked.models === undefined ? undefined : { models: asked.models }),
      ...(asked.tier === undefined ? undefined : { tier: asked.tier }),
      ...(asked.limits === undefined ? undefined : { limits: asked.limits }),
      ...(asked.allowed_addresses === undefined ? undefined : { addresses: asked.allowed_addresses }),
      ...(expiresAt === undefined ? undefined : { expiresAt }),
    }
    const { bounds, holder } = await boundsOf(admin, key)
    const models = key.models ?? bounds.modelsFor(holder)
    const limits = key.limits ?? bounds.limits
    const bounded = {
      ...key,
      ...(models === undefined ? undefined : { models }),
      ...(limits === undefined ? undefined : { limits }),
    }
    bounds.check({ ...holder, models: listsOf(models, ...(holder.models ?? [])) })
    const made = await fromStore(store.create('key', bounded, by(admin, 'key.create', context, req)), timeoutMs)
    return { ...show(made), secret } satisfies ApiKeyWithSecret
  }

  const update = async (admin: Administrator, id: string, context: RequestContext, req: IncomingMessage) => {
    const asked = parseWith(updateApiKey, await adminBody(req))
    const current = await find(admin, id)
    const { tenant } = current
    if (asked.tier !== undefined || asked.limits !== undefined) wantOperator(admin)
    await fromStore(wantToGive(admin, store, { ...asked, tenant }, current), timeoutMs)
    if (asked.models !== undefined) {
      const { models, ...others } = current
      await wantWithinBounds(admin, asked.models === null ? others : { ...others, models: asked.models })
    }
    checkAddresses(asked.allowed_addresses ?? undefined)
    const expiresAt = timeOf('expires_at', asked.expires_at ?? undefined, now())
    return change(admin, id, 'key.update', context, req, (key) => {
      wantInUse(key)
      if (!isAsBefore(key, current)) throw changedMeanwhile('key', id)
      return {
        ...(asked.name === undefined ? undefined : { name: asked.name }),
        ...(asked.scopes === undefined ? undefined : { scopes: asked.scopes }),
        ...(asked.roles === undefined ? undefined : { roles: asked.roles }),
        ...(asked.models === undefined ? undefined : { models: asked.models ?? undefined }),
        ...(asked.tier === undefined ? undefined : { tier: asked.tier ?? undefined }),
        ...(asked.limits === undefined ? undefined : { limits: asked.limits ?? undefined }),
        ...(asked.allowed_addresses === undefined ? undefined : { addresses: asked.allowed_addresses ?? undefined }),
        ...(asked.expires_at === undefined ? undefined : { expiresAt }),
      }
    })
  }

  const rotate = async (admin: Administrator, id: string, context: RequestContext, req: IncomingMessage) => {
    const hasBody = req.headers['content-type'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0
    const { grace_seconds: graceSeconds = 86_400 } = hasBody ? parseWith(rotateApiKey, await adminBody(req)) : {}
    const current = await find(admin, id)
    // Whoever sees the new secret has what the key may do.
    await fromStore(wantAllOf(admin, store, current), timeoutMs)
    await wantWithinBounds(admin, current)
    const secret = drawApiKey(environment, id)
    const at = now()
    const rotated = await change(admin, id, 'key.rotate', context, req, (key) => {
      wantInUse(key)
      if (key.environment !== environment) {
        throw new TollgateError('conflict', `The key ${id} is of the environment ${key.environment}; rotate it there.`)
      }
      if (!isAsBefore(key, current)) throw changedMeanwhile('key', id)
      const until = at + graceSeconds * 1000
      const kept = key.secrets
        .map((each) => ({ ...each, expiresAt: Math.min(each.expiresAt ?? Number.POSITIVE_INFINITY, until) }))
        .filter(({ expiresAt }) => expiresAt > at)
      if (kept.length >= maxSecrets) {
        throw new TollgateError(
          'conflict',
          `The key ${id} has ${kept.length} secrets that are still good: wait, or rotate with grace_seconds: 0, which ends them.`,
        )
      }
      return { secrets: [secretOf(store, secret, at), ...kept] }
    })
    return { ...show(rotated), secret } satisfies ApiKeyWithSecret
  }

  const revoke = (admin: Administrator, id: string, context: RequestContext, req: IncomingMessage) =>
    change(admin, id, 'key.revoke', context, req, (key) => (key.revokedAt === undefined ? { revokedAt: now() } : {}))

  return endpoint('keysRoute', async (context, req, res) => {
    const [id, action, ...more] = segmentsAfter('keys', req)
    context.route ??= `/v1/keys${id === undefined ? '' : '/{id}'}${action === 'rotate' || action === 'revoke' ? `/${action}` : ''}`
    const admin = administrator(context)
    const answer = (status: number, body: unknown) => sendJson(res, status, body, noStore)
    if (id === undefined) {
      ofCollection(req)
      if (req.method === 'POST') return answer(201, await create(admin, context, req))
      return answer(200, listPage(await fromStore(store.list('key', listQuery(admin, req)), timeoutMs), show))
    }
    if (action === undefined) {
      ofKey(req)
      if (req.method === 'PATCH') return answer(200, show(await update(admin, id, context, req)))
      if (req.method === 'DELETE') return answer(200, show(await revoke(admin, id, context, req)))
      return answer(200, show(await find(admin, id)))
    }
    if (more.length > 0 || (action !== 'rotate' && action !== 'revoke')) {
      throw new TollgateError('not_found', 'A key has rotate and revoke, and nothing else.')
    }
    onlyPost(req)
    if (action === 'rotate') return answer(200, await rotate(admin, id, context, req))
    return answer(200, show(await revoke(admin, id, context, req)))
  })
}

function keyObject(key: ApiKey, now: number): ApiKeyObject {
  const { revokedAt, expiresAt } = key
  const isOver = (time: number | undefined) => time !== undefined && !(now < time)
  return {
    object: 'api_key',
    id: key.id,
    tenant: key.tenant,
    environment: key.environment,
    name: key.name,
    owner: { type: key.owner.kind, id: key.owner.id },
    scopes: [...key.scopes],
    roles: [...key.roles],
    models: key.models === undefined ? null : [...key.models],
    tier: key.tier ?? null,
    limits: key.limits === undefined ? null : { ...key.limits },
    allowed_addresses: key.addresses === undefined ? null : [...key.addresses],
    status: revokedAt !== undefined ? 'revoked' : isOver(expiresAt) ? 'expired' : 'active',
    created_at: isoTime(key.createdAt),
    updated_at: isoTime(key.updatedAt),
    expires_at: isoTime(expiresAt),
    revoked_at: isoTime(revokedAt),
    last_used_at: isoTime(key.lastUsedAt),
    secrets: key.secrets
      .filter((secret) => !isOver(secret.expiresAt))
      .map(({ hint, createdAt, expiresAt: until }) => ({
        hint,
        created_at: isoTime(createdAt),
        expires_at: isoTime(until),
      })),
  }
}

/** In what was looked at before the change was allowed. */
function isAsBefore(key: ApiKey, before: ApiKey): boolean {
  const isSame = isSameList(key.scopes, before.scopes) && isSameList(key.roles, before.roles)
  return isSame && key.tier === before.tier && isSameList(key.models ?? ['*'], before.models ?? ['*'])
}

function secretOf(store: IdentityStore, key: string, createdAt: number): KeySecret {
  return { digest: store.digestsOf(key)[0] as string, hint: key.slice(-4), createdAt }
}

function wantInUse(key: ApiKey): void {
  if (key.revokedAt !== undefined)
    throw new TollgateError('conflict', `The key ${key.id} is revoked, for good: make another.`)
}

function timeOf(path: string, text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined
  const time = Date.parse(text)
  if (!(time > now)) throw wrong(path, 'must be in the future')
  return time
}

function checkAddresses(list: readonly string[] | undefined): void {
  list?.forEach((entry, index) => {
    try {
      isInNetworks('127.0.0.1', [entry])
    } catch (error) {
      if (!isTollgateError(error, 'config_invalid')) throw error
      throw wrong(`allowed_addresses[${index}]`, 'must be an address, or a network as 10.0.0.0/8')
    }
  })
}

function wrong(path: string, message: string): TollgateError {
  return invalidRequest([{ path, message } satisfies FieldError])
}
