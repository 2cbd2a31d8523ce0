import { TollgateError } from '../errors.js'

const fixed = ['id', 'tenant', 'username', 'environment', 'createdAt', 'lastUsedAt'] as const

/**
 * For stores: what an update must not touch.
 *
 * @throws TypeError naming the field, for callers that no compiler has checked
 */
export function checkChanges(before: object, changes: object): void {
  for (const field of fixed) {
    if (Object.hasOwn(changes, field) && Reflect.get(changes, field) !== Reflect.get(before, field)) {
      throw new TypeError(`update: ${field} never changes.`)
    }
  }
}

/**
 * For stores: where a page begins, from the cursor that the page before gave.
 *
 * @throws TollgateError `invalid_request` for what is no cursor
 */
export function cursorOf(after: string): number {
  if (/^\d{1,15}$/.test(after)) return Number(after)
  throw new TollgateError('invalid_request', 'The cursor is none of this list.', {
    errors: [{ path: 'query.cursor', message: 'is none of this list' }],
  })
}
