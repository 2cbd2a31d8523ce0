import type { ListPage } from '@tollgate/core/wire/identity'
import type { LimitCheck, LimitCheckRequest, LimitObject, UsageRequest, UsageSum } from '@tollgate/core/wire/usage'
import { jsonBody, type Sender } from './call.js'
import { callJson } from './json-call.js'
import { listItems, listPage } from './list-pages.js'
import type { CallOptions } from './options.js'

/** What was used and what it cost: the scope `usage:read`, or `admin:all` for other tenants. */
export interface UsageReports {
  /** `GET /v1/usage`: one page of sums. Its `next_cursor` is the `cursor` of the next; `null` on the last. */
  list(request?: UsageRequest, options?: CallOptions): Promise<ListPage<UsageSum>>
  /** Every sum, page by page as it is read; `limit` is the size of a page. */
  iterate(request?: UsageRequest, options?: CallOptions): AsyncIterable<UsageSum>
}

/** What is left of the caller's own limits. */
export interface LimitReports {
  /** `GET /v1/limits`: how the caller stands with each rule. Takes nothing. */
  list(options?: CallOptions): Promise<LimitObject[]>
  /** `POST /v1/limits/check`: would a request of this size pass, and by which rules not? Takes nothing. */
  check(request: LimitCheckRequest, options?: CallOptions): Promise<LimitCheck>
}

export function createUsage(sender: Sender): UsageReports {
  return {
    list: async (request = {}, call = {}) => listPage<UsageSum>(sender, '/v1/usage', request, call),
    iterate: (request = {}, call = {}) => listItems<UsageSum>(sender, '/v1/usage', request, call),
  }
}

export function createLimits(sender: Sender): LimitReports {
  return {
    async list(call = {}) {
      const page = await listPage<LimitObject>(sender, '/v1/limits', {}, call)
      return page.data
    },
    async check(request, call = {}) {
      const spec = { method: 'POST', path: '/v1/limits/check', body: jsonBody(request), keyed: false } as const
      return callJson<LimitCheck>(sender, spec, call, ({ allowed }) => typeof allowed === 'boolean')
    },
  }
}
