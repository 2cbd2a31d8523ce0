import { UsageError } from './errors.js'

/**
 * A name or an id as one segment of a path. A dot segment would be resolved away, and with it the rest of the path.
 * Throws {@link UsageError} `request_invalid` for what cannot be one; `takes` says in words what the method wants.
 */
export function pathSegment(value: unknown, takes: string): string {
  if (typeof value !== 'string' || value === '' || value === '.' || value === '..') {
    throw new UsageError('request_invalid', `${takes}.`)
  }
  try {
    return encodeURIComponent(value)
  } catch (cause) {
    throw new UsageError('request_invalid', `${takes}, in whole characters.`, { cause })
  }
}
