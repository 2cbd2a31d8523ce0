import type { IssuedToken } from '@tollgate/core/wire/authorization-server'
import { send } from './call.js'
import { isTollgateClientError, ResponseError } from './errors.js'
import type { Credentials } from './options.js'
import { readJson } from './response-body.js'
import { wasRefusedUndone } from './retry-policy.js'
import type { Settings } from './settings.js'

/**
 * Gets tokens at `POST /v1/token`: by `client_credentials` (RFC 6749, 4.4), or by `password` (4.3) and from then on by the refresh token that came
 * with the answer (6). A refresh token is good once, so it is never sent again when it may have arrived; whatever becomes of it, unless the server
 * only put it off, the next way in is the password.
 */
export function createTokenRequest(settings: Settings, credentials: Credentials): () => Promise<IssuedToken> {
  if (credentials.clientId !== undefined) {
    const { clientId, clientSecret, scope } = credentials
    const authorization = `Basic ${btoa(`${formEncoded(clientId)}:${formEncoded(clientSecret)}`)}`
    return () => askToken(settings, { grant_type: 'client_credentials', ...within(scope) }, { authorization })
  }
  const { username, password, scope } = credentials
  let refreshToken: string | undefined

  const logIn = async () => {
    refreshToken = undefined
    const answer = await askToken(settings, { grant_type: 'password', username, password, ...within(scope) })
    refreshToken = answer.refresh_token
    return answer
  }

  return async () => {
    if (refreshToken === undefined) return logIn()
    try {
      const form = { grant_type: 'refresh_token', refresh_token: refreshToken }
      const answer = await askToken(settings, form, { once: true })
      // A server that gives no new one goes on taking the old.
      refreshToken = answer.refresh_token ?? refreshToken
      return answer
    } catch (error) {
      if (!isTollgateClientError(error) || wasRefusedUndone(error)) throw error
      return logIn()
    }
  }
}

/** It carries no idempotency key: a stored answer would be a stored token. */
async function askToken(
  settings: Settings,
  form: Record<string, string>,
  how: { readonly authorization?: string; readonly once?: boolean } = {},
): Promise<IssuedToken> {
  const answer = await send(
    { settings: { ...settings, onResponse: undefined }, anonymous: true },
    {
      method: 'POST',
      path: '/v1/token',
      accept: 'application/json',
      contentType: 'application/x-www-form-urlencoded',
      body: new URLSearchParams(form).toString(),
      keyed: false,
      ...how,
    },
    {},
    ({ response, scope }) => readJson(response, settings.maxResponseBytes, scope),
  )
  const { access_token, expires_in, token_type, refresh_token } = answer
  const isToken = typeof access_token === 'string' && /^[\x21-\x7e]+$/.test(access_token)
  const isBearer = typeof token_type === 'string' && token_type.toLowerCase() === 'bearer'
  const isRefresh = refresh_token === undefined || (typeof refresh_token === 'string' && refresh_token !== '')
  if (!isToken || !isBearer || !isRefresh || typeof expires_in !== 'number' || !(expires_in > 0)) {
    throw new ResponseError('response_invalid', 'The answer of POST /v1/token is not a bearer token with its lifetime.')
  }
  return answer as unknown as IssuedToken
}

function within(scope: string | undefined): { scope?: string } {
  return scope === undefined ? {} : { scope }
}

/** As a value of a form (RFC 6749, 2.3.1): a colon in it is no separator, and any text is ASCII. */
function formEncoded(text: string): string {
  return new URLSearchParams({ '': text }).toString().slice(1)
}
