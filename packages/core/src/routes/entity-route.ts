import type { IncomingMessage } from 'node:http'
import type { z } from 'zod'
import { TollgateError } from '../errors.js'
import { allowedMethods } from '../http/allowed-methods.js'
import { checkTrustProxy } from '../http/client-address.js'
import type { RequestContext } from '../http/context.js'
import { endpoint, type Handler } from '../http/handler.js'
import { noStore, sendJson } from '../http/respond.js'
import type { Entities, EntityChange, EntityKind, NewEntity } from '../stores/identity-store.js'
import type { adminRouteOptions } from './admin-options.js'
import {
  type Administrator,
  addressOf,
  administrator,
  changeBy,
  fromStore,
  listPage,
  listQuery,
  notThere,
  segmentsAfter,
} from './admin-request.js'

/** A request of an administrator. */
export interface AdminRequest {
  readonly admin: Administrator
  readonly req: IncomingMessage
  readonly context: RequestContext
}

interface EntityRoute<Kind extends EntityKind> {
  /** The route's, for errors: `usersRoute`. */
  readonly name: string
  /** In the path: `users`. */
  readonly collection: string
  readonly kind: Kind
  readonly options: z.output<typeof adminRouteOptions>
  /** The entity that a `POST` asks for, checked. */
  readonly make: (request: AdminRequest) => Promise<NewEntity<Kind>>
  /** What a `PATCH` asks for, checked; what it gives is applied to the entity as it is then. */
  readonly change: (
    request: AdminRequest,
    current: Entities[Kind],
  ) => Promise<(current: Entities[Kind]) => EntityChange<Kind>>
  readonly show: (entity: Entities[Kind]) => object
}

const ofCollection = allowedMethods('GET', 'POST')
const ofEntity = allowedMethods('GET', 'PATCH')

/** `GET` and `POST` of a collection, `GET` and `PATCH` of one of it. One of another tenant is answered as one that is not there. */
export function entityRoute<Kind extends EntityKind>(route: EntityRoute<Kind>): Handler {
  const { name, collection, kind, options, make, change, show } = route
  const { store, timeoutMs, now, trustProxy, proxyHeader } = options
  checkTrustProxy(trustProxy)
  const by = ({ admin, context, req }: AdminRequest, action: string) =>
    changeBy(admin, `${kind}.${action}`, context, req, { trustProxy, proxyHeader, now })

  const create = async (request: AdminRequest) => {
    const entity = await make(request)
    return fromStore(store.create(kind, entity, by(request, 'create')), timeoutMs)
  }

  const find = async ({ admin, req }: AdminRequest, id: string) => {
    const entity = await fromStore(store.find(kind, addressOf(admin, kind, id, req)), timeoutMs)
    if (entity === undefined) throw notThere(kind, id)
    return entity
  }

  const update = async (request: AdminRequest, id: string) => {
    const current = await find(request, id)
    const changes = await change(request, current)
    const address = addressOf(request.admin, kind, id, request.req)
    const changed = await fromStore(store.update(kind, address, changes, by(request, 'update')), timeoutMs)
    if (changed === undefined) throw notThere(kind, id)
    return changed
  }

  return endpoint(name, async (context, req, res) => {
    const [id, ...more] = segmentsAfter(collection, req)
    context.route ??= `/v1/${collection}${id === undefined ? '' : '/{id}'}`
    const request: AdminRequest = { admin: administrator(context), context, req }
    const answer = (status: number, body: unknown) => sendJson(res, status, body, noStore)
    if (id === undefined) {
      ofCollection(req)
      if (req.method === 'POST') return answer(201, show(await create(request)))
      return answer(200, listPage(await fromStore(store.list(kind, listQuery(request.admin, req)), timeoutMs), show))
    }
    if (more.length > 0) throw new TollgateError('not_found', `There is nothing below a ${kind}.`)
    ofEntity(req)
    return answer(200, show(await (req.method === 'PATCH' ? update(request, id) : find(request, id))))
  })
}

/** The fields that are there, for an entity that is made. */
export function present<Fields extends object>(fields: Fields): { [Name in keyof Fields]?: NonNullable<Fields[Name]> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never
}

/** The fields that were given, for a change: `null` takes one away, one that is not there stays. */
export function given<Fields extends object>(fields: Fields): { [Name in keyof Fields]?: Exclude<Fields[Name], null> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries.map(([name, value]) => [name, value ?? undefined])) as never
}
