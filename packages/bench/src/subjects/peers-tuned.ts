import { createSecretKey } from 'node:crypto'
import { expressjwt } from 'express-jwt'
import promBundle from 'express-prom-bundle'
import { rateLimit } from 'express-rate-limit'
import helmet from 'helmet'
import pino from 'pino'
import { pinoHttp } from 'pino-http'
import { jwtAudience, jwtIssuer, jwtSecret } from '../traffic.ts'
import { expressProxy } from './express-proxy.ts'
import { logDestination } from './log-destination.ts'
import { serve } from './serve.ts'

// The same stack after someone has profiled it: a key object instead of a string secret (jsonwebtoken tries to read a string as a public
// key on every request, which throws), and a buffered log.
serve((upstreamOrigin) =>
  expressProxy(
    upstreamOrigin,
    helmet(),
    pinoHttp({ logger: pino(logDestination()) }),
    promBundle({ includeMethod: true, includePath: true }),
    expressjwt({
      secret: createSecretKey(Buffer.from(jwtSecret)),
      algorithms: ['HS256'],
      issuer: jwtIssuer,
      audience: jwtAudience,
    }),
    rateLimit({ windowMs: 15 * 60 * 1000, limit: 1_000_000_000, standardHeaders: 'draft-8', legacyHeaders: false }),
  ),
)
