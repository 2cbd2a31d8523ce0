import type { Credentials, Proof } from './http-kit.js'

/** A key, or how it is got for each request. */
export type KeySource = string | (() => string | Promise<string>)

/** A key in a header field: `x-api-key`, or `authorization` with `Bearer ` before it. */
export function headerCredentials(field: string, key: KeySource | undefined, prefix = ''): Credentials | undefined {
  if (key === undefined) return undefined
  const proofOf = (secret: string): Proof => ({ headers: [field, `${prefix}${secret}`], secret })
  if (typeof key === 'string') {
    const proof = proofOf(key)
    return () => proof
  }
  return () => {
    const given = key()
    return given instanceof Promise ? given.then(proofOf) : proofOf(given)
  }
}
