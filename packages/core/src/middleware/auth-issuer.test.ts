import { describe, expect, it, vi } from 'vitest'
import { guarded, hour, localIssuer, metadataPath, pair, refused } from '../../test/local-issuer.js'
import { sendJson } from '../http/respond.js'

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
