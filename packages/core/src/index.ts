// The nouns and the kit. Middlewares, providers, routes and stores have subpaths of their own: `@tollgate/core/middleware/rate-limit`.
export {
  configInvalid,
  type ErrorCode,
  errorCatalogue,
  type FieldError,
  isTollgateError,
  TollgateError,
  type TollgateErrorOptions,
} from './errors.js'
export { contextOf, type RequestContext, required } from './http/context.js'
export { type ExpectedUsage, expectUsage } from './http/expected-usage.js'
export { compose, type ErrorHandler, endpoint, type Handler, listener, middleware, type Next } from './http/handler.js'
export { holdEnd, onClose, onEnd, type RequestEnd } from './http/observe.js'
export { dispatching, type RecordedUsage, recordUsage } from './http/record-usage.js'
export { costNanoUsd, formatUsd, nanoUsdPerUsd, type Price, parseUsd, usdNumber } from './money.js'
export { type Principal, principalKey } from './principal.js'
export type { Target } from './target.js'
export { addUsage, completionTokens, noUsage, promptTokens, totalTokens, type Usage } from './usage.js'
export { type OpenAiUsage, usageFromOpenAi } from './wire/openai-usage.js'
