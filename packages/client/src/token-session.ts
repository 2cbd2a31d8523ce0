import type { TokenResponse } from '@tollgate/core/wire/token'
import { send } from './call.js'
import { ResponseError } from './errors.js'
import type { Credentials } from './options.js'
import { readJson } from './response-body.js'
import type { Settings } from './settings.js'

export interface TokenSession {
  /**
   * A token that is not `refused`. Many callers at once cause one login. A caller whose token was refused after another has already been given does
   * not cause a further one.
   */
  token(refused?: string): Promise<string>
}

interface Held {
  readonly token: string
  /** From here on a new one is fetched while this one still serves. */
  readonly renewAt: number
  readonly expiresAt: number
}

/** After a renewal in the background has failed, the next is not tried before this. */
const renewalPauseMs = 5000

/**
 * Keeps one token, by logging in when it is first needed, when little of its life is left (at most a minute: in the background, so that no call waits),
 * and when the server has refused it. A login that fails rejects everybody who waits for it; the next call tries again.
 */
export function createTokenSession(login: () => Promise<TokenResponse>, now: () => number): TokenSession {
  let held: Held | undefined
  let pending: Promise<string> | undefined
  let pausedUntil = 0

  function renew(): Promise<string> {
    if (pending !== undefined) return pending
    const startedAt = now()
    pending = login()
      .then((answer) => {
        const lifeMs = answer.expires_in * 1000
        // Measured from before the login: too early rather than too late.
        const expiresAt = startedAt + lifeMs
        held = { token: answer.access_token, expiresAt, renewAt: expiresAt - Math.min(60_000, lifeMs * 0.2) }
        return held.token
      })
      .finally(() => {
        pending = undefined
      })
    return pending
  }

  return {
    async token(refused) {
      if (held !== undefined && held.token === refused) held = undefined
      const current = held
      if (current === undefined || current.expiresAt <= now()) return renew()
      if (current.renewAt <= now() && pausedUntil <= now()) {
        renew().catch(() => {
          pausedUntil = now() + renewalPauseMs
        })
      }
      return current.token
    },
  }
}

/** `POST /v1/token`, the password grant (RFC 6749, 4.3). It carries no idempotency key: a stored answer would be a stored token. */
export async function logIn(settings: Settings, { username, password, scope }: Credentials): Promise<TokenResponse> {
  const form = new URLSearchParams({ grant_type: 'password', username, password })
  if (scope !== undefined) form.set('scope', scope)
  const answer = await send(
    { settings: { ...settings, onResponse: undefined }, anonymous: true },
    {
      method: 'POST',
      path: '/v1/token',
      accept: 'application/json',
      contentType: 'application/x-www-form-urlencoded',
      body: form.toString(),
      keyed: false,
    },
    {},
    ({ response, scope: within }) => readJson(response, settings.maxResponseBytes, within),
  )
  const { access_token, expires_in, token_type } = answer
  const isToken = typeof access_token === 'string' && /^[\x21-\x7e]+$/.test(access_token)
  const isBearer = typeof token_type === 'string' && token_type.toLowerCase() === 'bearer'
  if (!isToken || !isBearer || typeof expires_in !== 'number' || !(expires_in > 0)) {
    throw new ResponseError('response_invalid', 'The answer of POST /v1/token is not a bearer token with its lifetime.')
  }
  return answer as unknown as TokenResponse
}
