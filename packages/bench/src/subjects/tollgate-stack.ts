import { dialect } from '@tollgate/core/http/dialect'
import type { ErrorHandler, Handler } from '@tollgate/core/http/handler'
import { inferenceService } from '@tollgate/core/inference/service'
import { auth } from '@tollgate/core/middleware/auth'
import { bodyLimit } from '@tollgate/core/middleware/body-limit'
import { cache } from '@tollgate/core/middleware/cache'
import { cost } from '@tollgate/core/middleware/cost'
import { errorHandler } from '@tollgate/core/middleware/error-handler'
import { logging } from '@tollgate/core/middleware/logging'
import { metrics } from '@tollgate/core/middleware/metrics'
import { notFound } from '@tollgate/core/middleware/not-found'
import { rateLimit } from '@tollgate/core/middleware/rate-limit'
import { timeout } from '@tollgate/core/middleware/timeout'
import { openAiCompatible } from '@tollgate/core/providers/openai-compatible'
import { chatCompletions } from '@tollgate/core/routes/chat-completions'
import { metricsRoute } from '@tollgate/core/routes/metrics'
import { memoryDirectory } from '@tollgate/core/stores/memory-directory'
import helmet from 'helmet'
import {
  apiKeys,
  chatPath,
  jwtAudience,
  jwtIssuer,
  jwtSecret,
  modelName,
  upstreamKey,
  usdPerMillionTokens,
} from '../traffic.ts'
import { logDestination } from './log-destination.ts'

/** A handler, or one for a path only. */
export type Mount = Handler | ErrorHandler | { readonly path: string; readonly handler: Handler }

/**
 * What the reference server mounts on the way of a chat request, in its order: log, metrics, security headers, limits of size and time,
 * identity, rate, money, the route, errors. With `CACHE=on`, an answer cache before the route, which keeps every answer.
 */
export function tollgateStack(upstreamOrigin: string): readonly Mount[] {
  const measure = metrics({ routes: [chatPath, '/metrics'] })
  const service = inferenceService({
    providers: [openAiCompatible({ name: 'upstream', baseUrl: `${upstreamOrigin}/v1`, apiKey: upstreamKey })],
  })
  const keys = apiKeys.map((key, caller) => ({ key, tenant: 'bench', subject: `caller-${caller}`, tier: 'enterprise' }))
  const answers =
    process.env['CACHE'] === 'on'
      ? [{ path: chatPath, handler: cache({ ttlMs: 3_600_000, nondeterministic: true }) }]
      : []
  return [
    logging({ destination: logDestination() }),
    measure,
    helmet(),
    { path: chatPath, handler: dialect('openai') },
    { path: '/metrics', handler: metricsRoute({ registry: measure.registry }) },
    bodyLimit({ maxBytes: 1_048_576 }),
    timeout({ ms: 300_000 }),
    auth({
      directory: memoryDirectory({ apiKeys: keys }),
      jwt: { issuer: jwtIssuer, audience: jwtAudience, algorithms: ['HS256'], secret: jwtSecret },
    }),
    rateLimit({ limit: { enterprise: 1_000_000_000, default: 0 } }),
    cost({ overrides: { [`upstream/${modelName}`]: { usdPerMillionTokens } } }),
    ...answers,
    { path: chatPath, handler: chatCompletions({ service }) },
    notFound(),
    errorHandler(),
  ]
}
