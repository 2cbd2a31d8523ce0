import { TollgateError } from '../errors.js'

/** Of OpenRouter and of LiteLLM. A server's own `patchBody` may set them. */
const otherModels: ReadonlySet<string> = new Set(['models', 'fallbacks'])

/**
 * What is allowed and priced is the one in `model`. Upstreams that do not tell capitals apart take another spelling for it, and some turn to others that a body lists.
 *
 * @throws TollgateError `invalid_request` for a body that names another
 */
export function requireOneModel(body: Readonly<Record<string, unknown>>): void {
  for (const path of Object.keys(body)) {
    const isSpelling = path.length === 5 && path !== 'model' && path.toLowerCase() === 'model'
    if (!isSpelling && !otherModels.has(path)) continue
    const message = 'is not taken: name one model, in model'
    throw new TollgateError('invalid_request', `${path} ${message}.`, { errors: [{ path, message }] })
  }
}
