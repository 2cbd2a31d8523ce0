import { z } from 'zod'
import { configInvalid } from '../errors.js'

/** A change of a request's body: sets what a JSON Pointer (RFC 6901) names, making objects on the way, or without a value takes it away. */
export interface BodyPatch {
  /** `/reasoning/effort`, `/messages/0/role`; `-` is the end of a list. */
  readonly pointer: string
  readonly value?: unknown
}

/** The schema of {@link BodyPatch}. */
export const bodyPatch = z.strictObject({
  pointer: z
    .string()
    .regex(/^(?:\/(?:[^~/]|~[01])+)+$/, 'must be a JSON Pointer: /reasoning/effort')
    .describe(
      'A JSON Pointer (RFC 6901) into the body: `/reasoning/effort`, `/messages/0/role`; `-` is the end of a list.',
    ),
  value: z
    .unknown()
    .optional()
    .describe('What is set there, objects made on the way. Absent: what is there is taken away.'),
})

/** Names that would reach beyond the body. */
const forbidden = new Set(['__proto__', 'constructor', 'prototype'])

/**
 * Reads patches once; the result makes a changed copy of a body, what is not changed shared.
 *
 * @throws TollgateError `config_invalid` for a pointer into the prototype
 */
export function compilePatches(
  patches: readonly BodyPatch[],
): (body: Record<string, unknown>) => Record<string, unknown> {
  const compiled = patches.map(({ pointer, value }) => {
    const path = pointer
      .slice(1)
      .split('/')
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    if (path.some((part) => forbidden.has(part))) throw configInvalid(`'${pointer}' is no pointer into a body.`)
    return { path, value }
  })
  if (compiled.length === 0) return (body) => body
  return (body) => compiled.reduce((changed, { path, value }) => patched(changed, path, value) as typeof body, body)
}

function patched(at: unknown, [name = '', ...rest]: readonly string[], value: unknown): unknown {
  if (Array.isArray(at)) {
    const index = name === '-' ? at.length : /^(?:0|[1-9]\d{0,6})$/.test(name) ? Number(name) : -1
    // There is nothing there to change.
    if (index < 0 || index > at.length || (index === at.length && value === undefined)) return at
    const copy = [...(at as unknown[])]
    if (rest.length > 0) copy[index] = patched(copy[index], rest, value)
    else if (value === undefined) copy.splice(index, 1)
    else copy[index] = value
    return copy
  }
  const object = typeof at === 'object' && at !== null ? (at as Record<string, unknown>) : {}
  if (rest.length > 0) {
    if (value === undefined && object[name] === undefined) return at
    return { ...object, [name]: patched(object[name], rest, value) }
  }
  if (value !== undefined) return { ...object, [name]: value }
  const { [name]: _, ...others } = object
  return others
}
