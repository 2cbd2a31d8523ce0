import type {
  ApiKeyObject,
  ApiKeyWithSecret,
  CreateApiKey,
  ListPage,
  ListRequest,
  RotateApiKey,
  UpdateApiKey,
} from '@tollgate/core/wire/identity'
import { jsonBody, type Sender } from './call.js'
import { callJson } from './json-call.js'
import { listItems, listPage } from './list-pages.js'
import type { CallOptions } from './options.js'
import { pathSegment } from './path-segment.js'

/**
 * API keys, for administrators: the scope `admin`, or `admin:all` for those of every tenant. What makes or changes something is sent again only if
 * the server surely did nothing: a `create` never makes two keys.
 */
export interface Keys {
  /** `POST /v1/keys`. The answer holds `secret`, the key itself, which is shown this once. */
  create(request: CreateApiKey, options?: CallOptions): Promise<ApiKeyWithSecret>
  /** `GET /v1/keys`: one page, newest first. Its `next_cursor` is the `cursor` of the next; `null` on the last. */
  list(request?: ListRequest, options?: CallOptions): Promise<ListPage<ApiKeyObject>>
  /** Every key, page by page as it is read; `limit` is the size of a page. The options hold for each request. */
  iterate(request?: ListRequest, options?: CallOptions): AsyncIterable<ApiKeyObject>
  /** `GET /v1/keys/{id}`. */
  get(id: string, options?: CallOptions): Promise<ApiKeyObject>
  /** `PATCH /v1/keys/{id}`: what is given is changed, `null` takes an optional field away. */
  update(id: string, changes: UpdateApiKey, options?: CallOptions): Promise<ApiKeyObject>
  /** `POST /v1/keys/{id}/rotate`: a new `secret` of the same key. Those before stay good for `grace_seconds`. */
  rotate(id: string, request?: RotateApiKey, options?: CallOptions): Promise<ApiKeyWithSecret>
  /** `POST /v1/keys/{id}/revoke`: ends it, for good. To do it twice is the same as once, so it is tried again like a GET. */
  revoke(id: string, options?: CallOptions): Promise<ApiKeyObject>
}

const isKey = ({ id }: Record<string, unknown>) => typeof id === 'string'
const hasSecret = ({ id, secret }: Record<string, unknown>) => typeof id === 'string' && typeof secret === 'string'

export function createKeys(sender: Sender): Keys {
  const pathOf = (id: string, method: string) => `/v1/keys/${pathSegment(id, `keys.${method} takes the id of a key`)}`
  return {
    async create(request, call = {}) {
      const spec = { method: 'POST', path: '/v1/keys', body: jsonBody(request), once: true } as const
      return callJson<ApiKeyWithSecret>(sender, spec, call, hasSecret)
    },
    list: async (request = {}, call = {}) => listPage<ApiKeyObject>(sender, '/v1/keys', request, call),
    iterate: (request = {}, call = {}) => listItems<ApiKeyObject>(sender, '/v1/keys', request, call),
    get: async (id, call = {}) =>
      callJson<ApiKeyObject>(sender, { method: 'GET', path: pathOf(id, 'get') }, call, isKey),
    async update(id, changes, call = {}) {
      const spec = { method: 'PATCH', path: pathOf(id, 'update'), body: jsonBody(changes), once: true } as const
      return callJson<ApiKeyObject>(sender, spec, call, isKey)
    },
    async rotate(id, request = {}, call = {}) {
      const path = `${pathOf(id, 'rotate')}/rotate`
      return callJson<ApiKeyWithSecret>(
        sender,
        { method: 'POST', path, body: jsonBody(request), once: true },
        call,
        hasSecret,
      )
    },
    async revoke(id, call = {}) {
      const path = `${pathOf(id, 'revoke')}/revoke`
      return callJson<ApiKeyObject>(sender, { method: 'POST', path, keyed: false }, call, isKey)
    },
  }
}
