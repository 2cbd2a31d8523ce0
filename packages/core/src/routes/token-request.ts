import type { IncomingMessage } from 'node:http'
import { isTollgateError } from '../errors.js'
import { tokenRequest } from '../wire/token.js'
import { tokenForm } from './token-form.js'
import { type TokenRefusal, tokenRefusal } from './token-refusal.js'

/** What a client asks of the token endpoint. */
export interface PasswordGrant {
  readonly username: string
  readonly password: string
  /** Without it, all that the user has. */
  readonly scopes: readonly string[] | undefined
  readonly clientId: string | undefined
}

/** RFC 6749, 3.3: one or more scopes with single spaces between. */
const scopePattern = /^[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*$/
const clientIdPattern = /^[\x20-\x7e]{1,256}$/

/**
 * The request, checked before anyone is looked up.
 *
 * @throws TollgateError `client_closed`
 */
export async function passwordGrant(
  req: IncomingMessage,
  { maxBodyBytes, realm }: { maxBodyBytes: number; realm: string },
): Promise<PasswordGrant | TokenRefusal> {
  if (req.method !== 'POST') {
    const options = { status: 405, headers: { allow: 'POST' }, code: 'method_not_allowed' } as const
    return tokenRefusal('invalid_request', 'Use POST.', options)
  }
  const form = await readForm(req, maxBodyBytes)
  if ('status' in form) return form
  if (hasClientCredentials(req, form)) {
    return tokenRefusal('invalid_client', 'Clients have no credentials here: send none.', {
      status: 401,
      headers: { 'www-authenticate': `Basic realm="${realm}"` },
      code: 'invalid_credentials',
    })
  }
  const grantType = form.get('grant_type')
  if (grantType !== undefined && grantType !== 'password') {
    return tokenRefusal('unsupported_grant_type', 'The only grant_type here is password.')
  }
  const fields = tokenRequest.safeParse(Object.fromEntries(form))
  if (!fields.success) {
    const names = new Set(fields.error.issues.map((issue) => issue.path.join('.')))
    return tokenRefusal('invalid_request', `Missing or too long: ${[...names].join(', ')}.`)
  }
  const { username, password, scope } = fields.data
  if (scope !== undefined && !scopePattern.test(scope)) {
    return tokenRefusal('invalid_scope', 'Write scopes with one space between them.')
  }
  const clientId = form.get('client_id')
  if (clientId !== undefined && !clientIdPattern.test(clientId)) {
    return tokenRefusal('invalid_request', 'The client_id is not 1 to 256 printable ASCII characters.')
  }
  return { username, password, scopes: scope === undefined ? undefined : [...new Set(scope.split(' '))], clientId }
}

/** The form, or in OAuth's words what was wrong with the body. */
async function readForm(req: IncomingMessage, maxBytes: number): Promise<ReadonlyMap<string, string> | TokenRefusal> {
  try {
    const form = await tokenForm(req, maxBytes)
    return typeof form === 'string' ? tokenRefusal('invalid_request', form) : form
  } catch (error) {
    if (!isTollgateError(error) || error.code === 'client_closed') throw error
    const { status, headers, code, message } = error
    return tokenRefusal('invalid_request', message, { status, headers, code })
  }
}

/** Form tools send `Basic Og==`, an empty id with an empty secret, when none was filled in: that is no attempt to be someone. */
function hasClientCredentials(req: IncomingMessage, form: ReadonlyMap<string, string>): boolean {
  const { authorization } = req.headers
  return form.has('client_secret') || (authorization !== undefined && !/^basic +Og==$/i.test(authorization))
}
