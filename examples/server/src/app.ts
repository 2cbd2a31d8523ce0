import type { RequestListener } from 'node:http'
import { setImmediate } from 'node:timers/promises'
import { gptTokenizer } from '@tollgate/core/gpt-tokenizer'
import { dialect } from '@tollgate/core/http/dialect'
import { isFormType } from '@tollgate/core/http/form-field'
import type { Handler } from '@tollgate/core/http/handler'
import { urlOf } from '@tollgate/core/http/route-template'
import type { InferenceService } from '@tollgate/core/inference/service'
import { auth, type JwtIssuerOptions } from '@tollgate/core/middleware/auth'
import { authorize } from '@tollgate/core/middleware/authorize'
import { bodyLimit } from '@tollgate/core/middleware/body-limit'
import { type CacheOptions, cache } from '@tollgate/core/middleware/cache'
import { cost } from '@tollgate/core/middleware/cost'
import { type Drain, drain } from '@tollgate/core/middleware/drain'
import { errorHandler } from '@tollgate/core/middleware/error-handler'
import { hedgeReports } from '@tollgate/core/middleware/hedge-reports'
import { ledger } from '@tollgate/core/middleware/ledger'
import { limitMetrics } from '@tollgate/core/middleware/limit-metrics'
import { limitWebhooks } from '@tollgate/core/middleware/limit-webhooks'
import { type LimitRule, limits } from '@tollgate/core/middleware/limits'
import { type Logging, logging } from '@tollgate/core/middleware/logging'
import { metrics } from '@tollgate/core/middleware/metrics'
import { methodNotAllowed, notFound } from '@tollgate/core/middleware/not-found'
import { shadowReports } from '@tollgate/core/middleware/shadow-reports'
import { timeout } from '@tollgate/core/middleware/timeout'
import { upstreamLimitMetrics } from '@tollgate/core/middleware/upstream-limit-metrics'
import { type PriceOverrides, priceTable } from '@tollgate/core/price-table'
import { speech, transcriptions, translations } from '@tollgate/core/routes/audio'
import { auditRoute } from '@tollgate/core/routes/audit'
import { authorizationServer } from '@tollgate/core/routes/authorization-server'
import { chatCompletions } from '@tollgate/core/routes/chat-completions'
import { completions } from '@tollgate/core/routes/completions'
import { embeddings } from '@tollgate/core/routes/embeddings'
import { healthRoute } from '@tollgate/core/routes/health'
import { imageEdits, imageGenerations, imageVariations } from '@tollgate/core/routes/images'
import { cachedInference, inference } from '@tollgate/core/routes/inference'
import { keysRoute } from '@tollgate/core/routes/keys'
import { limitsRoute } from '@tollgate/core/routes/limits'
import { countTokens, messages } from '@tollgate/core/routes/messages'
import { metricsRoute } from '@tollgate/core/routes/metrics'
import { listModels, modelDetails } from '@tollgate/core/routes/models'
import { predict, predictBatch } from '@tollgate/core/routes/predict'
import { type ReadinessState, readiness, readyRoute } from '@tollgate/core/routes/ready'
import { responseIds } from '@tollgate/core/routes/response-ids'
import { responses } from '@tollgate/core/routes/responses'
import { rolesRoute } from '@tollgate/core/routes/roles'
import { storedResponses } from '@tollgate/core/routes/stored-responses'
import { teamsRoute } from '@tollgate/core/routes/teams'
import { tenantsRoute } from '@tollgate/core/routes/tenants'
import { usageRoute } from '@tollgate/core/routes/usage'
import { usersRoute } from '@tollgate/core/routes/users'
import type { IdentityStore } from '@tollgate/core/stores/identity-store'
import type { Ledger } from '@tollgate/core/stores/ledger'
import { type LedgerWriter, ledgerWriter } from '@tollgate/core/stores/ledger-writer'
import type { LimitStore } from '@tollgate/core/stores/limit-store'
import { memoryCacheStore } from '@tollgate/core/stores/memory-cache-store'
import { memoryDirectory } from '@tollgate/core/stores/memory-directory'
import { memoryLimitStore } from '@tollgate/core/stores/memory-limit-store'
import { parseUsers } from '@tollgate/core/stores/parse-users'
import { webhookSender } from '@tollgate/core/webhook-sender'
import compression from 'compression'
import cors from 'cors'
import express from 'express'
import helmet from 'helmet'
import { gpuAvailable } from './gpu.js'
import { ensureIdentities, operatorTenant } from './identities.js'
import { defaultModels, makeModels } from './models.js'
import { mediaPaths, openAiPaths, protectedPaths, routes } from './paths.js'
import { hasOpenAi, isOpenAi, type Settings } from './settings.js'

/** The whole server, not listening yet. */
export interface Gate {
  readonly listener: RequestListener
  readonly service: InferenceService
  readonly ready: ReadinessState
  readonly draining: Drain
  /** What was used, on its way to the ledger. */
  readonly writer: LedgerWriter
  /** Writes what the log still holds. */
  flush(): void
}

export interface GateOptions {
  readonly settings: Settings
  readonly version: string
  /** Where clients reach the server: the issuer of its tokens. */
  readonly publicUrl: string
  /** The operator's key. Without it there are only those of `identities`. */
  readonly apiKey?: string | undefined
  /** Where keys, users and all that is. */
  readonly identities: IdentityStore
  /** Where what was used is written. */
  readonly ledger: Ledger
  /** Where rows of the ledger wait. Default: in memory. */
  readonly spoolFolder?: string | undefined
  /** What both are kept in, if it has to be connected first and may be away. */
  readonly database?: { ready(): Promise<void>; check(): Promise<void> } | undefined
  /** Where limits are counted. Default: in this process. */
  readonly limitStore?: LimitStore | undefined
  /** Told a key that may do everything, once, when `identities` was empty. Without it none is made. */
  readonly onFirstKey?: ((key: string) => void) | undefined
  /** Told what became of a change of the models' configuration. */
  readonly report?: (text: string) => void
  /** Where log lines go. Default: standard output. */
  readonly destination?: { write(line: string): void }
}

/** Everything mounted, in the order in which it has to stand. */
export function makeGate(options: GateOptions): Gate {
  const { settings, version, publicUrl, apiKey, identities, database, onFirstKey, destination } = options
  const defaults = defaultModels(settings)
  const counts = options.limitStore ?? memoryLimitStore()
  const users = settings.usersJson === undefined ? [] : parseUsers(settings.usersJson)
  // No user can be called so.
  const operator = { tenant: operatorTenant, subject: 'key:operator', tier: settings.API_KEY_TIER, scopes: ['*'] }
  const prices = priceTable({
    overrides: {
      'onnx/*': { free: true },
      'echo/*': { free: true },
      ...(settings.PRICES as PriceOverrides | undefined),
    },
  })
  const log = requestLog(settings, destination)
  const measure = metrics({ routes })
  const onShadow = shadowReports({ registry: measure.registry, ...(log === undefined ? {} : { log: log.log }) })
  const { service, loaded } = makeModels(settings, prices, options.report ?? (() => {}), {
    onHedge: hedgeReports(measure.registry),
    onShadow,
    onUpstreamLimits: upstreamLimitMetrics({ registry: measure.registry }),
  })
  const ready = readiness({
    waitFor: {
      models: () => service.ready(),
      // Both are loaded at first use and take a moment: the first caller should not wait for it.
      tokenizer: () => setImmediate().then(() => gptTokenizer().count('x')),
      prices: () => setImmediate().then(() => prices.version),
      identities: async () => {
        await database?.ready()
        await ensureIdentities(identities, { users, onFirstKey })
      },
    },
    checks: { database: () => database?.check() },
  })
  const draining = drain()
  const spool = options.spoolFolder === undefined ? {} : { folder: options.spoolFolder }
  const writer = ledgerWriter({ ledger: options.ledger, ...spool })
  const answers = memoryCacheStore({ maxBytes: settings.CACHE_MAX_BYTES })
  const trustProxy = settings.TRUST_PROXY ?? (false as const)
  const { WEBHOOK_URL: url, WEBHOOK_SECRET: secrets } = settings
  const count = limitMetrics(measure.registry)
  const notify = url === undefined || secrets === undefined ? undefined : limitWebhooks(webhookSender({ url, secrets }))
  const limiter = limits({
    store: counts,
    prices,
    trustProxy,
    onEvent: (event) => {
      count(event)
      notify?.(event)
    },
    rules: [requestsByTier(settings), ...((settings.LIMITS ?? []) as LimitRule[])],
  })

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
  app.use('/v1/messages', dialect('anthropic'))

  // Open to all, and answering while the server drains.
  app.use('/health', healthRoute({ version, models: loaded, gpuAvailable: gpuAvailable() }))
  app.use('/ready', readyRoute(ready))
  const exposition = metricsRoute({ registry: measure.registry })
  if (settings.METRICS_PUBLIC) app.use('/metrics', exposition)

  app.use(draining, limitBodies(settings), timeout({ ms: settings.REQUEST_TIMEOUT_SECONDS * 1000 }))
  const tokens = authorizationServer({
    store: identities,
    issuer: publicUrl,
    audience: settings.JWT_AUDIENCE,
    passwordGrant: settings.PASSWORD_GRANT,
    limits: counts,
    trustProxy,
  })
  app.use('/v1/token', tokens.token)
  app.use('/v1/revoke', tokens.revoke)
  app.use('/v1/introspect', tokens.introspect)
  app.use('/.well-known/jwks.json', tokens.jwks)
  app.use('/.well-known/oauth-authorization-server', tokens.metadata)

  // From here on: who calls, how often, at what price.
  app.use(
    [...protectedPaths, ...(settings.METRICS_PUBLIC ? [] : ['/metrics'])],
    auth({
      // The operator's key is asked for first: it works while the database is away.
      directory:
        apiKey === undefined ? identities : [memoryDirectory({ apiKeys: [{ key: apiKey, ...operator }] }), identities],
      jwt: issuers(settings),
      tokens,
      limits: counts,
      environment: 'live',
      trustProxy,
    }),
    authorize(),
    limiter,
    ledger({ writer }),
    cost({
      prices,
      unknownPrice: settings.UNKNOWN_PRICE ?? (ownUpstream(settings) ? 'allow' : 'reject'),
    }),
  )
  if (!settings.METRICS_PUBLIC) app.use('/metrics', exposition)

  // What the caller asked for in words of its own may be answered from before; a chat only if it asked for no variety.
  const cached = (options: Pick<CacheOptions, 'onHit' | 'cacheable' | 'keyHeaders'> = {}): Handler[] =>
    settings.CACHE_TTL_SECONDS === 0
      ? []
      : [cache({ store: answers, ttlMs: settings.CACHE_TTL_SECONDS * 1000, ...options })]
  const predictOptions = { service, defaultModels: defaults.predict }
  const may = (scope: string) => authorize({ scopes: [scope] })
  const { RESPONSE_IDS_SECRET: idSecrets } = settings
  const ids = idSecrets === undefined ? undefined : responseIds({ secrets: idSecrets })
  app.all(
    '/inference',
    methodNotAllowed(['POST']),
    may('chat'),
    ...cached({ onHit: cachedInference }),
    inference({ service }),
  )
  app.all(
    '/v1/chat/completions',
    methodNotAllowed(['POST']),
    may('chat'),
    ...cached({ cacheable: isGreedy }),
    chatCompletions({ service }),
  )
  app.all(
    '/v1/completions',
    methodNotAllowed(['POST']),
    may('chat'),
    ...cached({ cacheable: isGreedy }),
    completions({ service }),
  )
  app.all(
    '/v1/responses',
    methodNotAllowed(['POST']),
    may('chat'),
    ...cached({ cacheable: isGreedy }),
    responses({ service, allow: settings.RESPONSES_ALLOW, ...(ids === undefined ? {} : { ids }) }),
  )
  if (ids !== undefined) app.use('/v1/responses', may('chat'), storedResponses({ service, ids }))
  app.all(
    '/v1/messages',
    methodNotAllowed(['POST']),
    may('chat'),
    ...cached({ cacheable: isGreedy, keyHeaders: ['anthropic-beta', 'anthropic-version'] }),
    messages({ service }),
  )
  app.all('/v1/messages/count_tokens', methodNotAllowed(['POST']), may('chat'), countTokens({ service }))
  app.all('/v1/embeddings', methodNotAllowed(['POST']), may('embed'), ...cached(), embeddings({ service }))
  const { MAX_UPLOAD_BYTES: maxUploadBytes, UPLOAD_FOLDER: spoolFolder } = settings
  const passing = { service, maxUploadBytes, spoolFolder }
  for (const [path, handler] of [
    ['/v1/images/generations', imageGenerations(passing)],
    ['/v1/images/edits', imageEdits(passing)],
    ['/v1/images/variations', imageVariations(passing)],
    ['/v1/audio/speech', speech(passing)],
    ['/v1/audio/transcriptions', transcriptions(passing)],
    ['/v1/audio/translations', translations(passing)],
  ] as const) {
    app.all(path, methodNotAllowed(['POST']), may('chat'), handler)
  }
  app.all('/v1/predict/batch', methodNotAllowed(['POST']), may('batch'), predictBatch(predictOptions))
  app.all('/v1/predict', methodNotAllowed(['POST']), may('predict'), predict(predictOptions))
  app.get('/v1/models', listModels({ service }))
  app.get('/v1/models/:name', modelDetails({ service }))
  app.all(['/v1/models', '/v1/models/:name'], methodNotAllowed(['GET']))
  const administered = { store: identities, trustProxy }
  app.use('/v1/keys', keysRoute(administered))
  app.use('/v1/users', usersRoute(administered))
  app.use('/v1/teams', teamsRoute(administered))
  app.use('/v1/roles', rolesRoute(administered))
  app.use('/v1/tenants', tenantsRoute(administered))
  app.use('/v1/audit', auditRoute({ store: identities }))
  app.use('/v1/usage', usageRoute({ ledger: options.ledger }))
  app.use('/v1/limits', limitsRoute({ limits: limiter }))

  app.use(notFound(), errorHandler())
  return {
    // Express answers a target that it cannot read by itself, before any handler, in HTML: it is given the path alone (RFC 9112, 3.2.2).
    listener(req, res) {
      const path = urlOf(req)
      req.url = path.startsWith('/') ? path : `/${path}`
      app(req, res)
    },
    service,
    ready,
    draining,
    writer,
    flush: () => log?.flush(),
  }
}

/** What is kept in memory may be small; forms with pictures and sound are streamed. */
function limitBodies(settings: Settings): Handler {
  const kept = bodyLimit({ maxBytes: settings.MAX_BODY_BYTES })
  const streamed = bodyLimit({ maxBytes: settings.MAX_UPLOAD_BYTES })
  return (req, res, next) => {
    const isUpload =
      isFormType(req.headers['content-type']) && mediaPaths.some((path) => urlOf(req).startsWith(`${path}/`))
    return (isUpload ? streamed : kept)(req, res, next)
  }
}

function requestsByTier(settings: Settings): LimitRule {
  const { RATE_LIMIT_FREE: free, RATE_LIMIT_PRO: pro, RATE_LIMIT_ENTERPRISE: enterprise } = settings
  return { name: 'requests', measure: 'requests', per: 'user', limit: { free, pro, enterprise, default: free } }
}

function requestLog(settings: Settings, destination: GateOptions['destination']): Logging | undefined {
  const { LOG_LEVEL: level } = settings
  if (level === 'silent') return undefined
  return logging({ level, ...(destination === undefined ? {} : { destination }) })
}

/** Whose tokens are taken besides our own. Each speaks for tenants of its own only, but for whoever has the secret. */
function issuers(settings: Settings): JwtIssuerOptions[] {
  const { JWT_AUDIENCE: audience, JWT_DEFAULT_SCOPES: defaultScopes } = settings
  const { JWT_SECRET: secret, JWT_JWKS_URL: jwksUrl, JWT_JWKS_ISSUER: issuer, OIDC_ISSUERS: found = [] } = settings
  const trusted: JwtIssuerOptions[] = []
  if (secret !== undefined) {
    const algorithms = ['HS256'] as const
    trusted.push({ issuer: settings.JWT_ISSUER, audience, algorithms, secret, defaultScopes, tenants: 'any' })
  }
  const foreign = { audience, algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'], defaultScopes, tenants: 'own' } as const
  if (jwksUrl !== undefined && issuer !== undefined) trusted.push({ ...foreign, issuer, jwksUrl })
  for (const each of found) trusted.push({ ...foreign, issuer: each, discovery: true })
  return trusted
}

function crossOrigin(origins: readonly string[]) {
  return cors({
    origin: origins.includes('*') ? '*' : [...origins],
    exposedHeaders: [
      'X-Request-Id',
      'Request-Id',
      'RateLimit',
      'RateLimit-Policy',
      'Retry-After',
      'Retry-After-Ms',
      'X-Should-Retry',
      'Date',
      'Cache-Status',
      'Age',
      'X-Tollgate-Cost-Usd',
      'X-Tollgate-Decision',
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
  return hasOpenAi(settings) && !isOpenAi(settings.OPENAI_BASE_URL)
}
