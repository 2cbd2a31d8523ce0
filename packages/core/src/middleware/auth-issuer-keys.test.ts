import { exportJWK, type JSONWebKeySet, SignJWT } from 'jose'
import { describe, expect, it, vi } from 'vitest'
import { guarded, now0, outage, pair, refused } from '../../test/local-issuer.js'
import { audience } from '../../test/signed-tokens.js'
import type { JwtIssuerOptions } from './auth.js'

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
