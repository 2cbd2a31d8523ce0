import { describe, expect, it } from 'vitest'
import { isTollgateError } from '../errors.js'
import { type AuthOptions, auth } from './auth.js'
import { discoveredKeySet, metadataPlaces } from './auth-discovery.js'

const hour = 3_600_000
const issuer = 'https://idp.example/tenant'
const openid = 'https://idp.example/tenant/.well-known/openid-configuration'
const oauth = 'https://idp.example/.well-known/oauth-authorization-server/tenant'
const good = { issuer, jwks_uri: 'https://keys.example/1' }

/** What answers at each URL: JSON, or a status. Everything else is 404. */
function web(pages: Record<string, unknown>) {
  const asked: string[] = []
  const fetch: typeof globalThis.fetch = async (input, init) => {
    expect(init).toMatchObject({ redirect: 'error', signal: expect.any(AbortSignal) })
    asked.push(String(input))
    const page = pages[String(input)] ?? 404
    return typeof page === 'number' ? new Response('', { status: page }) : Response.json(page)
  }
  return { asked, fetch, pages }
}

function located(pages: Record<string, unknown>, options: { allowHttp?: boolean } = {}) {
  const site = web(pages)
  const clock = { now: 1e12 }
  const location = discoveredKeySet({
    issuer,
    places: metadataPlaces(issuer, true),
    allowHttp: false,
    now: () => clock.now,
    timeoutMs: 1_000,
    fetch: site.fetch,
    ...options,
  })
  return { ...site, clock, location, where: async () => String(await location.current()) }
}

describe('where metadata are', () => {
  it.each([
    ['https://a.example', '/.well-known/openid-configuration', '/.well-known/oauth-authorization-server'],
    ['https://a.example/', '/.well-known/openid-configuration', '/.well-known/oauth-authorization-server'],
    ['https://a.example/x', '/x/.well-known/openid-configuration', '/.well-known/oauth-authorization-server/x'],
    ['https://a.example/x/', '/x/.well-known/openid-configuration', '/.well-known/oauth-authorization-server/x'],
    ['https://a.example/x/y', '/x/y/.well-known/openid-configuration', '/.well-known/oauth-authorization-server/x/y'],
  ])('%s', (of, first, second) => {
    expect(metadataPlaces(of, true).map(String)).toEqual([`https://a.example${first}`, `https://a.example${second}`])
  })

  it('is the URL that was given, and no other', () => {
    const url = new URL('https://b.example/meta?x=1')
    expect(metadataPlaces('anything', url)).toEqual([url])
  })

  it.each(['acme', 'urn:acme', 'https://a.example?x=1', 'https://a.example#x', 'https://', 'ftp://a.example'])(
    'cannot be derived from %s',
    (of) => expect(metadataPlaces(of, true)).toEqual([]),
  )
})

describe('the key set that metadata name', () => {
  it('is where OpenID Connect has it, asked once, and only when it is needed', async () => {
    const idp = located({ [openid]: good })
    expect(idp.asked).toEqual([])
    expect(new Set(await Promise.all(Array.from({ length: 20 }, idp.where)))).toEqual(new Set([good.jwks_uri]))
    expect(idp.asked).toEqual([openid])
  })

  it('is where RFC 8414 has it, after a 404 only', async () => {
    const idp = located({ [oauth]: good })
    expect(await idp.where()).toBe(good.jwks_uri)
    expect(idp.asked).toEqual([openid, oauth])
    const broken = located({ [openid]: 500, [oauth]: good })
    await expect(broken.where()).rejects.toThrow('The issuer metadata answered 500.')
    expect(broken.asked).toEqual([openid])
    const foreign = located({ [openid]: { ...good, issuer: 'https://evil.example' }, [oauth]: good })
    await expect(foreign.where()).rejects.toThrow(/must name the issuer/)
    expect(foreign.asked).toEqual([openid])
  })

  it.each([
    ['metadata nowhere', 404, /answered 404/],
    ['another issuer', { ...good, issuer: 'https://evil.example' }, /"https:\/\/idp.example\/tenant".*evil/],
    ['the issuer with a slash', { ...good, issuer: `${issuer}/` }, /to the letter/],
    ['the issuer in capitals', { ...good, issuer: issuer.toUpperCase() }, /to the letter/],
    ['no issuer', { jwks_uri: good.jwks_uri }, /not a value of type undefined/],
    ['several issuers', { ...good, issuer: [issuer] }, /not a value of type object/],
    ['no jwks_uri', { issuer }, /no jwks_uri/],
    ['a relative jwks_uri', { issuer, jwks_uri: '/keys' }, /no jwks_uri/],
    ['a jwks_uri that is no text', { issuer, jwks_uri: [good.jwks_uri] }, /no jwks_uri/],
    ['a jwks_uri in clear', { issuer, jwks_uri: 'http://keys.example/' }, /https/],
    ['a jwks_uri of a file', { issuer, jwks_uri: 'file:///etc/passwd' }, /https/],
    ['a list', [], /must name the issuer/],
    ['a text', 'metadata', /must name the issuer/],
  ])('refuses %s', async (_name, page, words) => {
    const idp = located({ [openid]: page })
    await expect(idp.where()).rejects.toThrow(words)
    idp.pages[openid] = good
    await expect(idp.where()).rejects.toThrow(words)
    idp.clock.now += 1_000
    expect(await idp.where()).toBe(good.jwks_uri)
  })

  it('says no more of a foreign issuer than 200 characters', async () => {
    const idp = located({ [openid]: { ...good, issuer: 'x'.repeat(10_000) } })
    const error = await idp.where().catch((thrown: unknown) => thrown)
    expect((error as Error).message.length).toBeLessThan(400)
  })

  it('may be in clear if told so', async () => {
    const idp = located({ [openid]: { issuer, jwks_uri: 'http://keys.example/' } }, { allowHttp: true })
    expect(await idp.where()).toBe('http://keys.example/')
  })

  it('is believed for an hour, then the new one is used', async () => {
    const idp = located({ [openid]: good })
    await idp.where()
    idp.pages[openid] = { issuer, jwks_uri: 'https://keys.example/2' }
    idp.clock.now += hour - 1
    expect(await idp.where()).toBe('https://keys.example/1')
    idp.clock.now += 1
    expect(await idp.where()).toBe('https://keys.example/2')
    expect(idp.asked.length).toBe(2)
  })

  it('is asked for anew when it is in doubt', async () => {
    const idp = located({ [openid]: good })
    await idp.where()
    idp.pages[openid] = { issuer, jwks_uri: 'https://keys.example/2' }
    idp.location.doubt()
    expect(await idp.where()).toBe('https://keys.example/2')
    expect(await idp.where()).toBe('https://keys.example/2')
    expect(idp.asked.length).toBe(2)
  })

  it('serves for a day while the metadata cannot be had or turn bad', async () => {
    const idp = located({ [openid]: good })
    await idp.where()
    for (const [page, at] of [
      [500, hour],
      [{ ...good, issuer: 'https://evil.example' }, 2 * hour],
      [{ issuer, jwks_uri: 'http://evil.example' }, 24 * hour - 1],
    ] as const) {
      idp.pages[openid] = page
      idp.clock.now = 1e12 + at
      expect(await idp.where()).toBe(good.jwks_uri)
    }
    idp.clock.now = 1e12 + 25 * hour
    await expect(idp.where()).rejects.toThrow(/https/)
    idp.pages[openid] = good
    idp.clock.now += 30_000
    expect(await idp.where()).toBe(good.jwks_uri)
  })
})

describe('the factory', () => {
  const jwt = { issuer, audience: 'x', algorithms: ['RS256'] as const }
  const jwks = async () => ({ keys: [] })
  const make = (more: object) => () => auth({ jwt: { ...jwt, ...more } } as AuthOptions)

  it.each([
    ['true', { discovery: true }],
    ['a URL as text', { issuer: 'acme', discovery: openid }],
    ['a URL', { discovery: new URL(openid) }],
    ['false, with a key set', { discovery: false, jwksUrl: 'https://idp.example/keys' }],
    ['this host', { issuer: 'http://localhost:9000', discovery: true }],
    ['http if told so', { issuer: 'http://idp.example', discovery: true, allowHttp: true }],
    ['a function', { jwks }],
  ])('takes %s', (_name, more) => expect(make(more)).not.toThrow())

  it.each([
    ['none of the four', {}, /exactly one of secret, jwksUrl, discovery and jwks/],
    ['discovery false alone', { discovery: false }, /exactly one/],
    ['discovery and a key set', { discovery: true, jwksUrl: 'https://idp.example/keys' }, /exactly one/],
    ['discovery and a function', { discovery: true, jwks }, /exactly one/],
    ['discovery and a secret', { discovery: true, secret: 's'.repeat(32) }, /exactly one/],
    ['a secret algorithm with discovery', { discovery: true, algorithms: ['HS256'] }, /algorithms/],
    ['a secret algorithm with a function', { jwks, algorithms: ['RS256', 'HS256'] }, /algorithms/],
    ['an issuer that is no URL', { issuer: 'acme', discovery: true }, /jwt\[0\]\.discovery: give the URL/],
    ['an issuer in clear', { issuer: 'http://idp.example', discovery: true }, /discovery: must be https/],
    ['metadata in clear', { discovery: 'http://idp.example/meta' }, /discovery: must be https/],
    ['metadata of a file', { discovery: 'file:///etc/passwd', allowHttp: true }, /discovery: must be https/],
    ['metadata that are no URL', { discovery: 'meta' }, /discovery: must be true/],
    ['keys that are no function', { jwks: { keys: [] } }, /jwks: must be a function/],
  ])('refuses %s', (_name, more, words) => {
    expect(make(more)).toThrow(words)
    try {
      make(more)()
    } catch (error) {
      expect(isTollgateError(error, 'config_invalid')).toBe(true)
    }
  })
})
