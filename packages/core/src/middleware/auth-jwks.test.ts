import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { base64url, type CryptoKey, exportJWK, exportSPKI, generateKeyPair, type JWK, UnsecuredJWT } from 'jose'
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  ask,
  audience,
  bytes,
  issuer,
  seconds,
  secret,
  sign,
  start,
  type TokenParts,
} from '../../test/signed-tokens.js'
import { sendJson } from '../http/respond.js'
import type { JwtIssuerOptions } from './auth.js'

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
    ['too many bytes', (_req, res) => sendJson(res, 200, { keys: [pair('r1').jwk], padding: 'x'.repeat(524_289) })],
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
    const url = await idp.start({ jwksTimeoutMs: 60_000 })
    const token = await signed('r1', forever)
    expect((await ask(url, token)).status).toBe(200)
    idp.answer = (_req, res) => void res.writeHead(500).end()
    idp.at(600_000)
    expect((await ask(url, token)).status).toBe(200)
    expect(idp.fetches).toBe(2)
    // What cannot be found among the old keys may be signed with a new one: that is not the caller's fault.
    expect(await ask(url, await signed('r2', forever))).toMatchObject({ status: 503, challenge: null })
    // In the background: a stalled attempt holds nobody up.
    let breakOff: () => void = () => {}
    idp.answer = (req) => (breakOff = () => void req.socket.destroy())
    idp.at(601_000)
    expect((await ask(url, token)).status).toBe(200)
    await vi.waitFor(() => expect(idp.fetches).toBe(3), 10_000)
    expect((await ask(url, token)).status).toBe(200)
    expect(idp.fetches).toBe(3)
    breakOff()
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
