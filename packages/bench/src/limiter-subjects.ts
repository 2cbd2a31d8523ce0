import type { RequestListener } from 'node:http'
import { contextOf } from '@tollgate/core/http/context'
import { recordUsage } from '@tollgate/core/http/record-usage'
import { bodyLimit } from '@tollgate/core/middleware/body-limit'
import { type LimitRule, limits } from '@tollgate/core/middleware/limits'
import { priceTable } from '@tollgate/core/price-table'
import type { Principal } from '@tollgate/core/principal'
import type { LimitStore } from '@tollgate/core/stores/limit-store'
import { memoryLimitStore } from '@tollgate/core/stores/memory-limit-store'
import { redisLimitStore } from '@tollgate/redis'
import express, { type RequestHandler } from 'express'
import { rateLimit as expressRateLimit } from 'express-rate-limit'
import type { Redis } from 'ioredis'
import { RedisStore } from 'rate-limit-redis'
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible'
import { chatPath, modelName } from './traffic.ts'

/** One way to limit, in memory or in Redis. `make` is asked for a limit so high that nothing is refused, or for one of `limit`. */
export interface LimiterSubject {
  readonly name: string
  readonly where: 'memory' | 'Redis'
  make(limit: number): { readonly app: RequestListener; readonly bare: RequestListener }
}

const callers = 32
const principals = new Map<string, Principal>()
const prices = priceTable({
  list: false,
  overrides: { [modelName]: { usdPerMillionTokens: { input: '1', output: '1' } } },
})

/** Keys of a run begin with `prefix`. */
export function limiterSubjects(redis: Redis | undefined, prefix: string): readonly LimiterSubject[] {
  let made = 0
  const ours = (store: () => LimitStore, rules: readonly LimitRule['measure'][]) => (limit: number) => {
    made += 1
    const name = (measure: string) => `${measure}-${made}`
    const all = rules.map((measure): LimitRule => {
      // Only what is counted in requests refuses: the others have to be asked all the same.
      const most = measure === 'requests' ? limit : measure === 'tokens' ? 2e6 : 9e6
      const window = measure === 'money' ? { calendar: 'month' as const } : {}
      return { name: name(measure), measure, per: 'user', limit: most, ...window }
    })
    const limiter = limits({ store: store(), prices, rules: all, headers: 'draft-11' })
    return pairOf(limiter as RequestHandler)
  }
  const flexible = (limiter: (limit: number) => { consume(key: string): Promise<unknown> }) => (limit: number) => {
    const consumer = limiter(limit)
    return pairOf((req, res, next) => {
      consumer.consume(callerOf(req.headers.authorization)).then(
        () => next(),
        () => void res.writeHead(429).end(),
      )
    })
  }
  const peer = (store: (limit: number) => object) => (limit: number) =>
    pairOf(
      expressRateLimit({
        windowMs: 60_000,
        limit,
        standardHeaders: 'draft-8',
        legacyHeaders: false,
        keyGenerator: (req) => callerOf(req.headers.authorization),
        ...store(limit),
      }),
    )
  const four = ['requests', 'tokens', 'money', 'concurrency'] as const
  const inMemory: LimiterSubject[] = [
    { name: 'express-rate-limit', where: 'memory', make: peer(() => ({})) },
    {
      name: 'rate-limiter-flexible',
      where: 'memory',
      make: flexible((points) => new RateLimiterMemory({ points, duration: 60 })),
    },
    { name: 'Tollgate limits, one rule', where: 'memory', make: ours(() => memoryLimitStore(), ['requests']) },
    { name: 'Tollgate limits, four rules', where: 'memory', make: ours(() => memoryLimitStore(), four) },
  ]
  if (redis === undefined) return inMemory
  const client = redis
  const shared = () => redisLimitStore({ client, prefix })
  const sendCommand = (command: string, ...args: string[]) => client.call(command, ...args) as Promise<never>
  return [
    ...inMemory,
    {
      name: 'express-rate-limit, rate-limit-redis',
      where: 'Redis',
      make: peer((limit) => ({ store: new RedisStore({ sendCommand, prefix: `${prefix}erl${limit}:` }) })),
    },
    {
      name: 'rate-limiter-flexible',
      where: 'Redis',
      make: flexible(
        (points) =>
          new RateLimiterRedis({ storeClient: client, keyPrefix: `${prefix}rlf${points}`, points, duration: 60 }),
      ),
    },
    { name: 'Tollgate limits, one rule', where: 'Redis', make: ours(shared, ['requests']) },
    { name: 'Tollgate limits, four rules', where: 'Redis', make: ours(shared, four) },
  ]
}

export const authorization = (index: number) => `Bearer caller-${index % callers}`

function callerOf(header: string | undefined): string {
  return header ?? 'nobody'
}

function pairOf(layer: RequestHandler): { readonly app: RequestListener; readonly bare: RequestListener } {
  return { app: appWith(layer), bare: appWith((_req, _res, next) => next()) }
}

function appWith(layer: RequestHandler): RequestListener {
  const app = express()
  app.disable('etag')
  app.disable('x-powered-by')
  app.use(bodyLimit({ maxBytes: 1_048_576 }) as RequestHandler)
  app.use((req, res, next) => {
    const subject = callerOf(req.headers.authorization)
    // The same object for each caller, as `auth` gives it.
    const principal = principals.get(subject) ?? { tenant: 'bench', subject, method: 'bench', scopes: [] }
    principals.set(subject, principal)
    contextOf(req, res).principal = principal
    next()
  })
  // A route reads the body anyway: a limiter that reads it earlier does not add that.
  app.use(express.json())
  app.use(layer)
  app.post(chatPath, (req, res) => {
    recordUsage(req, { model: modelName, usage: { inputTokens: 61, outputTokens: 174, estimated: false } })
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': 2 }).end('{}')
  })
  const refuse: express.ErrorRequestHandler = (error, _req, res, _next) => {
    res.writeHead((error as { status?: number }).status ?? 500).end()
  }
  app.use(refuse)
  return app
}
