import type { CreateUser, ListPage, ListRequest, UpdateUser, UserObject } from '@tollgate/core/wire/identity'
import type { Me } from '@tollgate/core/wire/token'
import { jsonBody, type Sender } from './call.js'
import { UsageError } from './errors.js'
import { callJson } from './json-call.js'
import { listItems, listPage } from './list-pages.js'
import type { CallOptions } from './options.js'
import { pathSegment } from './path-segment.js'

/** Who calls, and for administrators the users. What makes or changes something is sent again only if the server surely did nothing. */
export interface Users {
  /** `GET /v1/users/me`: who the server takes the caller for. */
  me(options?: CallOptions): Promise<Me>
  /** `POST /v1/users`. */
  create(request: CreateUser, options?: CallOptions): Promise<UserObject>
  /** `GET /v1/users`: one page, newest first. Its `next_cursor` is the `cursor` of the next; `null` on the last. */
  list(request?: ListRequest, options?: CallOptions): Promise<ListPage<UserObject>>
  /** Every user, page by page as it is read; `limit` is the size of a page. The options hold for each request. */
  iterate(request?: ListRequest, options?: CallOptions): AsyncIterable<UserObject>
  /** `GET /v1/users/{id}`. */
  get(id: string, options?: CallOptions): Promise<UserObject>
  /** `PATCH /v1/users/{id}`: what is given is changed, `null` takes an optional field away. */
  update(id: string, changes: UpdateUser, options?: CallOptions): Promise<UserObject>
  /** `PATCH /v1/users/{id}` with `disabled: true`. */
  disable(id: string, options?: CallOptions): Promise<UserObject>
  /** `PATCH /v1/users/{id}` with `disabled: false`. */
  enable(id: string, options?: CallOptions): Promise<UserObject>
}

const isUser = ({ id }: Record<string, unknown>) => typeof id === 'string'

export function createUsers(sender: Sender): Users {
  const pathOf = (id: string, method: string) => {
    if (id === 'me') throw new UsageError('request_invalid', `users.${method} takes an id; users.me() tells who calls.`)
    return `/v1/users/${pathSegment(id, `users.${method} takes the id of a user`)}`
  }
  const patch = async (id: string, method: string, changes: UpdateUser, call: CallOptions) => {
    const spec = { method: 'PATCH', path: pathOf(id, method), body: jsonBody(changes), once: true } as const
    return callJson<UserObject>(sender, spec, call, isUser)
  }
  return {
    me: async (call = {}) =>
      callJson<Me>(sender, { method: 'GET', path: '/v1/users/me' }, call, ({ subject }) => typeof subject === 'string'),
    async create(request, call = {}) {
      const spec = { method: 'POST', path: '/v1/users', body: jsonBody(request), once: true } as const
      return callJson<UserObject>(sender, spec, call, isUser)
    },
    list: async (request = {}, call = {}) => listPage<UserObject>(sender, '/v1/users', request, call),
    iterate: (request = {}, call = {}) => listItems<UserObject>(sender, '/v1/users', request, call),
    get: async (id, call = {}) =>
      callJson<UserObject>(sender, { method: 'GET', path: pathOf(id, 'get') }, call, isUser),
    update: async (id, changes, call = {}) => patch(id, 'update', changes, call),
    disable: async (id, call = {}) => patch(id, 'disable', { disabled: true }, call),
    enable: async (id, call = {}) => patch(id, 'enable', { disabled: false }, call),
  }
}
