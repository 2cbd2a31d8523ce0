import { type CryptoKey, SignJWT } from 'jose'
import { endpoint } from '../src/http/handler.js'
import { sendJson } from '../src/http/respond.js'
import { type AuthOptions, auth, type JwtIssuerOptions } from '../src/middleware/auth.js'
import { errorHandler } from '../src/middleware/error-handler.js'
import type { Principal } from '../src/principal.js'
import { type Host, hosts } from './hosts.js'

export const issuer = 'https://idp.example'
export const audience = 'tollgate'
export const secret = 'a secret of thirty-two bytes, or more'
export const bytes = (text: string) => new TextEncoder().encode(text)
const quiet = { log: { error() {}, warn() {} } }
const plain = hosts[3] as Host
export const whoAmI = endpoint('whoAmI', (context, _req, res) =>
  sendJson(res, 200, { principal: context.principal ?? null }),
)

export const hs: JwtIssuerOptions = { issuer, audience, algorithms: ['HS256'], secret }
export const seconds = () => Math.floor(Date.now() / 1000)

export interface TokenParts {
  readonly header?: Record<string, unknown>
  readonly claims?: Record<string, unknown>
}

/** A good token, but for what is said. A claim of `undefined` is left out. */
export function sign(
  { header = {}, claims = {} }: TokenParts = {},
  key: CryptoKey | Uint8Array = bytes(secret),
): Promise<string> {
  const all = { iss: issuer, aud: audience, sub: 'ada', exp: seconds() + 600, ...claims }
  return new SignJWT(JSON.parse(JSON.stringify(all))).setProtectedHeader({ alg: 'HS256', ...header }).sign(key)
}

export async function ask(url: string, token: string) {
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } })
  const text = await response.text()
  const body = text.startsWith('{') ? JSON.parse(text) : {}
  return {
    status: response.status,
    challenge: response.headers.get('www-authenticate'),
    retryAfter: response.headers.get('retry-after'),
    principal: body.principal as Principal | null | undefined,
    code: body.code as string | undefined,
    text,
  }
}

export const start = async (jwt: AuthOptions['jwt'], options: AuthOptions = {}) =>
  (await plain.start(auth({ ...(jwt === undefined ? {} : { jwt }), ...options }), whoAmI, errorHandler(quiet))).url
