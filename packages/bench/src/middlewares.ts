import { createSecretKey } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { parseArgs } from 'node:util'
import { jsonBody } from '@tollgate/core/http/body'
import { type Handler, middleware } from '@tollgate/core/http/handler'
import { recordUsage } from '@tollgate/core/http/record-usage'
import { auth } from '@tollgate/core/middleware/auth'
import { bodyLimit } from '@tollgate/core/middleware/body-limit'
import { cache } from '@tollgate/core/middleware/cache'
import { cost } from '@tollgate/core/middleware/cost'
import { logging } from '@tollgate/core/middleware/logging'
import { metrics } from '@tollgate/core/middleware/metrics'
import { rateLimit } from '@tollgate/core/middleware/rate-limit'
import { timeout } from '@tollgate/core/middleware/timeout'
import { memoryDirectory } from '@tollgate/core/stores/memory-directory'
import express, { type RequestHandler } from 'express'
import { expressjwt } from 'express-jwt'
import promBundle from 'express-prom-bundle'
import { rateLimit as expressRateLimit } from 'express-rate-limit'
import helmet from 'helmet'
import pino from 'pino'
import { pinoHttp } from 'pino-http'
import { addedBy } from './in-process.ts'
import { markdown } from './report.ts'
import { logDestination } from './subjects/log-destination.ts'
import {
  apiKeys,
  authorizations,
  chatPath,
  jwt,
  jwtAudience,
  jwtIssuer,
  jwtSecret,
  modelName,
  usdPerMillionTokens,
} from './traffic.ts'

// What one middleware costs in front of an Express 5 route: requests and responses as node:http makes them, on a socket that goes nowhere,
// the app with the middleware less the app with an empty one. Adds nothing for the network, so the figures are floors.

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '9' }, requests: { type: 'string', default: '5000' } },
})

interface Case {
  readonly name: string
  readonly layers: readonly RequestHandler[]
  /** The `Authorization` of the nth request. */
  readonly authorization: (index: number) => string | undefined
  /** Measured against these instead of an empty layer, for what works on what others leave. */
  readonly over?: readonly RequestHandler[]
}

const empty: RequestHandler = (_req, _res, next) => next()
const keys = apiKeys.map((key, caller) => ({ key, tenant: 'bench', subject: `caller-${caller}`, tier: 'enterprise' }))
const directory = memoryDirectory({ apiKeys: keys })
const issuer = { issuer: jwtIssuer, audience: jwtAudience, algorithms: ['HS256'], secret: jwtSecret } as const
const byKey = authorizations('api-key')
const byToken = authorizations('jwt')
const repeated = (index: number) => byToken[index % byToken.length]
const identified = auth({ directory }) as RequestHandler
// A route reads the body anyway: a cache that reads it earlier does not add that.
const parsed = middleware('parsed', (_context, req) => jsonBody(req).then(() => {})) as RequestHandler
const none = () => undefined
const peerJwt = { algorithms: ['HS256' as const], issuer: jwtIssuer, audience: jwtAudience }
// Signed beforehand: signing is not what is measured.
const fresh = Array.from({ length: 4_096 }, (_, index) => `Bearer ${jwt(`fresh-${index}`)}`)

const ours = (name: string, handler: Handler, authorization: Case['authorization'] = none): Case => ({
  name,
  layers: [handler as RequestHandler],
  authorization,
})
const peer = (name: string, layer: RequestHandler, authorization: Case['authorization'] = none): Case => ({
  name: `peer: ${name}`,
  layers: [layer],
  authorization,
})

const cases: readonly Case[] = [
  ours('auth, API key', auth({ directory }), (index) => byKey[index % byKey.length]),
  ours('auth, JWT seen before', auth({ jwt: issuer }), repeated),
  // A cache of one entry: every token is a new one.
  ours('auth, JWT HS256 at first sight', auth({ jwt: issuer, cacheSize: 1 }), (index) => fresh[index % fresh.length]),
  peer('express-jwt, string secret', expressjwt({ secret: jwtSecret, ...peerJwt }), repeated),
  peer('express-jwt, KeyObject', expressjwt({ secret: createSecretKey(Buffer.from(jwtSecret)), ...peerJwt }), repeated),
  {
    name: 'rateLimit, memory (over auth)',
    layers: [identified, rateLimit({ limit: { enterprise: 1e9, default: 0 } }) as RequestHandler],
    authorization: (index) => byKey[index % byKey.length],
    over: [identified],
  },
  peer('express-rate-limit', expressRateLimit({ limit: 1e9, standardHeaders: 'draft-8', legacyHeaders: false })),
  ours('metrics', metrics({ routes: [chatPath] })),
  peer('express-prom-bundle', promBundle({ includeMethod: true, includePath: true })),
  ours('logging', logging({ destination: logDestination() })),
  peer('pino-http, buffered', pinoHttp({ logger: pino(logDestination()) })),
  ours('cost', cost({ overrides: { [modelName]: { usdPerMillionTokens } } })),
  {
    name: 'cache, miss (over auth and body)',
    layers: [identified, parsed, cache({ nondeterministic: true, store: neverStores() }) as RequestHandler],
    authorization: (index) => byKey[index % byKey.length],
    over: [identified, parsed],
  },
  ours('timeout', timeout({ ms: 300_000 })),
  ours('bodyLimit', bodyLimit({ maxBytes: 1_048_576 })),
  peer('helmet', helmet()),
]

/** Finds nothing and keeps nothing, so that every lookup is a miss. */
function neverStores() {
  return { get: () => undefined, set: () => {}, delete: () => {}, close: () => {} }
}

function appWith(layers: readonly RequestHandler[]): RequestListener {
  const app = express()
  app.disable('etag')
  app.disable('x-powered-by')
  // Whoever comes first makes the request's context; here that is this one, so that it is on nobody's bill.
  app.use(bodyLimit({ maxBytes: 1_048_576 }) as RequestHandler)
  for (const layer of layers) app.use(layer)
  app.post(chatPath, (req, res) => {
    recordUsage(req, { model: modelName, usage: { inputTokens: 61, outputTokens: 174, estimated: false } })
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': 2 })
    res.end('{}')
  })
  return app
}

const requests = Number(values.requests)
const rounds = Number(values.rounds)
const pairs = cases.map(({ layers, over, authorization }) => ({
  app: appWith(layers),
  bare: appWith(over ?? [empty]),
  authorization,
}))
const added = await addedBy(pairs, rounds, requests)
const lines = cases.map(({ name }, index) => {
  const { median, low, high } = added[index] ?? { median: Number.NaN, low: Number.NaN, high: Number.NaN }
  return [name, median.toFixed(1), `${low.toFixed(1)}–${high.toFixed(1)}`]
})
console.log(markdown([['Middleware', 'Added µs', 'Half of the rounds'], ...lines]))
// Some peers keep timers that nobody can stop.
process.exit()
