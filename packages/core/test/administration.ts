import { contextOf } from '../src/http/context.js'
import type { Handler } from '../src/http/handler.js'
import { auth } from '../src/middleware/auth.js'
import { errorHandler } from '../src/middleware/error-handler.js'
import type { Principal } from '../src/principal.js'
import { authorizationServer } from '../src/routes/authorization-server.js'
import { keysRoute } from '../src/routes/keys.js'
import { rolesRoute } from '../src/routes/roles.js'
import { teamsRoute } from '../src/routes/teams.js'
import { tenantsRoute } from '../src/routes/tenants.js'
import { type UsersRouteOptions, usersRoute } from '../src/routes/users.js'
import { usersMe } from '../src/routes/users-me.js'
import type { Change } from '../src/stores/identity-store.js'
import { memoryIdentityStore } from '../src/stores/memory-identity-store.js'
import { type Host, hosts } from './hosts.js'

export const member = ['predict', 'batch', 'chat', 'embed']
export const setUp: Change = { action: 'set-up', at: 0, actor: { tenant: 'root', subject: 'test', method: 'test' } }

/** Who asks, by the name in `x-as`. */
const people: Readonly<Record<string, Principal>> = {
  operator: { tenant: 'root', subject: 'operator', method: 'api-key', keyId: 'k0', scopes: ['*'] },
  acme: { tenant: 'acme', subject: 'ada', method: 'jwt', scopes: [...member, 'admin'] },
  globex: { tenant: 'globex', subject: 'eve', method: 'jwt', scopes: [...member, 'admin'] },
  nobody: { tenant: 'acme', subject: 'bob', method: 'jwt', scopes: member },
}

const issuer = 'http://localhost:8000'

/** Every route for administrators over one store in memory, with the tenants `acme` and `globex`, and what tells whether someone gets in. */
export async function administration(options: Partial<UsersRouteOptions> = {}) {
  const store = memoryIdentityStore()
  for (const id of ['acme', 'globex']) await store.create('tenant', { id, name: id, disabled: false }, setUp)
  const tokens = authorizationServer({ store, issuer, audience: issuer, passwordGrant: true })
  const byKey = auth({ directory: store, tokens, failures: false })
  const as: Handler = (req, res, next) => {
    if (req.headers['authorization'] !== undefined) return byKey(req, res, next)
    contextOf(req, res).principal = people[String(req.headers['x-as'])]
    next()
  }
  const { url } = await (hosts[0] as Host).start(
    ['/v1/keys', as, keysRoute({ store })],
    ['/v1/users', as, usersRoute({ store, ...options })],
    ['/v1/tenants', as, tenantsRoute({ store })],
    ['/v1/teams', as, teamsRoute({ store })],
    ['/v1/roles', as, rolesRoute({ store })],
    ['/v1/token', tokens.token],
    ['/me', auth({ directory: store, tokens, failures: false }), usersMe()],
    errorHandler({ log: { error() {}, warn() {} } }),
  )
  const ask = async (who: string, method: string, path: string, body?: unknown) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        // A name of the above, or a credential.
        ...(people[who] === undefined && who.length > 20 ? { authorization: `Bearer ${who}` } : { 'x-as': who }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const json = (await response.json()) as Record<string, unknown> & { id: string; secret: string; data: unknown[] }
    return { status: response.status, body: json, headers: response.headers }
  }
  const token = async (form: Record<string, string>) => {
    const response = await fetch(`${url}/v1/token`, { method: 'POST', body: new URLSearchParams(form) })
    const body = (await response.json()) as { access_token: string; refresh_token: string; error?: string }
    return { status: response.status, ...body }
  }
  const logIn = (username: string, password: string) => token({ grant_type: 'password', username, password })
  const me = async (credential: string) => {
    const response = await fetch(`${url}/me`, { headers: { authorization: `Bearer ${credential}` } })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }
  return { ask, token, logIn, me, store, url }
}
