import type { IncomingMessage, ServerResponse } from 'node:http'
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import { sendJson } from '../src/http/respond.js'
import { type AuthOptions, auth, type JwtIssuerOptions } from '../src/middleware/auth.js'
import { errorHandler } from '../src/middleware/error-handler.js'
import { type Host, hosts, listen } from './hosts.js'
import { ask, audience, type TokenParts, whoAmI } from './signed-tokens.js'

interface Pair {
  readonly privateKey: CryptoKey
  readonly publicKey: CryptoKey
  readonly jwk: JWK
}
export type Answer = (req: IncomingMessage, res: ServerResponse) => void

const begun = 1_800_000_000_000
export const now0 = begun / 1000
export const hour = 3_600_000
const nodeHttp = hosts.find(({ name }) => name === 'node:http') as Host
const pairs = new Map<string, Pair>()
for (const [kid, alg] of [
  ['r1', 'RS256'],
  ['r2', 'RS256'],
  ['e1', 'ES256'],
  ['p1', 'EdDSA'],
] as const) {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  pairs.set(kid, { privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } })
}

/** Made once for all tests of a file: `r1`, `r2` (RSA), `e1` (P-256), `p1` (Ed25519). */
export const pair = (kid: string): Pair => pairs.get(kid) as Pair

export const metadataPath = '/.well-known/openid-configuration'

/** A real issuer on a port of this host. Any document can be made to fail, and every request is counted by its path. */
export async function localIssuer(...kids: string[]) {
  const state = {
    keys: kids.map((kid) => pair(kid).jwk),
    metadata: {} as Record<string, unknown>,
    /** Instead of the document at a path; `*` instead of all. */
    answers: {} as Record<string, Answer | undefined>,
    fetches: {} as Record<string, number>,
  }
  const { url } = await listen((req, res) => {
    const path = req.url ?? ''
    state.fetches[path] = (state.fetches[path] ?? 0) + 1
    const answer = state.answers[path] ?? state.answers['*']
    if (answer !== undefined) answer(req, res)
    else if (path === metadataPath) sendJson(res, 200, state.metadata)
    else if (`${url}${path}` === state.metadata['jwks_uri']) sendJson(res, 200, { keys: state.keys })
    else res.writeHead(404).end()
  })
  state.metadata = { issuer: url, jwks_uri: `${url}/jwks`, id_token_signing_alg_values_supported: ['RS256', 'none'] }
  const jwt: JwtIssuerOptions = { issuer: url, audience, algorithms: ['RS256', 'ES256'], discovery: true }
  let jti = 0
  return Object.assign(state, {
    url,
    jwt,
    metadataFetches: () => state.fetches[metadataPath] ?? 0,
    keyFetches: () => state.fetches['/jwks'] ?? 0,
    totalFetches: () => Object.values(state.fetches).reduce((sum, count) => sum + count, 0),
    /** A token of this issuer, good for years but for what is said; a claim of `undefined` is left out. */
    token: (kid: string, { header = {}, claims = {} }: TokenParts = {}) => {
      jti += 1
      const all = { iss: url, aud: audience, sub: 'ada', iat: now0, exp: now0 + 1e8, jti: String(jti), ...claims }
      const { jwk, privateKey } = pair(kid)
      return new SignJWT(JSON.parse(JSON.stringify(all)))
        .setProtectedHeader({ alg: String(jwk.alg), kid, ...header })
        .sign(privateKey)
    },
  })
}

/** A server that the options guard, with a clock that is set by hand and a log. */
export async function guarded(jwt: JwtIssuerOptions | JwtIssuerOptions[], options: AuthOptions = {}) {
  const clock = { now: begun }
  const logged: unknown[] = []
  const log = {
    error: (fields: object) => void logged.push(fields),
    warn: (fields: object) => void logged.push(fields),
  }
  const gate = auth({ jwt, now: () => clock.now, verifiedForMs: 0, failures: false, ...options })
  const { url } = await nodeHttp.start(gate, whoAmI, errorHandler({ log }))
  return {
    logged,
    at: (ms: number) => {
      clock.now = begun + ms
    },
    ask: (token: string) => ask(url, token),
    statuses: async (tokens: readonly string[]) =>
      Promise.all(tokens.map(async (token) => (await ask(url, token)).status)),
  }
}

export const refused = { status: 401, code: 'invalid_credentials' }
export const outage = { status: 503, code: 'identity_unavailable', challenge: null }
