import type { Credentials } from './http-kit.js'

/** A key, or how it is got for each request. */
export type KeySource = string | (() => string | Promise<string>)

/** A key in a header field: `x-api-key`, or `authorization` with `Bearer ` before it. */
export function headerCredentials(field: string, key: KeySource | undefined, prefix = ''): Credentials | undefined {
  if (key === undefined) return undefined
  if (typeof key === 'string') {
    const proof = [field, `${prefix}${key}`] as const
    return () => proof
  }
  return () => {
    const given = key()
    return given instanceof Promise
      ? given.then((fetched) => [field, `${prefix}${fetched}`] as const)
      : [field, `${prefix}${given}`]
  }
}
