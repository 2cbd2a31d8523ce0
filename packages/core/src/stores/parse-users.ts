import { z } from 'zod'
import { configInvalid } from '../errors.js'
import { checkedOptions } from '../options.js'
import { isPrincipalName } from '../principal.js'
import type { UserRecord } from './directory.js'
import { isPasswordHash, phcShape } from './password-hash.js'

const name = z.string().refine(isPrincipalName, 'must be 1 to 512 characters, without control characters')

const users = z.array(
  z.strictObject({
    username: name.max(256, 'must be at most 256 characters'),
    password_hash: z.string().refine(isPasswordHash, `must be ${phcShape}`),
    tenant: name.optional(),
    tier: name.optional(),
    // RFC 6749, 3.3: what a scope is made of.
    scopes: z.array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'must be one scope, without spaces')).default([]),
  }),
)

/**
 * Reads users from JSON text, for a file or an environment variable:
 * `[{ "username": "ada", "password_hash": "$scrypt$…", "tenant": "acme", "tier": "pro", "scopes": ["chat"] }]`.
 * Without `tenant` a user is a tenant of their own, named like the user.
 *
 * @throws TollgateError `config_invalid` naming every wrong path, never a value
 * @example const directory = memoryDirectory({ users: parseUsers(readFileSync('users.json', 'utf8')) })
 */
export function parseUsers(json: string): UserRecord[] {
  const entries = checkedOptions('users', users, parse(json))
  const lines = new Map<string, number>()
  return entries.map(({ username, password_hash: passwordHash, tenant = username, tier, scopes }, index) => {
    const earlier = lines.get(username)
    if (earlier !== undefined) {
      const message = `is the username of [${earlier}] too`
      throw configInvalid(`users: [${index}].username ${message}`, [{ path: `[${index}].username`, message }])
    }
    lines.set(username, index)
    return { username, tenant, passwordHash, scopes, ...(tier === undefined ? {} : { tier }) }
  })
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json.replace(/^\ufeff/, ''))
  } catch (error) {
    // V8's message quotes the text, which holds hashes: only the position goes out.
    const position = /position (\d+)/.exec(String(error))?.[1]
    throw configInvalid(`users: not valid JSON${position === undefined ? '' : ` at position ${position}`}`)
  }
}
