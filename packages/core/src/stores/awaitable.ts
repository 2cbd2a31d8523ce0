/** A value now, or the promise of it: a store in memory answers at once and keeps the request on the synchronous path. */
export type Awaitable<Value> = Value | Promise<Value>

/** Is the value still to come? */
export function isPromise(value: unknown): value is Promise<unknown> {
  return typeof (value as Promise<unknown> | null | undefined)?.then === 'function'
}
