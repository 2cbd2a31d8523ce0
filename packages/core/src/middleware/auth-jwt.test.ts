import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  base64url,
  CompactSign,
  type CryptoKey,
  exportJWK,
  exportSPKI,
  generateKeyPair,
  type JWK,
  SignJWT,
  UnsecuredJWT,
} from 'jose'
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { eachHost, type Host, hosts, listen } from '../../test/hosts.js'
import { TollgateError } from '../errors.js'
import { contextOf } from '../http/context.js'
import { endpoint } from '../http/handler.js'
import { sendJson } from '../http/respond.js'
import type { Principal } from '../principal.js'
import { memoryDirectory } from '../stores/memory-directory.js'
import { type AuthOptions, auth, type JwtIssuerOptions } from './auth.js'
import { errorHandler } from './error-handler.js'

const issuer = 'https://idp.example'
const audience = 'tollgate'
const secret = 'a secret of thirty-two bytes, or more'
const bytes = (text: string) => new TextEncoder().encode(text)
const quiet = { log: { error() {}, warn() {} } }
const plain = hosts[3] as Host
const whoAmI = endpoint('whoAmI', (context, _req, res) => sendJson(res, 200, { principal: context.principal ?? null }))

const hs: JwtIssuerOptions = { issuer, audience, algorithms: ['HS256'], secret }
const seconds = () => Math.floor(Date.now() / 1000)

interface TokenParts {
  readonly header?: Record<string, unknown>
  readonly claims?: Record<string, unknown>
}

/** A good token, but for what is said. A claim of `undefined` is left out. */
function sign(
  { header = {}, claims = {} }: TokenParts = {},
  key: CryptoKey | Uint8Array = bytes(secret),
): Promise<string> {
  const all = { iss: issuer, aud: audience, sub: 'ada', exp: seconds() + 600, ...claims }
  return new SignJWT(JSON.parse(JSON.stringify(all))).setProtectedHeader({ alg: 'HS256', ...header }).sign(key)
}

async function ask(url: string, token: string) {
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } })
  const text = await response.text()
  const body = text.startsWith('{') ? JSON.parse(text) : {}
  return {
    status: response.status,
    challenge: response.headers.get('www-authenticate'),
    retryAfter: response.headers.get('retry-after'),
    principal: body.principal as Principal | null | undefined,
    code: body.code as string | undefined,
    text,
  }
}

const start = async (jwt: AuthOptions['jwt'], options: AuthOptions = {}) =>
  (await plain.start(auth({ ...(jwt === undefined ? {} : { jwt }), ...options }), whoAmI, errorHandler(quiet))).url

eachHost((host) => {
  it('admits a good token and refuses an expired one, without an error handler of ours', async () => {
    const { url } = await host.start(auth({ jwt: hs }), whoAmI)
    const exp = seconds() + 600
    const good = await sign({ claims: { tenant: 'acme', tier: 'pro', scope: 'chat embed', exp } })
    expect((await ask(url, good)).principal).toEqual({
      tenant: 'acme',
      subject: 'ada',
      method: 'jwt',
      tier: 'pro',
      scopes: ['chat', 'embed'],
      expiresAt: exp * 1000,
    })
    expect(await ask(url, await sign({ claims: { exp: seconds() - 60 } }))).toMatchObject({
      status: 401,
      challenge: 'Bearer realm="api", error="invalid_token", error_description="The token has expired."',
    })
  })
})

describe('claims', () => {
  const now = seconds()
  it.each([
    ['expired beyond the tolerance', { exp: now - 6 }, 401],
    ['expired within the tolerance', { exp: now - 4 }, 200],
    ['not yet good, beyond the tolerance', { nbf: now + 7 }, 401],
    ['not yet good, within the tolerance', { nbf: now + 4 }, 200],
    ['no exp', { exp: undefined }, 401],
    ['an exp that is text', { exp: String(now + 600) }, 401],
    ['an exp beyond all dates', { exp: 1e300 }, 401],
    ['aud as a list', { aud: ['other', audience] }, 200],
    ['another aud', { aud: 'other' }, 401],
    ['a list of other auds', { aud: ['a', 'b'] }, 401],
    ['no aud', { aud: undefined }, 401],
    ['another iss', { iss: 'https://evil.example' }, 401],
    ['iss with a slash at the end', { iss: `${issuer}/` }, 401],
    ['no iss', { iss: undefined }, 401],
    ['iss as a list', { iss: [issuer] }, 401],
    ['no sub', { sub: undefined }, 401],
    ['an empty sub', { sub: '' }, 401],
    ['a sub with a control character', { sub: 'a\nb' }, 401],
    ['a tenant that is no text', { tenant: 7 }, 401],
    ['an empty tenant', { tenant: '' }, 401],
    ['a tenant of a lone surrogate', { tenant: '\ud800' }, 401],
    ['a tier that is no text', { tier: ['pro'] }, 401],
  ])('%s', async (_name, claims, status) => {
    const url = await start(hs, { now: () => now * 1000 })
    const answer = await ask(url, await sign({ claims }))
    expect(answer.status).toBe(status)
    if (status === 401) {
      expect(answer.code).toBe('invalid_credentials')
      expect(answer.challenge).toMatch(/^Bearer realm="api", error="invalid_token", error_description="[^"\\]+"$/)
    }
  })

  it('tells a holder of a real token which claim does not fit', async () => {
    const url = await start(hs)
    expect((await ask(url, await sign({ claims: { aud: 'x' } }))).challenge).toContain(
      "The token's aud is missing or does not fit.",
    )
    const forged = await sign({ claims: { aud: 'x' } }, bytes('another secret, of thirty-two bytes'))
    expect((await ask(url, forged)).challenge).toContain('The credentials are not valid.')
  })

  it('refuses a number of seconds that is none: 1e999', async () => {
    const url = await start(hs)
    const text = `{"iss":"${issuer}","aud":"${audience}","sub":"ada","exp":1e999}`
    const token = await new CompactSign(bytes(text)).setProtectedHeader({ alg: 'HS256' }).sign(bytes(secret))
    expect((await ask(url, token)).status).toBe(401)
  })

  it('wants typ at+jwt if told so', async () => {
    const url = await start({ ...hs, typ: 'at+jwt' })
    expect((await ask(url, await sign())).status).toBe(401)
    expect((await ask(url, await sign({ header: { typ: 'JWT' } }))).status).toBe(401)
    expect((await ask(url, await sign({ header: { typ: 'at+jwt' } }))).status).toBe(200)
    expect((await ask(url, await sign({ header: { typ: 'application/at+jwt' } }))).status).toBe(200)
  })

  it('limits the age of a token if told so', async () => {
    const url = await start({ ...hs, maxTokenAgeSeconds: 60 })
    expect((await ask(url, await sign())).status).toBe(401)
    expect((await ask(url, await sign({ claims: { iat: seconds() - 120 } }))).status).toBe(401)
    expect((await ask(url, await sign({ claims: { iat: seconds() - 30 } }))).status).toBe(200)
  })

  it.each([
    [{ scope: 'a b' }, ['a', 'b']],
    [{ scope: ' a  b ' }, ['a', 'b']],
    [{ scopes: ['a', 'b'] }, ['a', 'b']],
    [{ scp: 'a b' }, ['a', 'b']],
    [{ scp: ['a', 7, 'b'] }, ['a', 'b']],
    [{ scope: '', scp: ['a'] }, []],
    [{ scopes: { a: true } }, []],
    [{}, []],
  ])('reads scopes of %o as %o', async (claims, scopes) => {
    const url = await start(hs)
    expect((await ask(url, await sign({ claims }))).principal?.scopes).toEqual(scopes)
  })

  it('reads claims of other names', async () => {
    const url = await start({ ...hs, claims: { tenant: 'https://acme/org', tier: 'plan', scopes: 'permissions' } })
    const claims = { 'https://acme/org': 'acme', plan: 'pro', permissions: ['a'], scope: 'b', tenant: 'other' }
    expect((await ask(url, await sign({ claims }))).principal).toMatchObject({
      tenant: 'acme',
      tier: 'pro',
      scopes: ['a'],
    })
  })

  it('asks a mapping of yours, which may refuse, ask a database, and fail in its own words', async () => {
    const mapping = vi.fn<NonNullable<JwtIssuerOptions['principal']>>(async (claims) =>
      claims['org'] === 'acme' ? { tenant: 'acme', subject: String(claims['email']) } : undefined,
    )
    const url = await start({ ...hs, principal: mapping })
    const good = await sign({ claims: { org: 'acme', email: 'ada@acme.com', sub: undefined } })
    expect((await ask(url, good)).principal).toMatchObject({ tenant: 'acme', subject: 'ada@acme.com', scopes: [] })
    expect((await ask(url, await sign())).status).toBe(401)
    mapping.mockRejectedValueOnce(new TollgateError('identity_unavailable', 'Later.'))
    expect((await ask(url, await sign({ claims: { jti: '1' } }))).status).toBe(503)
    mapping.mockResolvedValueOnce({ tenant: '', subject: 'x' })
    expect((await ask(url, await sign({ claims: { jti: '2' } }))).status).toBe(500)
  })
})

describe('tenants', () => {
  const other = { ...hs, issuer: 'https://partner.example', secret: 'the secret of the partner, 32 bytes +' }
  const signOther = (claims: Record<string, unknown>) =>
    sign({ claims: { iss: other.issuer, ...claims } }, bytes(other.secret))
  const tenantOf = async (url: string, token: string) => {
    const { status, principal } = await ask(url, token)
    return principal?.tenant ?? status
  }

  it('are taken as a single issuer says, else the subject is its own tenant within the issuer', async () => {
    const url = await start(hs)
    expect(await tenantOf(url, await sign({ claims: { tenant: 'acme' } }))).toBe('acme')
    expect(await tenantOf(url, await sign())).toBe(`${issuer}|ada`)
  })

  it('own: an issuer never speaks for a tenant outside itself', async () => {
    const url = await start([
      { ...hs, tenants: 'any' },
      { ...other, tenants: 'own' },
    ])
    expect(await tenantOf(url, await sign({ claims: { tenant: 'acme' } }))).toBe('acme')
    expect(await tenantOf(url, await signOther({ tenant: 'acme' }))).toBe('https://partner.example|acme')
    expect(await tenantOf(url, await signOther({}))).toBe('https://partner.example|ada')
    expect(await tenantOf(url, await signOther({ tenant: `${issuer}|ada` }))).toBe(
      `https://partner.example|${issuer}|ada`,
    )
  })

  it('a list: an issuer speaks for these and no other', async () => {
    const url = await start([
      { ...hs, tenants: 'any' },
      { ...other, tenants: ['globex'] },
    ])
    expect(await tenantOf(url, await signOther({ tenant: 'globex' }))).toBe('globex')
    expect(await tenantOf(url, await signOther({ tenant: 'acme' }))).toBe(401)
    expect(await tenantOf(url, await signOther({}))).toBe(401)
  })

  it("one issuer's key signs nothing in the name of another", async () => {
    const url = await start([
      { ...hs, tenants: 'any' },
      { ...other, tenants: 'any' },
    ])
    expect(await tenantOf(url, await sign({}, bytes(other.secret)))).toBe(401)
  })
})

describe('secrets', () => {
  it('may be two while one replaces the other', async () => {
    const next = 'the next secret, also of 32 bytes or more'
    const url = await start({ ...hs, secret: [next, secret] })
    expect((await ask(url, await sign({}, bytes(next)))).status).toBe(200)
    expect((await ask(url, await sign({}, bytes(secret)))).status).toBe(200)
    expect((await ask(url, await sign({}, bytes('a third one that nobody configured ...')))).status).toBe(401)
  })

  it('may be bytes, of which later changes change nothing', async () => {
    const mine = bytes(secret)
    const url = await start({ ...hs, secret: mine })
    mine.fill(0)
    expect((await ask(url, await sign())).status).toBe(200)
  })
})

describe('beside API keys', () => {
  it('a bearer credential of three parts is a token, any other a key, and x-api-key always a key', async () => {
    const apiKeys = [
      { key: 'plain-key', tenant: 'acme', subject: 'a' },
      { key: 'a.b.c', tenant: 'acme', subject: 'dotted' },
    ]
    const url = await start(hs, { directory: memoryDirectory({ apiKeys }) })
    expect((await ask(url, await sign())).principal?.method).toBe('jwt')
    expect((await ask(url, 'plain-key')).principal?.method).toBe('api-key')
    expect((await ask(url, 'a.b.c')).status).toBe(401)
    expect((await fetch(url, { headers: { 'x-api-key': 'a.b.c' } })).status).toBe(200)
    expect((await fetch(url, { headers: { 'x-api-key': await sign() } })).status).toBe(401)
  })

  it('without a directory x-api-key is not looked at', async () => {
    const url = await start(hs)
    expect((await fetch(url, { headers: { 'x-api-key': 'x' } })).status).toBe(401)
    const headers = { 'x-api-key': 'for someone else', authorization: `Bearer ${await sign()}` }
    expect((await fetch(url, { headers })).status).toBe(200)
    expect((await ask(url, 'no-token')).code).toBe('invalid_credentials')
  })
})

describe('verified tokens', () => {
  it('are answered synchronously the second time, until they expire', async () => {
    let now = Date.now()
    const handler = auth({ jwt: hs, now: () => now })
    const order: string[] = []
    const { url } = await listen((req, res) => {
      handler(req, res, (error) => {
        order.push(error === undefined ? 'next' : 'refused')
        sendJson(res, 200, { principal: contextOf(req, res).principal ?? null })
      })
      order.push('returned')
    })
    const exp = Math.floor(now / 1000) + 10
    const token = await sign({ claims: { exp } })
    const first = await ask(url, token)
    const second = await ask(url, token)
    expect(order).toEqual(['returned', 'next', 'next', 'returned'])
    expect(second.principal).toEqual(first.principal)
    now = (exp + 5) * 1000 - 1
    expect((await ask(url, token)).principal).not.toBeNull()
    now += 1
    expect((await ask(url, token)).principal).toBeNull()
    expect(order.slice(4)).toEqual(['next', 'returned', 'returned', 'refused'])
  })

  it('are verified anew after verifiedForMs, so that a mapping can revoke', async () => {
    let now = Date.now()
    let revoked = false
    const principal = vi.fn(() => (revoked ? undefined : { tenant: 'acme', subject: 'ada' }))
    const url = await start({ ...hs, principal }, { now: () => now })
    const token = await sign()
    expect((await ask(url, token)).status).toBe(200)
    revoked = true
    now += 59_999
    expect((await ask(url, token)).status).toBe(200)
    expect(principal).toHaveBeenCalledTimes(1)
    now += 1
    expect((await ask(url, token)).status).toBe(401)
  })

  it('are told apart by every byte', async () => {
    const url = await start(hs)
    const token = await sign({ claims: { tenant: 'acme' } })
    expect((await ask(url, token)).status).toBe(200)
    const [header, , signature] = token.split('.')
    const payload = base64url.encode(
      JSON.stringify({ iss: issuer, aud: audience, sub: 'ada', tenant: 'globex', exp: seconds() + 600 }),
    )
    expect((await ask(url, `${header}.${payload}.${signature}`)).status).toBe(401)
    expect((await ask(url, token.slice(0, -1))).status).toBe(401)
    expect((await ask(url, `${token}A`)).status).toBe(401)
  })

  it('give principals that nobody can change for the next request', async () => {
    const seen: Array<Principal | undefined> = []
    const handler = auth({ jwt: hs })
    const { url } = await listen((req, res) =>
      handler(req, res, () => {
        seen.push(contextOf(req, res).principal)
        res.end()
      }),
    )
    await ask(url, await sign({ claims: { scope: 'a' } }))
    expect(Object.isFrozen(seen[0])).toBe(true)
    expect(Object.isFrozen(seen[0]?.scopes)).toBe(true)
  })
})

describe('a key set behind a URL', () => {
  interface Pair {
    readonly privateKey: CryptoKey
    readonly publicKey: CryptoKey
    readonly jwk: JWK
  }
  const pairs: Record<string, Pair> = {}
  const pair = (kid: string): Pair => {
    const known = pairs[kid]
    if (known === undefined) throw new Error(`no pair ${kid}`)
    return known
  }

  beforeAll(async () => {
    const make = async (kid: string, alg: 'RS256' | 'ES256') => {
      const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
      pairs[kid] = { privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } }
    }
    await Promise.all([make('r1', 'RS256'), make('r2', 'RS256'), make('e1', 'ES256')])
  })

  const signed = (kid: string, parts: TokenParts = {}, name: string | undefined = kid) =>
    sign(
      {
        ...parts,
        header: {
          alg: kid.startsWith('e') ? 'ES256' : 'RS256',
          ...(name === '' ? {} : { kid: name }),
          ...parts.header,
        },
      },
      pair(kid).privateKey,
    )

  /** An issuer whose key set can be anything, and counts. */
  async function keyServer() {
    const state = {
      keys: [pair('r1').jwk] as JWK[],
      fetches: 0,
      answer: undefined as ((req: IncomingMessage, res: ServerResponse) => void) | undefined,
    }
    const server = createServer((req, res) => {
      state.fetches += 1
      if (state.answer === undefined) sendJson(res, 200, { keys: state.keys })
      else state.answer(req, res)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      server.closeAllConnections()
      server.close()
    })
    const jwksUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`
    const jwt: JwtIssuerOptions = { issuer, audience, algorithms: ['RS256', 'ES256'], jwksUrl }
    const clock = { now: Date.now() }
    const begun = clock.now
    return Object.assign(state, {
      clock,
      jwt,
      /** Milliseconds since the start; tokens are good for ever in these tests. */
      at: (ms: number) => (clock.now = begun + ms),
      start: (more: Partial<JwtIssuerOptions> = {}) =>
        start({ ...jwt, ...more }, { now: () => clock.now, verifiedForMs: 0 }),
    })
  }
  const forever = { claims: { exp: 4e9 } }

  it('admits RS256 and ES256 with one fetch', async () => {
    const idp = await keyServer()
    idp.keys.push(pair('e1').jwk)
    const url = await idp.start()
    expect((await ask(url, await signed('r1'))).status).toBe(200)
    expect((await ask(url, await signed('e1'))).status).toBe(200)
    expect(idp.fetches).toBe(1)
  })

  it('collapses fifty cold requests into one fetch', async () => {
    const idp = await keyServer()
    const url = await idp.start()
    const tokens = await Promise.all(
      Array.from({ length: 50 }, (_, index) => signed('r1', { claims: { jti: String(index) } })),
    )
    const statuses = await Promise.all(tokens.map(async (token) => (await ask(url, token)).status))
    expect(new Set(statuses)).toEqual(new Set([200]))
    expect(idp.fetches).toBe(1)
  })

  it('refuses alg none, unknown, missing and confused algorithms without any fetch', async () => {
    const idp = await keyServer()
    const url = await idp.start()
    const claims = { iss: issuer, aud: audience, sub: 'ada', exp: seconds() + 600 }
    const part = (value: unknown) => base64url.encode(JSON.stringify(value))
    const spki = await exportSPKI(pair('r1').publicKey)
    const tokens = [
      new UnsecuredJWT(claims).encode(),
      ...['none', 'None', 'NONE', 'nOnE', 'HS256', 'RS999', '', 7, null, undefined, ['RS256']].map(
        (alg) => `${part({ alg, kid: 'r1' })}.${part(claims)}.${part('signature')}`,
      ),
      // The public key, which everyone knows, as an HMAC secret.
      await sign({ header: { kid: 'r1' } }, bytes(spki)),
      await sign({ header: { alg: 'HS512', kid: 'r1' } }, bytes(JSON.stringify(pair('r1').jwk))),
      `${part({ alg: 'RS256', kid: 7 })}.${part(claims)}.AAAA`,
      `${part('RS256')}.${part(claims)}.AAAA`,
      `AAAA.${part(claims)}.AAAA`,
      `${part({ alg: 'RS256' })}.AAAA.AAAA`,
      await signed('r1', { claims: { iss: 'https://evil.example' } }),
    ]
    for (const token of tokens)
      expect(await ask(url, token)).toMatchObject({ status: 401, code: 'invalid_credentials' })
    expect(idp.fetches).toBe(0)
  })

  it('refuses keys that the token brings along', async () => {
    const idp = await keyServer()
    const url = await idp.start()
    const { jwk, privateKey } = pair('r2')
    const header = { alg: 'RS256', kid: 'r1', jwk, jku: idp.jwt.jwksUrl, x5u: 'https://evil.example' }
    expect((await ask(url, await sign({ header }, privateKey))).status).toBe(401)
    expect(idp.fetches).toBe(1)
  })

  it('refuses header extensions that it does not know', async () => {
    const idp = await keyServer()
    const url = await idp.start()
    const [, payload, signature] = (await signed('r1')).split('.')
    const header = base64url.encode(JSON.stringify({ alg: 'RS256', kid: 'r1', crit: ['x'], x: 1 }))
    expect((await ask(url, `${header}.${payload}.${signature}`)).status).toBe(401)
  })

  it('tries all fitting keys for a token without kid', async () => {
    const idp = await keyServer()
    idp.keys = [pair('r2').jwk, pair('e1').jwk, pair('r1').jwk]
    const url = await idp.start()
    expect((await ask(url, await signed('r1', {}, ''))).status).toBe(200)
    idp.keys = [pair('r2').jwk]
    idp.at(600_000)
    expect((await ask(url, await signed('r1', forever, ''))).status).toBe(401)
  })

  it('fetches once more for a new kid, and not at all for unknown ones within half a minute', async () => {
    const idp = await keyServer()
    const url = await idp.start()
    expect((await ask(url, await signed('r1', forever))).status).toBe(200)
    idp.keys = [pair('r2').jwk]
    idp.at(29_999)
    for (let index = 0; index < 50; index += 1) {
      expect((await ask(url, await signed('r2', forever, `unknown-${index}`))).status).toBe(401)
    }
    expect(idp.fetches).toBe(1)
    idp.at(30_000)
    const [fresh, ...same] = await Promise.all(
      [1, 2, 3].map(async (jti) => ask(url, await signed('r2', { claims: { exp: 4e9, jti } }))),
    )
    expect([fresh, ...same].map((each) => each?.status)).toEqual([200, 200, 200])
    expect(idp.fetches).toBe(2)
    expect((await ask(url, await signed('r1', forever))).status).toBe(401)
  })

  it('believes a set for ten minutes', async () => {
    const idp = await keyServer()
    const url = await idp.start()
    const token = await signed('r1', forever)
    await ask(url, token)
    idp.keys = [pair('r2').jwk]
    idp.at(599_999)
    expect((await ask(url, token)).status).toBe(200)
    expect(idp.fetches).toBe(1)
    idp.at(600_000)
    expect((await ask(url, token)).status).toBe(401)
    expect(idp.fetches).toBe(2)
  })

  const failures: ReadonlyArray<readonly [string, (req: IncomingMessage, res: ServerResponse) => void]> = [
    ['an error', (_req, res) => void res.writeHead(500).end('stack trace of idp.internal')],
    ['a refusal', (_req, res) => void res.writeHead(404).end()],
    ['no JSON', (_req, res) => void res.writeHead(200).end('<html>idp.internal</html>')],
    ['other JSON', (_req, res) => sendJson(res, 200, { keys: 'none' })],
    ['an empty set', (_req, res) => sendJson(res, 200, { keys: [] })],
    ['too many bytes', (_req, res) => sendJson(res, 200, { keys: [], padding: 'x'.repeat(524_289) })],
    ['a redirect', (_req, res) => void res.writeHead(302, { location: '/elsewhere' }).end()],
    ['a broken connection', (req) => void req.socket.destroy()],
    ['a stall before the head', () => {}],
    ['a stall within the body', (_req, res) => void res.writeHead(200).write('{"keys":[')],
  ]
  it.each(failures)(
    'that answers with %s is an outage: 503, Retry-After, no challenge, no reason; then recovery',
    async (_name, answer) => {
      const idp = await keyServer()
      idp.answer = answer
      const url = await idp.start({ jwksTimeoutMs: 150 })
      const token = await signed('r1', forever)
      const refused = await ask(url, token)
      expect(refused).toMatchObject({ status: 503, code: 'identity_unavailable', challenge: null, retryAfter: '1' })
      expect(refused.text).not.toMatch(/idp\.internal|127\.0\.0\.1|fetch|JSON/i)
      expect((await ask(url, token)).status).toBe(503)
      expect(idp.fetches).toBe(1)
      idp.answer = undefined
      idp.at(1_000)
      expect((await ask(url, token)).status).toBe(200)
      expect(idp.fetches).toBe(2)
    },
  )

  it('that is not there at all is an outage', async () => {
    const idp = await keyServer()
    const url = await idp.start({ jwksUrl: 'http://127.0.0.1:1/jwks' })
    expect(await ask(url, await signed('r1'))).toMatchObject({ status: 503, challenge: null })
  })

  it('is asked after 1, 2, 4, 8, 16, 30, 30 seconds while it is down, whatever the traffic', async () => {
    const idp = await keyServer()
    idp.answer = (_req, res) => void res.writeHead(500).end()
    const url = await idp.start()
    const token = await signed('r1', forever)
    let time = 0
    for (const [attempt, waitSeconds] of [1, 2, 4, 8, 16, 30, 30].entries()) {
      idp.at(time)
      expect((await ask(url, token)).retryAfter).toBe(String(waitSeconds))
      expect(idp.fetches).toBe(attempt + 1)
      time += waitSeconds * 1000
      idp.at(time - 1)
      expect((await ask(url, token)).retryAfter).toBe('1')
      expect(idp.fetches).toBe(attempt + 1)
    }
  })

  it('that fails later leaves the old keys in use for a day, asks on in the background, and recovers', async () => {
    const idp = await keyServer()
    const url = await idp.start({ jwksTimeoutMs: 300 })
    const token = await signed('r1', forever)
    expect((await ask(url, token)).status).toBe(200)
    idp.answer = (_req, res) => void res.writeHead(500).end()
    idp.at(600_000)
    expect((await ask(url, token)).status).toBe(200)
    expect(idp.fetches).toBe(2)
    // What cannot be found among the old keys may be signed with a new one: that is not the caller's fault.
    expect(await ask(url, await signed('r2', forever))).toMatchObject({ status: 503, challenge: null })
    // In the background: a stalled attempt holds nobody up.
    idp.answer = () => {}
    idp.at(601_000)
    expect((await ask(url, token)).status).toBe(200)
    await vi.waitFor(() => expect(idp.fetches).toBe(3))
    expect((await ask(url, token)).status).toBe(200)
    expect(idp.fetches).toBe(3)
    idp.answer = undefined
    idp.keys = [pair('r2').jwk]
    await vi.waitFor(async () => {
      idp.clock.now += 30_000
      expect((await ask(url, await signed('r2', forever))).status).toBe(200)
    }, 5_000)
    expect(idp.fetches).toBe(4)
    expect((await ask(url, token)).status).toBe(401)
  })

  it('that stays down is not believed beyond a day', async () => {
    const idp = await keyServer()
    const url = await idp.start()
    const token = await signed('r1', forever)
    await ask(url, token)
    idp.answer = (_req, res) => void res.writeHead(500).end()
    idp.at(86_399_999)
    expect((await ask(url, token)).status).toBe(200)
    idp.at(86_400_000)
    expect((await ask(url, token)).status).toBe(503)
    idp.answer = undefined
    idp.at(86_500_000)
    expect((await ask(url, token)).status).toBe(200)
  })

  it('with a key that is not fit for use is at fault, not the caller', async () => {
    const idp = await keyServer()
    const short = await crypto.subtle.generateKey(
      { name: 'RSASSA-PKCS1-v1_5', modulusLength: 1024, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' },
      true,
      ['sign', 'verify'],
    )
    idp.keys = [{ ...(await exportJWK(short.publicKey)), kid: 'r1' }]
    const url = await idp.start()
    expect(await ask(url, await signed('r1'))).toMatchObject({ status: 503, challenge: null })
  })

  it('never takes a secret key out of a set', async () => {
    const idp = await keyServer()
    idp.keys = [{ kty: 'oct', k: base64url.encode(secret), kid: 's', alg: 'HS256' }, pair('r1').jwk]
    const url = await idp.start()
    expect((await ask(url, await sign({ header: { kid: 's' } }))).status).toBe(401)
    expect((await ask(url, await signed('r1'))).status).toBe(200)
  })

  it('is fetched through a fetch of yours', async () => {
    const idp = await keyServer()
    const mine = vi.fn(globalThis.fetch)
    const url = await idp.start({ fetch: mine, jwksUrl: new URL(String(idp.jwt.jwksUrl)) })
    expect((await ask(url, await signed('r1'))).status).toBe(200)
    expect(mine).toHaveBeenCalledTimes(1)
  })
})
