import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import * as oauth from 'openid-client'
import { expect, it, onTestFinished } from 'vitest'
import { type Handler, listener } from '../http/handler.js'
import { drawApiKey, drawKeyId } from '../stores/api-key.js'
import { memoryIdentityStore } from '../stores/memory-identity-store.js'
import { hashPassword } from '../stores/password-hash.js'
import { authorizationServer } from './authorization-server.js'

/** A key of a client and a user with a password, behind the endpoints that the metadata name. */
async function start() {
  const store = memoryIdentityStore()
  const by = { action: 'set-up', at: 0, actor: { tenant: 'acme', subject: 'test', method: 'test' } }
  const passwordHash = await hashPassword('correct horse', { cost: 1024, blockSize: 8, parallelization: 1 })
  const ada = { id: 'u1', tenant: 'acme', username: 'ada', scopes: ['chat'], roles: [], disabled: false, passwordHash }
  await store.create('tenant', { id: 'acme', name: 'Acme', disabled: false }, by)
  await store.create('user', ada, by)
  const id = drawKeyId()
  const key = drawApiKey('live', id)
  const secrets = [{ digest: store.digestsOf(key)[0] as string, hint: '', createdAt: 0 }]
  const owner = { kind: 'tenant', id: 'acme' } as const
  const scopes = ['chat', 'introspect']
  await store.create(
    'key',
    { id, tenant: 'acme', environment: 'live', name: 'n', owner, scopes, roles: [], secrets },
    by,
  )

  let handle: RequestListener = (_req, res) => void res.writeHead(503).end()
  const server = createServer((req, res) => handle(req, res))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const endpoints = authorizationServer({ store, issuer, audience: 'https://api.acme.com', passwordGrant: true })
  const at =
    (path: string, handler: Handler): Handler =>
    (req, res, next) =>
      req.url === path ? handler(req, res, next) : next()
  handle = listener(
    at('/v1/token', endpoints.token),
    at('/v1/revoke', endpoints.revoke),
    at('/v1/introspect', endpoints.introspect),
    at('/.well-known/jwks.json', endpoints.jwks),
    at('/.well-known/oauth-authorization-server', endpoints.metadata),
  )
  const discover = (clientId: string, authentication: oauth.ClientAuth) =>
    oauth.discovery(new URL(issuer), clientId, undefined, authentication, {
      algorithm: 'oauth2',
      execute: [oauth.allowInsecureRequests],
    })
  return { id, key, discover }
}

it.each([
  ['Basic', oauth.ClientSecretBasic],
  ['the form', oauth.ClientSecretPost],
])(
  'openid-client finds it, and gets, refreshes, revokes and introspects tokens by %s',
  async (_name, authentication) => {
    const { id, key, discover } = await start()
    const config = await discover(id, authentication(key))
    const token = await oauth.clientCredentialsGrant(config, { scope: 'chat' })
    expect(token.scope).toBe('chat')
    expect(token).not.toHaveProperty('refresh_token')
    expect(await oauth.tokenIntrospection(config, token.access_token)).toMatchObject({ active: true, client_id: id })
    await oauth.tokenRevocation(config, token.access_token)
    expect(await oauth.tokenIntrospection(config, token.access_token)).toEqual({ active: false })
    await expect(oauth.clientCredentialsGrant(config, { scope: 'admin' })).rejects.toMatchObject({
      error: 'invalid_scope',
    })

    const login = await oauth.genericGrantRequest(config, 'password', { username: 'ada', password: 'correct horse' })
    const next = await oauth.refreshTokenGrant(config, login.refresh_token as string)
    expect(await oauth.tokenIntrospection(config, next.access_token)).toMatchObject({ active: true, username: 'ada' })
    await expect(oauth.refreshTokenGrant(config, login.refresh_token as string)).rejects.toMatchObject({
      error: 'invalid_grant',
    })
    expect(await oauth.tokenIntrospection(config, next.access_token)).toEqual({ active: false })
  },
)

it('openid-client is refused with a wrong key, as a client that has none', async () => {
  const { id, discover } = await start()
  const config = await discover(id, oauth.ClientSecretBasic(drawApiKey('live', id)))
  await expect(oauth.clientCredentialsGrant(config)).rejects.toThrow()
  const open = await discover(id, oauth.None())
  await expect(oauth.clientCredentialsGrant(open)).rejects.toMatchObject({ error: 'invalid_client' })
})
