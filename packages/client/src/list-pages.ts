import type { ListPage, ListRequest } from '@tollgate/core/wire/identity'
import type { UsageRequest } from '@tollgate/core/wire/usage'
import type { Sender } from './call.js'
import { ResponseError, UsageError } from './errors.js'
import { callJson } from './json-call.js'
import type { CallOptions } from './options.js'

/** One page of the list at `path`. */
export async function listPage<Item>(
  sender: Sender,
  path: string,
  request: ListRequest | UsageRequest,
  options: CallOptions,
): Promise<ListPage<Item>> {
  const full = `${path}${queryOf(request)}`
  return callJson<ListPage<Item>>(sender, { method: 'GET', path: full }, options, ({ data, next_cursor }) => {
    return Array.isArray(data) && (next_cursor === null || typeof next_cursor === 'string')
  })
}

/** Every item from `request.cursor` on, a page at a time: the next is asked for when the one before has been read. */
export async function* listItems<Item>(
  sender: Sender,
  path: string,
  request: ListRequest | UsageRequest,
  options: CallOptions,
): AsyncGenerator<Item, void, undefined> {
  let from = request
  while (true) {
    const page = await listPage<Item>(sender, path, from, options)
    yield* page.data
    const cursor = page.next_cursor
    if (cursor === null) return
    if (cursor === from.cursor) {
      throw new ResponseError('response_invalid', `The pages of ${path} do not end: the next is the same again.`)
    }
    from = { ...from, cursor }
  }
}

const names = [
  'from',
  'to',
  'group_by',
  'per',
  'time_zone',
  'team',
  'user',
  'key',
  'model',
  'provider',
  'limit',
  'cursor',
  'tenant',
] as const

function queryOf(request: ListRequest | UsageRequest): string {
  if (typeof request !== 'object' || request === null) {
    throw new UsageError('request_invalid', 'The request must be an object.')
  }
  const query = new URLSearchParams()
  for (const name of names) {
    const value: unknown = (request as UsageRequest)[name]
    if (value === undefined) continue
    // A `null` would begin again at the first page.
    if (typeof value !== 'string' && typeof value !== 'number') {
      throw new UsageError('request_invalid', `${name} must be a ${name === 'limit' ? 'number' : 'text'}.`)
    }
    query.set(name, String(value))
  }
  const text = query.toString()
  return text === '' ? '' : `?${text}`
}
