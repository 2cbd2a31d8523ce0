import { createRemoteJWKSet, decodeJwt, type JWTPayload, jwtVerify } from 'jose'
import { errorHandler } from '../src/middleware/error-handler.js'
import { type AuthorizationServerOptions, authorizationServer } from '../src/routes/authorization-server.js'
import { drawApiKey, drawKeyId } from '../src/stores/api-key.js'
import type { Change, IdentityStore, NewEntity } from '../src/stores/identity-store.js'
import { memoryIdentityStore } from '../src/stores/memory-identity-store.js'
import { decoyPasswordHash, hashPassword } from '../src/stores/password-hash.js'
import { type Host, hosts } from './hosts.js'

export const plain = hosts[3] as Host
const cheap = { cost: 1024, blockSize: 8, parallelization: 1 }
export const issuer = 'http://localhost:8000'
export const audience = 'https://api.example'
export const minute = 60_000

/** The time of servers and stores, milliseconds since the epoch. */
export const clock = { time: 0 }
/** Made anew by `newStore`. */
export let store: IdentityStore
const now = () => clock.time
export const by = (action = 'test'): Change => ({
  action,
  at: clock.time,
  actor: { tenant: 'acme', subject: 'test', method: 'script' },
})

export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly body: Record<string, unknown>
}

export async function reply(response: Response): Promise<Reply> {
  const text = await response.text()
  const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>)
  return { status: response.status, headers: response.headers, text, body }
}

export async function start(more: Partial<AuthorizationServerOptions> = {}) {
  const server = authorizationServer({
    store,
    issuer,
    audience,
    passwordGrant: true,
    decoyHash: decoyPasswordHash(cheap),
    now,
    ...more,
  })
  const { url } = await plain.start(
    ['/v1/token', server.token],
    ['/v1/revoke', server.revoke],
    ['/v1/introspect', server.introspect],
    ['/.well-known/jwks.json', server.jwks],
    ['/.well-known/oauth-authorization-server', server.metadata],
    errorHandler(),
  )
  const post = async (path: string, form: Record<string, string> | string, headers: Record<string, string> = {}) =>
    reply(
      await fetch(`${url}/v1/${path}`, {
        method: 'POST',
        body: typeof form === 'string' ? form : new URLSearchParams(form).toString(),
        headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
      }),
    )
  const verify = async (token: unknown) =>
    jwtVerify(String(token), createRemoteJWKSet(new URL(`${url}/.well-known/jwks.json`)), {
      issuer,
      audience,
      typ: 'at+jwt',
      algorithms: ['ES256'],
      currentDate: new Date(clock.time),
    })
  return { server, url, post, verify }
}

export type Running = Awaited<ReturnType<typeof start>>

export async function addKey(more: Partial<NewEntity<'key'>> = {}): Promise<{ id: string; key: string }> {
  const id = drawKeyId()
  const key = drawApiKey(more.environment ?? 'live', id)
  const secrets = [{ digest: store.digestsOf(key)[0] ?? '', hint: key.slice(-4), createdAt: clock.time }]
  const tenant = more.tenant ?? 'acme'
  const defaults = {
    id,
    tenant,
    environment: 'live' as const,
    name: 'test',
    owner: { kind: 'tenant' as const, id: tenant },
    scopes: ['chat', 'usage:*'],
    roles: [],
    secrets,
  }
  await store.create('key', { ...defaults, ...more }, by())
  return { id, key }
}

export const basic = (id: string, secret: string) => ({
  authorization: `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')}`,
})
export const login = { grant_type: 'password', username: 'ada', password: 'correct horse' }
export const grant = { grant_type: 'client_credentials' }
export const claimsOf = (answer: Reply): JWTPayload => decodeJwt(String(answer.body['access_token']))

/** Two tenants, and a user with a password. */
export async function newStore(): Promise<void> {
  clock.time = Date.now()
  store = memoryIdentityStore({ now })
  for (const id of ['acme', 'globex']) await store.create('tenant', { id, name: id, disabled: false }, by())
  const passwordHash = await hashPassword('correct horse', cheap)
  const user = { id: 'u1', tenant: 'acme', username: 'ada', scopes: ['chat', 'embed'], roles: [], disabled: false }
  await store.create('user', { ...user, passwordHash }, by())
}

export const refresh = ({ post }: Running, token: unknown, more: Record<string, string> = {}) =>
  post('token', { grant_type: 'refresh_token', refresh_token: String(token), ...more })
export const introspect = async ({ post }: Running, token: unknown, { id, key }: { id: string; key: string }) =>
  (await post('introspect', { token: String(token) }, basic(id, key))).body
