import { describe, expect, it, vi } from 'vitest'
import { type Answer, guarded, hour, localIssuer, metadataPath, outage, pair } from '../../test/local-issuer.js'
import { sendJson } from '../http/respond.js'

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
