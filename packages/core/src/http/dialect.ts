import type { Dialect } from './context.js'
import { type Handler, middleware } from './handler.js'

/**
 * Tells errors of the routes below it in another API's words: mount `dialect('openai')` before `auth` on the paths that OpenAI's SDKs
 * call. Writes the slot `dialect`; throws nothing.
 */
export function dialect(name: Dialect): Handler {
  return middleware('dialect', (context) => {
    context.dialect = name
  })
}
