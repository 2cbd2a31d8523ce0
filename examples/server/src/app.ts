import { setImmediate } from 'node:timers/promises'
import { isTollgateError } from '@tollgate/core/errors'
import { gptTokenizer } from '@tollgate/core/gpt-tokenizer'
import { dialect } from '@tollgate/core/http/dialect'
import type { Handler } from '@tollgate/core/http/handler'
import type { InferenceService } from '@tollgate/core/inference/service'
import { auth, type JwtIssuerOptions } from '@tollgate/core/middleware/auth'
import { authorize } from '@tollgate/core/middleware/authorize'
import { bodyLimit } from '@tollgate/core/middleware/body-limit'
import { cache } from '@tollgate/core/middleware/cache'
import { cost } from '@tollgate/core/middleware/cost'
import { type Drain, drain } from '@tollgate/core/middleware/drain'
import { errorHandler } from '@tollgate/core/middleware/error-handler'
import { type Logging, logging } from '@tollgate/core/middleware/logging'
import { metrics } from '@tollgate/core/middleware/metrics'
import { methodNotAllowed, notFound } from '@tollgate/core/middleware/not-found'
import { rateLimit } from '@tollgate/core/middleware/rate-limit'
import { timeout } from '@tollgate/core/middleware/timeout'
import { type PriceOverrides, priceTable } from '@tollgate/core/price-table'
import { auditRoute } from '@tollgate/core/routes/audit'
import { chatCompletions } from '@tollgate/core/routes/chat-completions'
import { embeddings } from '@tollgate/core/routes/embeddings'
import { healthRoute } from '@tollgate/core/routes/health'
import { cachedInference, inference } from '@tollgate/core/routes/inference'
import { keysRoute } from '@tollgate/core/routes/keys'
import { metricsRoute } from '@tollgate/core/routes/metrics'
import { listModels, modelDetails } from '@tollgate/core/routes/models'
import { predict, predictBatch } from '@tollgate/core/routes/predict'
import { type ReadinessState, readiness, readyRoute } from '@tollgate/core/routes/ready'
import { tokenRoute } from '@tollgate/core/routes/token'
import { usersMe } from '@tollgate/core/routes/users-me'
import { memoryCacheStore } from '@tollgate/core/stores/memory-cache-store'
import { memoryDirectory } from '@tollgate/core/stores/memory-directory'
import { memoryLimitStore } from '@tollgate/core/stores/memory-limit-store'
import { parseUsers } from '@tollgate/core/stores/parse-users'
import type { PostgresIdentityStore } from '@tollgate/postgres'
import compression from 'compression'
import cors from 'cors'
import express, { type Express } from 'express'
import helmet from 'helmet'
import { gpuAvailable } from './gpu.js'
import { defaultModels, makeModels } from './models.js'
import { hasUpstream, isOpenAi, type Settings } from './settings.js'

/** The whole server, not listening yet. */
export interface Gate {
  readonly app: Express
  readonly service: InferenceService
  readonly ready: ReadinessState
  readonly draining: Drain
  /** Writes what the log still holds. */
  flush(): void
}

export interface GateOptions {
  readonly settings: Settings
  readonly version: string
  /** The accepted key. */
  readonly apiKey: string
  /** Signs the tokens of `POST /v1/token`. */
  readonly jwtSecret: string
  /** Where issued keys are. Without it there is the operator's key alone. */
  readonly identities?: PostgresIdentityStore
  /** Where log lines go. Default: standard output. */
  readonly destination?: { write(line: string): void }
}

/** Everything mounted, in the order in which it has to stand. */
export function makeGate({ settings, version, apiKey, jwtSecret, identities, destination }: GateOptions): Gate {
  const { service, loaded } = makeModels(settings)
  const defaults = defaultModels(settings)
  const limits = memoryLimitStore()
  const users = settings.usersJson === undefined ? [] : parseUsers(settings.usersJson)
  const directory = memoryDirectory({
    apiKeys: [{ key: apiKey, tenant: 'default', subject: 'operator', tier: settings.API_KEY_TIER, scopes: ['*'] }],
    users,
  })
  const prices = priceTable({
    overrides: {
      'onnx/*': { free: true },
      'echo/*': { free: true },
      ...(settings.PRICES as PriceOverrides | undefined),
    },
  })
  const ready = readiness({
    waitFor: {
      models: () => service.ready(),
      // Both are loaded at first use and take a moment: the first caller should not wait for it.
      tokenizer: () => setImmediate().then(() => gptTokenizer().count('x')),
      prices: () => setImmediate().then(() => prices.version),
      ...(identities === undefined ? {} : { identities: () => haveTenant(identities) }),
    },
    checks: identities === undefined ? {} : { database: () => identities.check() },
  })
  const draining = drain()
  const log = requestLog(settings, destination)
  const measure = metrics({ routes })
  const answers = memoryCacheStore({ maxBytes: settings.CACHE_MAX_BYTES })
  const trustProxy = settings.TRUST_PROXY ?? false

  const app = express()
  app.disable('x-powered-by')
  // Answers are made for one caller: a validator would cost a hash each and match never.
  app.disable('etag')

  // Seen by all: every request is logged and counted, whatever becomes of it.
  if (log !== undefined) app.use(log)
  app.use(measure, helmet())
  if (settings.CORS_ORIGINS !== undefined) app.use(crossOrigin(settings.CORS_ORIGINS))
  app.use(compression({ filter: compressible }))
  app.use(openAiPaths, dialect('openai'))

  // Open to all, and answering while the server drains.
  app.use('/health', healthRoute({ version, models: loaded, gpuAvailable: gpuAvailable() }))
  app.use('/ready', readyRoute(ready))
  const exposition = metricsRoute({ registry: measure.registry })
  if (settings.METRICS_PUBLIC) app.use('/metrics', exposition)

  app.use(
    draining,
    bodyLimit({ maxBytes: settings.MAX_BODY_BYTES }),
    timeout({ ms: settings.REQUEST_TIMEOUT_SECONDS * 1000 }),
  )
  if (users.length > 0) {
    app.use(
      '/v1/token',
      tokenRoute({
        directory,
        issuer: settings.JWT_ISSUER,
        audience: settings.JWT_AUDIENCE,
        secret: jwtSecret,
        limits,
        trustProxy,
      }),
    )
  }

  // From here on: who calls, how often, at what price.
  app.use(
    [...protectedPaths, ...(settings.METRICS_PUBLIC ? [] : ['/metrics'])],
    auth({
      // The operator's key is asked for first: it works while the database is away.
      directory: identities === undefined ? directory : [directory, identities],
      jwt: issuers(settings, jwtSecret, users.length > 0),
      environment: 'live',
      trustProxy,
    }),
    authorize(),
    rateLimit({
      store: limits,
      trustProxy,
      tiers: {
        free: { limit: settings.RATE_LIMIT_FREE },
        pro: { limit: settings.RATE_LIMIT_PRO },
        enterprise: { limit: settings.RATE_LIMIT_ENTERPRISE },
      },
    }),
    cost({
      prices,
      unknownPrice: settings.UNKNOWN_PRICE ?? (ownUpstream(settings) ? 'allow' : 'reject'),
    }),
  )
  if (!settings.METRICS_PUBLIC) app.use('/metrics', exposition)

  // What the caller asked for in words of its own may be answered from before; a chat only if it asked for no variety.
  const cached = (options: { onHit?: typeof cachedInference; cacheable?: typeof isGreedy } = {}): Handler[] =>
    settings.CACHE_TTL_SECONDS === 0
      ? []
      : [cache({ store: answers, ttlMs: settings.CACHE_TTL_SECONDS * 1000, ...options })]
  const predictOptions = { service, defaultModels: defaults.predict }
  app.all('/inference', methodNotAllowed(['POST']), ...cached({ onHit: cachedInference }), inference({ service }))
  app.all(
    '/v1/chat/completions',
    methodNotAllowed(['POST']),
    ...cached({ cacheable: isGreedy }),
    chatCompletions({ service }),
  )
  app.all('/v1/embeddings', methodNotAllowed(['POST']), ...cached(), embeddings({ service }))
  app.all('/v1/predict/batch', methodNotAllowed(['POST']), predictBatch(predictOptions))
  app.all('/v1/predict', methodNotAllowed(['POST']), predict(predictOptions))
  app.get('/v1/models', listModels({ service }))
  app.get('/v1/models/:name', modelDetails({ service }))
  app.all(['/v1/models', '/v1/models/:name'], methodNotAllowed(['GET']))
  if (identities !== undefined) {
    app.use('/v1/keys', keysRoute({ store: identities, trustProxy }))
    app.use('/v1/audit', auditRoute({ store: identities }))
  }
  app.all('/v1/users/me', methodNotAllowed(['GET']), usersMe())

  app.use(notFound(), errorHandler())
  return { app, service, ready, draining, flush: () => log?.flush() }
}

/** The operator's own tenant, which every server that starts wants to be there. */
async function haveTenant(identities: PostgresIdentityStore): Promise<void> {
  await identities.ready()
  const id = 'default'
  if ((await identities.find('tenant', { id })) !== undefined) return
  const actor = { tenant: id, subject: 'operator', method: 'start' }
  try {
    await identities.create(
      'tenant',
      { id, name: id, disabled: false },
      { action: 'tenant.create', at: Date.now(), actor },
    )
  } catch (error) {
    // Another server was first.
    if (!isTollgateError(error, 'conflict')) throw error
  }
}

const openAiPaths = ['/v1/chat/completions', '/v1/embeddings', '/v1/models']
const protectedPaths = ['/inference', '/v1']

/** The templates by which metrics name what is refused before its route is known. */
const routes = [
  '/health',
  '/ready',
  '/metrics',
  '/inference',
  '/v1/chat/completions',
  '/v1/embeddings',
  '/v1/models',
  '/v1/models/:name',
  '/v1/predict',
  '/v1/predict/batch',
  '/v1/token',
  '/v1/users/me',
  '/v1/keys',
  '/v1/keys/{id}',
  '/v1/keys/{id}/rotate',
  '/v1/keys/{id}/revoke',
  '/v1/audit',
]

function requestLog(settings: Settings, destination: GateOptions['destination']): Logging | undefined {
  const { LOG_LEVEL: level } = settings
  if (level === 'silent') return undefined
  return logging({ level, ...(destination === undefined ? {} : { destination }) })
}

function issuers(settings: Settings, jwtSecret: string, hasUsers: boolean): JwtIssuerOptions[] {
  const { JWT_AUDIENCE: audience, JWT_JWKS_URL: jwksUrl, JWT_JWKS_ISSUER: foreign } = settings
  const trusted: JwtIssuerOptions[] = []
  if (hasUsers || settings.JWT_SECRET !== undefined) {
    const algorithms = ['HS256'] as const
    trusted.push({ issuer: settings.JWT_ISSUER, audience, algorithms, secret: jwtSecret, tenants: 'any' })
  }
  if (jwksUrl !== undefined && foreign !== undefined) {
    trusted.push({ issuer: foreign, audience, algorithms: ['RS256', 'ES256'], jwksUrl, tenants: 'own' })
  }
  return trusted
}

function crossOrigin(origins: readonly string[]) {
  return cors({
    origin: origins.includes('*') ? '*' : [...origins],
    exposedHeaders: [
      'X-Request-Id',
      'RateLimit',
      'RateLimit-Policy',
      'Retry-After',
      'Retry-After-Ms',
      'X-Should-Retry',
      'Date',
      'Cache-Status',
      'Age',
      'X-Tollgate-Cost-Usd',
    ],
    maxAge: 600,
  })
}

// An event that waits in a compressor's buffer is an event that comes late.
function compressible(req: express.Request, res: express.Response): boolean {
  const type = String(res.getHeader('content-type') ?? '')
  return !type.startsWith('text/event-stream') && compression.filter(req, res)
}

function isGreedy(_req: unknown, body: unknown): boolean {
  return (body as { temperature?: unknown } | null)?.temperature === 0
}

function ownUpstream(settings: Settings): boolean {
  return hasUpstream(settings) && !isOpenAi(settings.OPENAI_BASE_URL)
}
