import type { RequestListener } from 'node:http'
import { gptTokenizer } from '@tollgate/core/gpt-tokenizer'
import { dialect } from '@tollgate/core/http/dialect'
import { compose, type Handler, listener } from '@tollgate/core/http/handler'
import { inferenceService } from '@tollgate/core/inference/service'
import { auth } from '@tollgate/core/middleware/auth'
import { errorHandler } from '@tollgate/core/middleware/error-handler'
import { metrics } from '@tollgate/core/middleware/metrics'
import { notFound } from '@tollgate/core/middleware/not-found'
import { echoProvider } from '@tollgate/core/providers/echo'
import { chatCompletions } from '@tollgate/core/routes/chat-completions'
import { metricsRoute } from '@tollgate/core/routes/metrics'
import { memoryDirectory } from '@tollgate/core/stores/memory-directory'

/** The gate without a framework: the same handlers, composed by hand. */
export function makeListener(apiKey: string): RequestListener {
  const service = inferenceService({ providers: [echoProvider({ tokenizer: gptTokenizer() })] })
  const directory = memoryDirectory({ apiKeys: [{ key: apiKey, tenant: 'acme', subject: 'website' }] })
  const measure = metrics()
  return listener(
    measure,
    at('/metrics', metricsRoute({ registry: measure.registry })),
    at('/v1/chat/completions', dialect('openai'), auth({ directory }), chatCompletions({ service })),
    notFound(),
    errorHandler(),
  )
}

/** Handlers for one path. */
function at(path: string, ...handlers: Handler[]): Handler {
  const handle = compose(...handlers)
  return (req, res, next) => {
    if (req.url?.split('?', 1)[0] === path) handle(req, res, next)
    else next()
  }
}
