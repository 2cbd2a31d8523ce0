import { base64url, CompactSign } from 'jose'
import { describe, expect, it, vi } from 'vitest'
import { eachHost, listen } from '../../test/hosts.js'
import { ask, audience, bytes, hs, issuer, seconds, secret, sign, start, whoAmI } from '../../test/signed-tokens.js'
import { TollgateError } from '../errors.js'
import { contextOf } from '../http/context.js'
import { sendJson } from '../http/respond.js'
import type { Principal } from '../principal.js'
import { memoryDirectory } from '../stores/memory-directory.js'
import { auth, type JwtIssuerOptions } from './auth.js'

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
    expect((await ask(url, await sign({ claims: { exp: undefined } }))).challenge).toContain(
      "The token's exp is missing",
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

  it.each([
    [{}, 'chat * admin:* admin:all admin usage:*', ['chat', 'admin', 'usage:*']],
    [{ scopes: ['chat', 'usage:read'] }, 'chat usage:* admin', ['chat', 'usage:read']],
    [{ scopes: ['*'] }, 'admin:all chat', ['admin:all', 'chat']],
    [{ scopes: [] }, 'chat', []],
    [{ defaultScopes: ['chat'] }, undefined, ['chat']],
    [{ defaultScopes: ['chat'] }, '', []],
    [{ defaultScopes: ['chat'] }, 7, []],
    [{ defaultScopes: ['chat', 'embed'], scopes: ['embed'] }, undefined, ['embed']],
    [{ defaultScopes: ['*'] }, undefined, []],
  ])('with %o lets the claim %o give %o', async (options, scope, scopes) => {
    const url = await start({ ...hs, ...options })
    const { principal } = await ask(url, await sign({ claims: { scope } }))
    expect([...(principal?.scopes ?? [])].sort()).toEqual([...scopes].sort())
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
    expect(await tenantOf(url, await signOther({}))).toBe('https://partner.example||ada')
    // A user's name is no tenant's, and a claim cannot make it one.
    expect(await tenantOf(url, await signOther({ tenant: 'ada' }))).toBe('https://partner.example|ada')
    expect(await tenantOf(url, await signOther({ tenant: '|ada' }))).toBe(401)
    expect(await tenantOf(url, await signOther({ tenant: null }))).toBe('https://partner.example||ada')
    expect(await tenantOf(url, await signOther({ tenant: { acme: true } }))).toBe(401)
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
