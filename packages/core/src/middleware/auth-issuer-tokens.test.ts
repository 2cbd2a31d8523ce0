import { base64url, exportSPKI, SignJWT, UnsecuredJWT } from 'jose'
import { describe, expect, it } from 'vitest'
import { guarded, hour, localIssuer, now0, outage, pair, refused } from '../../test/local-issuer.js'
import { audience, bytes } from '../../test/signed-tokens.js'

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
