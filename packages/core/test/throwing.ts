import { vi } from 'vitest'
import type { Log } from '../src/http/context.js'
import { endpoint, type Handler } from '../src/http/handler.js'

/** A handler that throws what is given. */
export const throws = (error: unknown): Handler =>
  endpoint('throws', () => {
    throw error
  })

/** A log that says nothing, and tells what it was asked to say. */
export function quietLog() {
  const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() } satisfies Log
  return log
}
