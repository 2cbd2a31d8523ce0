import { createHash, createPublicKey, createSecretKey, generateKeyPairSync, timingSafeEqual } from 'node:crypto'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { auth } from '@tollgate/core/middleware/auth'
import { bodyLimit } from '@tollgate/core/middleware/body-limit'
import { authorizationServer } from '@tollgate/core/routes/authorization-server'
import { drawApiKey, drawKeyId } from '@tollgate/core/stores/api-key'
import { memoryIdentityStore } from '@tollgate/core/stores/memory-identity-store'
import express, { type RequestHandler } from 'express'
import { expressjwt } from 'express-jwt'
import { auth as oauth2JwtBearer } from 'express-oauth2-jwt-bearer'
import { createLocalJWKSet, exportJWK, jwtVerify, SignJWT } from 'jose'
import { chatPath, jwtAudience, jwtIssuer } from './traffic.ts'

/** One way to find out who calls, and whom it has to let in and keep out. */
export interface AuthenticationSubject {
  readonly name: string
  /** Subjects of one group do the same work: the first of ours is what the others are held against. */
  readonly group: 'API key' | 'HS256' | 'RS256' | 'ES256'
  readonly app: RequestListener
  readonly bare: RequestListener
  /** Good ones, used in turn. */
  readonly credentials: readonly string[]
  readonly wrong: readonly string[]
}

const callers = 32
/** More than a cache of one entry holds: every token is new. */
const strangers = 2_048
const audience = jwtAudience
const secret = 'the-bench-signs-with-this-0123456789abcdef'

/** All subjects, with the servers that they need. */
export async function authenticationSubjects(): Promise<{
  readonly subjects: readonly AuthenticationSubject[]
  stop(): void
}> {
  const store = memoryIdentityStore()
  const by = { action: 'set-up', at: 0, actor: { tenant: 'bench', subject: 'bench', method: 'script' } }
  await store.create('tenant', { id: 'bench', name: 'bench', disabled: false }, by)
  const keys = await Promise.all(
    Array.from({ length: callers }, async () => {
      const id = drawKeyId()
      const key = drawApiKey('live', id)
      const secrets = [{ digest: store.digestsOf(key)[0] as string, hint: '', createdAt: 0 }]
      const owner = { kind: 'tenant', id: 'bench' } as const
      await store.create(
        'key',
        { id, tenant: 'bench', environment: 'live', name: id, owner, scopes: ['chat'], roles: [], secrets },
        by,
      )
      return { id, key }
    }),
  )
  const apiKeys = keys.map(({ key }) => key)
  const strange = [drawApiKey('live'), `${apiKeys[0]}x`, 'x']
  // As a database answers: later, so that what it said is remembered for ten seconds.
  const remote = { ...store, findApiKey: async (id: string) => store.findApiKey(id) }

  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwks = {
    keys: [
      { ...(await exportJWK(rsa.publicKey)), kid: 'r1', alg: 'RS256', use: 'sig' },
      { ...(await exportJWK(ec.publicKey)), kid: 'e1', alg: 'ES256', use: 'sig' },
    ],
  }
  const keyServer = createServer((_req, res) =>
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(jwks)),
  )
  await new Promise<void>((resolve) => keyServer.listen(0, '127.0.0.1', resolve))
  const jwksUri = `http://127.0.0.1:${(keyServer.address() as AddressInfo).port}/`

  const sign = async (alg: 'HS256' | 'RS256' | 'ES256', subject: string, lifetime: string) => {
    const kid = { HS256: undefined, RS256: 'r1', ES256: 'e1' }[alg]
    const key = { HS256: createSecretKey(Buffer.from(secret)), RS256: rsa.privateKey, ES256: ec.privateKey }[alg]
    return new SignJWT({ tenant: 'bench', scope: 'chat' })
      .setProtectedHeader({ alg, typ: 'JWT', ...(kid === undefined ? {} : { kid }) })
      .setIssuer(jwtIssuer)
      .setAudience(audience)
      .setSubject(subject)
      .setIssuedAt()
      .setExpirationTime(lifetime)
      .sign(key)
  }
  const tokensOf = (alg: 'HS256' | 'RS256' | 'ES256', count = callers) =>
    Promise.all(Array.from({ length: count }, (_, index) => sign(alg, `caller-${index}`, '1d')))
  const wrongOf = async (alg: 'HS256' | 'RS256' | 'ES256') => {
    const [good = ''] = await tokensOf(alg, 1)
    return [await sign(alg, 'late', '-1h'), `${good.slice(0, -8)}AAAAAAAA`, 'x']
  }
  const [hs, rs, es] = await Promise.all([tokensOf('HS256'), tokensOf('RS256'), tokensOf('ES256')])
  const [hsOnce, rsOnce, esOnce] = await Promise.all([
    tokensOf('HS256', strangers),
    tokensOf('RS256', strangers),
    tokensOf('ES256', strangers),
  ])
  const [hsWrong, rsWrong, esWrong] = await Promise.all([wrongOf('HS256'), wrongOf('RS256'), wrongOf('ES256')])

  const server = authorizationServer({ store, issuer: 'http://localhost:8000', audience })
  const own = await Promise.all(keys.map(({ id, key }) => ownToken(server.token, id, key)))

  const issuer = { issuer: jwtIssuer, audience }
  const byKeys = (alg: 'RS256' | 'ES256') => ({ jwt: { ...issuer, algorithms: [alg], jwks: () => jwks } }) as const
  const hsOptions = { jwt: { ...issuer, algorithms: ['HS256'], secret } } as const
  const verify = { algorithms: ['HS256' as const], ...issuer }
  const keySet = createLocalJWKSet(jwks)
  const hsKey = createSecretKey(Buffer.from(secret))
  const rsaKey = createPublicKey(rsa.publicKey.export({ type: 'spki', format: 'pem' }))

  const byKey = { group: 'API key', credentials: apiKeys, wrong: strange } as const
  const byHs = { group: 'HS256', credentials: hs, wrong: hsWrong } as const
  const byRs = { group: 'RS256', credentials: rs, wrong: rsWrong } as const
  const byEs = { group: 'ES256', credentials: es, wrong: esWrong } as const
  const quiet = { failures: false } as const
  const subject = (
    name: string,
    layer: RequestHandler,
    of: Pick<AuthenticationSubject, 'group' | 'credentials' | 'wrong'>,
  ): AuthenticationSubject => ({ name, ...of, app: appWith(layer), bare: appWith(undefined) })
  const ours = (
    name: string,
    options: Parameters<typeof auth>[0],
    of: Pick<AuthenticationSubject, 'group' | 'credentials' | 'wrong'>,
  ) => subject(name, auth({ ...quiet, ...options }) as RequestHandler, of)

  return {
    subjects: [
      ours('Tollgate, key in a store that answers at once', { directory: store }, byKey),
      ours('Tollgate, key in a store that answers later', { directory: remote }, byKey),
      ours('Tollgate, own access token', { directory: store, tokens: server }, { ...byKey, credentials: own }),
      subject('by hand: SHA-256, Map, timingSafeEqual', keysByHand(apiKeys), byKey),
      ours('Tollgate, token seen before', hsOptions, byHs),
      ours('Tollgate, token at first sight', { ...hsOptions, cacheSize: 1 }, { ...byHs, credentials: hsOnce }),
      subject('express-jwt, string secret', expressjwt({ secret, ...verify }), byHs),
      subject('express-jwt, KeyObject', expressjwt({ secret: hsKey, ...verify }), byHs),
      subject(
        'by hand: jose',
        joseByHand((token) => jwtVerify(token, hsKey, { ...issuer, algorithms: ['HS256'] })),
        byHs,
      ),
      ours('Tollgate, token seen before', byKeys('RS256'), byRs),
      ours('Tollgate, token at first sight', { ...byKeys('RS256'), cacheSize: 1 }, { ...byRs, credentials: rsOnce }),
      subject('express-jwt, KeyObject', expressjwt({ secret: rsaKey, algorithms: ['RS256'], ...issuer }), byRs),
      subject(
        'express-oauth2-jwt-bearer',
        oauth2JwtBearer({ issuer: jwtIssuer, audience, jwksUri, tokenSigningAlg: 'RS256' }),
        byRs,
      ),
      subject(
        'by hand: jose',
        joseByHand((token) => jwtVerify(token, keySet, { ...issuer, algorithms: ['RS256'] })),
        byRs,
      ),
      ours('Tollgate, token seen before', byKeys('ES256'), byEs),
      ours('Tollgate, token at first sight', { ...byKeys('ES256'), cacheSize: 1 }, { ...byEs, credentials: esOnce }),
      subject(
        'by hand: jose',
        joseByHand((token) => jwtVerify(token, keySet, { ...issuer, algorithms: ['ES256'] })),
        byEs,
      ),
    ],
    stop: () => void keyServer.close(),
  }
}

/** What people write who hash their keys: no expiry, no scopes, no limit on guesses. */
function keysByHand(keys: readonly string[]): RequestHandler {
  const digest = (key: string) => createHash('sha256').update(key).digest()
  const known = new Map(keys.map((key) => [digest(key).toString('hex'), digest(key)]))
  return (req, res, next) => {
    const given = digest(req.headers.authorization?.replace(/^Bearer /, '') ?? '')
    const kept = known.get(given.toString('hex'))
    if (kept === undefined || !timingSafeEqual(kept, given)) res.writeHead(401).end()
    else next()
  }
}

function joseByHand(verify: (token: string) => Promise<unknown>): RequestHandler {
  return (req, res, next) => {
    verify(req.headers.authorization?.replace(/^Bearer /, '') ?? '').then(
      () => next(),
      () => void res.writeHead(401).end(),
    )
  }
}

function appWith(layer: RequestHandler | undefined): RequestListener {
  const app = express()
  app.disable('etag')
  app.disable('x-powered-by')
  // Whoever comes first makes the request's context; here that is this one, so that it is on nobody's bill.
  app.use(bodyLimit({ maxBytes: 1_048_576 }) as RequestHandler)
  app.use(layer ?? ((_req, _res, next) => next()))
  app.post(chatPath, (_req, res) => {
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': 2 }).end('{}')
  })
  const refuse: express.ErrorRequestHandler = (error, _req, res, _next) => {
    res.writeHead((error as { status?: number }).status ?? 500).end()
  }
  app.use(refuse)
  return app
}

async function ownToken(handler: unknown, id: string, key: string): Promise<string> {
  const app = express().use(handler as RequestHandler)
  const server = createServer(app)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, {
    method: 'POST',
    body: new URLSearchParams({ grant_type: 'client_credentials', client_id: id, client_secret: key }),
  })
  const { access_token: token } = (await response.json()) as { access_token: string }
  server.closeAllConnections()
  server.close()
  return token
}
