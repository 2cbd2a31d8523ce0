import { expressjwt } from 'express-jwt'
import promBundle from 'express-prom-bundle'
import { rateLimit } from 'express-rate-limit'
import helmet from 'helmet'
import { pinoHttp } from 'pino-http'
import { jwtAudience, jwtIssuer, jwtSecret } from '../traffic.ts'
import { expressProxy } from './express-proxy.ts'
import { serve } from './serve.ts'

// The stack that people assemble today, each piece as its README shows it. Logs go to standard output, which is /dev/null here.
serve((upstreamOrigin) =>
  expressProxy(
    upstreamOrigin,
    helmet(),
    pinoHttp(),
    promBundle({ includeMethod: true, includePath: true }),
    expressjwt({ secret: jwtSecret, algorithms: ['HS256'], issuer: jwtIssuer, audience: jwtAudience }),
    rateLimit({ windowMs: 15 * 60 * 1000, limit: 1_000_000_000, standardHeaders: 'draft-8', legacyHeaders: false }),
  ),
)
