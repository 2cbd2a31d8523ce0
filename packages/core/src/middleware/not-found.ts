import { TollgateError } from '../errors.js'
import { allowedMethods } from '../http/allowed-methods.js'
import { type Handler, middleware } from '../http/handler.js'
import { pathOf } from '../http/route-template.js'
import { withoutSecrets } from './error-report.js'

/**
 * Refuses whatever no route took: mount it after all routes and before `errorHandler()`.
 *
 * @throws TollgateError `not_found`, naming the method and the path (its first 200 characters, without the query and what looks like a credential)
 * @example app.use(notFound(), errorHandler())
 */
export function notFound(): Handler {
  return middleware('notFound', (_context, req) => {
    const path = withoutSecrets(pathOf(req))
    const shown = path.length > 200 ? `${path.slice(0, 200)}…` : path
    throw new TollgateError('not_found', `There is no ${req.method ?? ''} ${shown} here.`)
  })
}

/**
 * Refuses every method but these: mount it on a path, before or after its routes. `HEAD` goes with `GET`; `OPTIONS` passes, for CORS.
 *
 * @throws TollgateError `method_not_allowed`, with `Allow`
 * @example app.use('/v1/models', methodNotAllowed(['GET']), listModels({ service }))
 */
export function methodNotAllowed(allowed: readonly string[]): Handler {
  const check = allowedMethods(...allowed)
  return middleware('methodNotAllowed', (_context, req) => {
    if (req.method !== 'OPTIONS') check(req)
  })
}
