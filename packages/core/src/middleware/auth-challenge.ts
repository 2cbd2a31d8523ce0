import { TollgateError } from '../errors.js'

/** What a realm or an error_description may hold (RFC 6750, 3): no quote and no backslash, so that nothing breaks out of the header. */
export const challengeText = /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/

/** The refusals of one realm, with the `WWW-Authenticate` headers of RFC 6750, section 3. */
export interface Challenges {
  /** 401 without an error code: there were no credentials, or of a scheme that is not ours. */
  missing(): TollgateError
  /** 400: credentials that cannot be read, or more than one. */
  malformed(message: string): TollgateError
  /** 401: credentials that were read and are not good. Without a message the same bytes for every reason. */
  invalid(message?: string): TollgateError
}

/**
 * Refusals for `realm`. Messages become the `error_description` too, and are therefore constants of ours, never a caller's text.
 *
 * @param resourceMetadataUrl where RFC 9728 metadata lie; told in every challenge
 */
export function challenges(realm: string, resourceMetadataUrl?: string): Challenges {
  const metadata = resourceMetadataUrl === undefined ? '' : `, resource_metadata="${resourceMetadataUrl}"`
  const header = (error: string, description: string) => ({
    'www-authenticate': `Bearer realm="${realm}", error="${error}", error_description="${description}"${metadata}`,
  })
  const missingHeaders = { 'www-authenticate': `Bearer realm="${realm}"${metadata}` }
  const invalidMessage = 'The credentials are not valid.'
  const invalidHeaders = header('invalid_token', invalidMessage)
  return {
    missing: () =>
      new TollgateError('unauthenticated', 'Send an API key or a token as Authorization: Bearer <credentials>.', {
        headers: missingHeaders,
      }),
    malformed: (message) =>
      new TollgateError('malformed_credentials', message, { headers: header('invalid_request', message) }),
    invalid: (message = invalidMessage) =>
      new TollgateError('invalid_credentials', message, {
        headers: message === invalidMessage ? invalidHeaders : header('invalid_token', message),
      }),
  }
}

/** 403: the credentials are good, and give less than is needed. Names what is missing (RFC 6750, 3.1). */
export function insufficientScope(realm: string, missing: readonly string[]): TollgateError {
  const scope = missing.join(' ')
  return new TollgateError('insufficient_scope', `The credentials lack the scope ${missing.join(', ')}.`, {
    headers: { 'www-authenticate': `Bearer realm="${realm}", error="insufficient_scope", scope="${scope}"` },
  })
}

/** 503: whether the credentials are good cannot be found out now. No challenge, for there is nothing wrong with them, and no reason. */
export function identityUnavailable(cause: unknown, retryAfterMs = 1000): TollgateError {
  return new TollgateError('identity_unavailable', 'Credentials cannot be checked right now. Try again shortly.', {
    retryAfterMs,
    cause,
  })
}
