import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  base64url,
  type CryptoKey,
  exportJWK,
  exportSPKI,
  generateKeyPair,
  type JSONWebKeySet,
  type JWK,
  SignJWT,
  UnsecuredJWT,
} from 'jose'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { type Host, hosts, listen } from '../../test/hosts.js'
import { ask, audience, bytes, type TokenParts, whoAmI } from '../../test/signed-tokens.js'
import { sendJson } from '../http/respond.js'
import { type AuthOptions, auth, type JwtIssuerOptions } from './auth.js'
import { errorHandler } from './error-handler.js'

interface Pair {
  readonly privateKey: CryptoKey
  readonly publicKey: CryptoKey
  readonly jwk: JWK
}
type Answer = (req: IncomingMessage, res: ServerResponse) => void

const begun = 1_800_000_000_000
const now0 = begun / 1000
const hour = 3_600_000
const nodeHttp = hosts.find(({ name }) => name === 'node:http') as Host
const pairs = new Map<string, Pair>()
const pair = (kid: string): Pair => pairs.get(kid) as Pair

beforeAll(async () => {
  for (const [kid, alg] of [
    ['r1', 'RS256'],
    ['r2', 'RS256'],
    ['e1', 'ES256'],
    ['p1', 'EdDSA'],
  ] as const) {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
    pairs.set(kid, { privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } })
  }
})

const metadataPath = '/.well-known/openid-configuration'

/** A real issuer on a port of this host. Any document can be made to fail, and every request is counted by its path. */
async function localIssuer(...kids: string[]) {
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
async function guarded(jwt: JwtIssuerOptions | JwtIssuerOptions[], options: AuthOptions = {}) {
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

const refused = { status: 401, code: 'invalid_credentials' }
const outage = { status: 503, code: 'identity_unavailable', challenge: null }

describe('an issuer found by discovery', () => {
  it('is asked for nothing before the first token, then once for each document', async () => {
    const idp = await localIssuer('r1', 'e1')
    const server = await guarded(idp.jwt)
    expect(idp.totalFetches()).toBe(0)
    expect(await server.ask(await idp.token('r1', { claims: { tenant: 'acme' } }))).toMatchObject({
      status: 200,
      principal: { tenant: 'acme', subject: 'ada', method: 'jwt' },
    })
    expect((await server.ask(await idp.token('e1'))).status).toBe(200)
    expect(idp.fetches).toEqual({ [metadataPath]: 1, '/jwks': 1 })
  })

  it('is found where RFC 8414 has it, and at a URL of your choice', async () => {
    const idp = await localIssuer('r1')
    for (const [path, discovery] of [
      ['/.well-known/oauth-authorization-server', true],
      ['/elsewhere', new URL(`${idp.url}/elsewhere`)],
      ['/as-text', `${idp.url}/as-text`],
    ] as const) {
      idp.answers = { [path]: (_req, res) => sendJson(res, 200, idp.metadata) }
      if (discovery === true) idp.answers[metadataPath] = (_req, res) => void res.writeHead(404).end()
      const server = await guarded({ ...idp.jwt, discovery })
      expect((await server.ask(await idp.token('r1'))).status).toBe(200)
      expect(idp.fetches[path]).toBe(1)
    }
    expect(idp.metadataFetches()).toBe(1)
  })

  it('is fetched once from each place by fifty cold requests', async () => {
    const idp = await localIssuer('r1')
    const server = await guarded(idp.jwt)
    const tokens = await Promise.all(Array.from({ length: 50 }, () => idp.token('r1')))
    expect(new Set(await server.statuses(tokens))).toEqual(new Set([200]))
    expect(idp.fetches).toEqual({ [metadataPath]: 1, '/jwks': 1 })
  })

  it('may rotate: a new kid fetches the keys once, unknown ones within half a minute fetch nothing', async () => {
    const idp = await localIssuer('r1')
    const server = await guarded(idp.jwt)
    expect((await server.ask(await idp.token('r1'))).status).toBe(200)
    idp.keys = [pair('r2').jwk]
    server.at(30_000)
    const fresh = await Promise.all(Array.from({ length: 20 }, () => idp.token('r2')))
    expect(new Set(await server.statuses(fresh))).toEqual(new Set([200]))
    expect(idp.fetches).toEqual({ [metadataPath]: 1, '/jwks': 2 })
    expect(await server.ask(await idp.token('r1'))).toMatchObject(refused)
    server.at(59_999)
    const unknown = await Promise.all(
      Array.from({ length: 50 }, (_, index) => idp.token('r2', { header: { kid: `unknown-${index}` } })),
    )
    expect(new Set(await server.statuses(unknown))).toEqual(new Set([401]))
    expect(idp.fetches).toEqual({ [metadataPath]: 1, '/jwks': 2 })
  })

  it('may move its keys: the new place is used after an hour, or at once when the old one is gone', async () => {
    const idp = await localIssuer('r1')
    const server = await guarded(idp.jwt)
    await server.ask(await idp.token('r1'))
    // The old place goes on answering with the old key.
    idp.answers['/jwks'] = (_req, res) => sendJson(res, 200, { keys: [pair('r1').jwk] })
    idp.metadata['jwks_uri'] = `${idp.url}/keys/2`
    idp.keys = [pair('r2').jwk]
    server.at(hour - 1)
    expect((await server.ask(await idp.token('r1'))).status).toBe(200)
    expect(idp.fetches['/keys/2']).toBeUndefined()
    server.at(hour + 600_000)
    expect((await server.ask(await idp.token('r2'))).status).toBe(200)
    expect(await server.ask(await idp.token('r1'))).toMatchObject(refused)
    expect(idp.fetches['/keys/2']).toBe(1)
    // The second place answers 404 from now on.
    idp.metadata['jwks_uri'] = `${idp.url}/keys/3`
    idp.keys = [pair('r1').jwk]
    server.at(hour + 1_200_000)
    expect((await server.ask(await idp.token('r2'))).status).toBe(200)
    await vi.waitFor(async () => expect((await server.ask(await idp.token('r2'))).status).toBe(200), 10_000)
    server.at(hour + 1_201_000)
    await vi.waitFor(async () => expect((await server.ask(await idp.token('r1'))).status).toBe(200), 10_000)
    expect(idp.fetches['/keys/3']).toBe(1)
    expect(idp.metadataFetches()).toBe(3)
  })
})

const failures: ReadonlyArray<readonly [string, Answer]> = [
  ['500', (_req, res) => void res.writeHead(500).end('stack trace of idp.internal')],
  ['garbage', (_req, res) => void res.writeHead(200).end('<html>idp.internal</html>')],
  ['another JSON', (_req, res) => sendJson(res, 200, { hello: 'world' })],
  ['null', (_req, res) => void res.writeHead(200, { 'content-type': 'application/json' }).end('null')],
  ['more than 512 KiB', (_req, res) => sendJson(res, 200, { padding: 'x'.repeat(524_289) })],
  ['a redirect', (_req, res) => void res.writeHead(302, { location: '/jwks' }).end()],
  ['a closed connection', (req) => void req.socket.destroy()],
  ['nothing', () => {}],
]

describe.each([
  ['metadata', metadataPath],
  ['key set', '/jwks'],
])('an issuer whose %s', (_what, path) => {
  it.each(failures)(
    'answers %s: 503 when cold, nothing kept of it, recovery without a restart',
    async (_name, answer) => {
      const idp = await localIssuer('r1')
      idp.answers[path] = answer
      const server = await guarded({ ...idp.jwt, jwksTimeoutMs: 150 })
      const response = await server.ask(await idp.token('r1'))
      expect(response).toMatchObject({ ...outage, retryAfter: '1' })
      expect(response.text).not.toMatch(/idp\.internal|127\.0\.0\.1|JSON|fetch/i)
      expect(await server.ask(await idp.token('r1'))).toMatchObject(outage)
      expect(idp.fetches[path]).toBe(1)
      idp.answers = {}
      server.at(1_000)
      expect((await server.ask(await idp.token('r1'))).status).toBe(200)
      expect(idp.fetches[path]).toBe(2)
    },
  )

  it.each(failures)(
    'answers %s later: the keys that are known serve on, and then it recovers',
    async (_name, answer) => {
      const idp = await localIssuer('r1')
      const server = await guarded({ ...idp.jwt, jwksTimeoutMs: 150 })
      expect((await server.ask(await idp.token('r1'))).status).toBe(200)
      idp.answers[path] = answer
      server.at(hour)
      expect((await server.ask(await idp.token('r1'))).status).toBe(200)
      expect(idp.fetches[path]).toBe(2)
      server.at(24 * hour - 1)
      expect((await server.ask(await idp.token('r1'))).status).toBe(200)
      idp.answers = {}
      idp.keys = [pair('r2').jwk]
      // An attempt that was hanging may have failed only now, and its back-off counts from here.
      let later = 24 * hour + 700_000
      await vi.waitFor(async () => {
        later += 30_000
        server.at(later)
        expect((await server.ask(await idp.token('r2'))).status).toBe(200)
      }, 5_000)
    },
  )
})

describe('an issuer that goes away altogether', () => {
  it('is an outage after a day, with back-off and never 401, and comes back', async () => {
    const idp = await localIssuer('r1')
    const server = await guarded(idp.jwt)
    await server.ask(await idp.token('r1'))
    idp.answers['*'] = (req) => void req.socket.destroy()
    server.at(24 * hour)
    expect(await server.ask(await idp.token('r1'))).toMatchObject(outage)
    const fetches = idp.totalFetches()
    for (let index = 0; index < 20; index += 1) {
      expect(await server.ask(await idp.token('r1'))).toMatchObject(outage)
    }
    expect(idp.totalFetches()).toBe(fetches)
    idp.answers = {}
    server.at(24 * hour + 30_000)
    expect((await server.ask(await idp.token('r1'))).status).toBe(200)
  })

  it('says nothing of a kid that may be newer: 503', async () => {
    const idp = await localIssuer('r1')
    const server = await guarded(idp.jwt)
    await server.ask(await idp.token('r1'))
    idp.answers['*'] = (_req, res) => void res.writeHead(503).end()
    server.at(60_000)
    expect(await server.ask(await idp.token('r2'))).toMatchObject(outage)
    expect((await server.ask(await idp.token('r1'))).status).toBe(200)
  })

  it.each([
    [
      'another issuer',
      { issuer: 'https://evil.example' },
      /must name the issuer "http:.*" to the letter.*evil\.example/,
    ],
    ['an issuer with a slash', {}, /to the letter, not "http:.*\/"/],
    ['keys in clear elsewhere', { jwks_uri: 'http://idp.example/jwks' }, /jwks_uri .* must be https/],
  ])('whose metadata name %s is an outage whose cause is in the log', async (_name, wrong, words) => {
    const idp = await localIssuer('r1')
    const right = idp.metadata
    idp.metadata = { ...right, ...(Object.keys(wrong).length === 0 ? { issuer: `${idp.url}/` } : wrong) }
    const server = await guarded(idp.jwt)
    const response = await server.ask(await idp.token('r1'))
    expect(response).toMatchObject(outage)
    expect(response.text).not.toMatch(/evil|jwks/)
    expect(idp.keyFetches()).toBe(0)
    expect(server.logged).toMatchObject([{ code: 'identity_unavailable', causes: [expect.stringMatching(words)] }])
    idp.metadata = right
    server.at(1_000)
    expect((await server.ask(await idp.token('r1'))).status).toBe(200)
  })
})

describe('tokens of an issuer found by discovery', () => {
  it('with an algorithm that the options do not list are refused, and nothing is fetched', async () => {
    const idp = await localIssuer('r1', 'p1')
    idp.metadata['id_token_signing_alg_values_supported'] = ['none', 'HS256', 'EdDSA', 'RS256']
    const server = await guarded(idp.jwt)
    const claims = { iss: idp.url, aud: audience, sub: 'ada', exp: now0 + 600 }
    const part = (value: unknown) => base64url.encode(JSON.stringify(value))
    const pem = await exportSPKI(pair('r1').publicKey)
    const hs256 = (secret: string) =>
      new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: 'r1' }).sign(bytes(secret))
    const tokens = [
      new UnsecuredJWT(claims).encode(),
      await hs256(pem),
      await hs256(pem.trim()),
      await hs256(JSON.stringify(pair('r1').jwk)),
      await idp.token('p1'),
      ...['none', 'NONE', 'rs256', 'RS999', 'HS256', 'PS256', '', null, undefined, 256, ['RS256']].map(
        (alg) => `${part({ alg, kid: 'r1' })}.${part(claims)}.${part('signature')}`,
      ),
    ]
    for (const token of tokens) expect(await server.ask(token)).toMatchObject(refused)
    expect(idp.totalFetches()).toBe(0)
    expect((await server.ask(await idp.token('r1'))).status).toBe(200)
  })

  const cases: ReadonlyArray<readonly [string, Record<string, unknown>, number]> = [
    ['expired beyond the tolerance', { exp: now0 - 10 }, 401],
    ['expired within the tolerance', { exp: now0 - 9 }, 200],
    ['not good yet, beyond the tolerance', { nbf: now0 + 11 }, 401],
    ['not good yet, within the tolerance', { nbf: now0 + 10 }, 200],
    ['issued too long ago', { iat: now0 - 311 }, 401],
    ['issued too long ago, within the tolerance', { iat: now0 - 310 }, 200],
    ['issued in the future', { iat: now0 + 11 }, 401],
    ['without iat where the age matters', { iat: undefined }, 401],
    ['without exp', { exp: undefined }, 401],
    ['with exp as text', { exp: String(now0 + 600) }, 401],
    ['for us', { aud: audience }, 200],
    ['for us among others', { aud: ['else', audience] }, 200],
    ['for others', { aud: 'else' }, 401],
    ['for several others', { aud: ['else', `${audience}x`] }, 401],
    ['for nobody', { aud: [] }, 401],
    ['without aud', { aud: undefined }, 401],
    ['without sub', { sub: undefined }, 401],
  ]
  it.each(cases)('%s', async (_name, claims, status) => {
    const idp = await localIssuer('r1')
    const server = await guarded({ ...idp.jwt, clockToleranceSeconds: 10, maxTokenAgeSeconds: 300 })
    const response = await server.ask(await idp.token('r1', { claims }))
    expect(response.status).toBe(status)
    if (status === 401) expect(response).toMatchObject(refused)
  })

  it('of another iss, or of one with a slash more, are refused without a fetch', async () => {
    const idp = await localIssuer('r1')
    const server = await guarded(idp.jwt)
    for (const iss of ['https://evil.example', `${idp.url}/`, idp.url.toUpperCase(), [idp.url], undefined]) {
      expect(await server.ask(await idp.token('r1', { claims: { iss } }))).toMatchObject(refused)
    }
    expect(idp.totalFetches()).toBe(0)
  })

  it('must be of typ at+jwt if told so', async () => {
    const idp = await localIssuer('r1')
    const server = await guarded({ ...idp.jwt, typ: 'at+jwt' })
    for (const [typ, status] of [
      ['at+jwt', 200],
      ['application/at+jwt', 200],
      ['JWT', 401],
      ['', 401],
      [undefined, 401],
    ] as const) {
      const header = typ === undefined ? {} : { typ }
      expect((await server.ask(await idp.token('r1', { header }))).status).toBe(status)
    }
  })

  it('of two issuers are read by the mapping of each, and neither signs for the other', async () => {
    const [one, two] = await Promise.all([localIssuer('r1'), localIssuer('e1')])
    const server = await guarded([
      {
        ...one.jwt,
        principal: ({ sub, org }) =>
          typeof sub === 'string' && typeof org === 'string'
            ? { tenant: `one-${org}`, subject: sub, scopes: ['chat'] }
            : undefined,
      },
      {
        ...two.jwt,
        principal: async ({ email }) =>
          typeof email === 'string' ? { tenant: 'two', subject: email, tier: 'pro', team: 'research' } : undefined,
      },
    ])
    const org = { org: 'acme', email: 'ada@two.example' }
    expect((await server.ask(await one.token('r1', { claims: org }))).principal).toMatchObject({
      tenant: 'one-acme',
      subject: 'ada',
      scopes: ['chat'],
    })
    expect((await server.ask(await two.token('e1', { claims: org }))).principal).toMatchObject({
      tenant: 'two',
      subject: 'ada@two.example',
      tier: 'pro',
      team: 'research',
      scopes: [],
    })
    expect(await server.ask(await one.token('r1'))).toMatchObject(refused)
    expect(await server.ask(await two.token('e1'))).toMatchObject(refused)
    // A key of one is none of the other's, under its own name or not.
    expect(await server.ask(await two.token('r1', { claims: org }))).toMatchObject(refused)
    const header = { alg: 'RS256', kid: 'e1' }
    expect(await server.ask(await two.token('r1', { claims: org, header }))).toMatchObject(refused)
    // One that is down takes nothing from the other.
    two.answers['*'] = (req) => void req.socket.destroy()
    server.at(25 * hour)
    expect((await server.ask(await one.token('r1', { claims: org }))).status).toBe(200)
    expect(await server.ask(await two.token('e1', { claims: org }))).toMatchObject(outage)
  })
})

describe('keys that a function gives', () => {
  const signedBy = async (kid: string, header: object = {}) => {
    const { jwk, privateKey } = pair(kid)
    const claims = { iss: 'in-process', aud: audience, sub: 'ada', exp: now0 + 600 }
    return new SignJWT(claims).setProtectedHeader({ alg: String(jwk.alg), kid, ...header }).sign(privateKey)
  }
  const given = (jwks: NonNullable<JwtIssuerOptions['jwks']>): JwtIssuerOptions => ({
    issuer: 'in-process',
    audience,
    algorithms: ['RS256'],
    jwks,
  })

  it('are asked for anew, so that they may change, and not for an algorithm that is not listed', async () => {
    let set: JSONWebKeySet = { keys: [pair('r1').jwk] }
    const jwks = vi.fn(() => set)
    const server = await guarded(given(jwks))
    expect(await server.ask(await signedBy('e1'))).toMatchObject(refused)
    expect(jwks).not.toHaveBeenCalled()
    expect((await server.ask(await signedBy('r1'))).status).toBe(200)
    expect(await server.ask(await signedBy('r2'))).toMatchObject(refused)
    set = { keys: [pair('r2').jwk, pair('e1').jwk] }
    expect((await server.ask(await signedBy('r2'))).status).toBe(200)
    expect((await server.ask(await signedBy('r2', { kid: undefined }))).status).toBe(200)
    expect(await server.ask(await signedBy('r1'))).toMatchObject(refused)
  })

  const broken: ReadonlyArray<readonly [string, () => unknown]> = [
    [
      'throws',
      () => {
        throw new Error('no disk')
      },
    ],
    ['rejects', () => Promise.reject(new Error('no disk'))],
    ['never answers', () => new Promise(() => {})],
    ['gives nothing', () => undefined],
    ['gives no keys', () => ({ keys: [] })],
    ['gives something else', () => ({ keys: 'none' })],
  ]
  it.each(broken)('are an outage while it %s', async (_name, fail) => {
    const jwks = vi.fn(fail as NonNullable<JwtIssuerOptions['jwks']>)
    const server = await guarded({ ...given(jwks), jwksTimeoutMs: 100 })
    expect(await server.ask(await signedBy('r1'))).toMatchObject(outage)
    jwks.mockResolvedValue({ keys: [pair('r1').jwk] })
    expect((await server.ask(await signedBy('r1'))).status).toBe(200)
  })

  it('are an outage when they are private: such a set is not for verifiers', async () => {
    const jwk = { ...(await exportJWK(pair('r1').privateKey)), kid: 'r1', alg: 'RS256' }
    const server = await guarded(given(() => ({ keys: [jwk] })))
    const response = await server.ask(await signedBy('r1'))
    expect(response).toMatchObject(outage)
    expect(JSON.stringify([server.logged, response.text])).not.toContain(String(jwk.d).slice(0, 20))
  })
})
