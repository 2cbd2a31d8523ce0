import { hash } from 'node:crypto'
import { z } from 'zod'
import { configInvalid } from '../errors.js'
import { checkedOptions } from '../options.js'
import { isPrincipalName } from '../principal.js'
import { credentialId, parseApiKey } from './api-key.js'
import type { ApiKeyRecord, Directory, UserRecord } from './directory.js'
import { isPasswordHash, phcShape } from './password-hash.js'

/** An API key as it is given to {@link memoryDirectory}: in clear, or by its digest. */
export interface MemoryApiKey extends Omit<ApiKeyRecord, 'id' | 'scopes' | 'secrets'> {
  /** The key itself, visible ASCII without spaces. Only its digest is kept. Draw it at random: 32 characters or more. */
  readonly key?: string
  /** Instead of `key`: its SHA-256, 64 hexadecimal digits. */
  readonly digest?: string
  /** Public id, safe to log. Default: the id in a key of `drawApiKey()`, else `key_` and 12 hexadecimal digits that follow from the digest. */
  readonly id?: string
  /** Default: none. */
  readonly scopes?: readonly string[]
}

/** What {@link memoryDirectory} holds. */
export interface MemoryDirectoryOptions {
  readonly apiKeys?: readonly MemoryApiKey[]
  readonly users?: readonly UserRecord[]
}

const name = z.string().refine(isPrincipalName, 'must be 1 to 512 characters, without control characters')
const scopes = z.array(name)
const models = z.array(z.array(z.string().min(1))).optional()
const limits = z.record(z.string(), z.union([z.number(), z.string()])).optional()

const schema = z.strictObject({
  apiKeys: z
    .array(
      z
        .strictObject({
          key: z
            .string()
            .regex(/^[\x21-\x7e]{1,1024}$/, 'must be 1 to 1,024 visible ASCII characters without spaces')
            .optional(),
          digest: z
            .string()
            .regex(/^[\da-f]{64}$/i, 'must be a SHA-256 in hexadecimal')
            .optional(),
          id: name.optional(),
          tenant: name,
          subject: name,
          team: name.optional(),
          tier: name.optional(),
          scopes: scopes.default([]),
          models,
          limits,
          addresses: z.array(z.string()).optional(),
          disabled: z.boolean().optional(),
          expiresAt: z.number().optional(),
        })
        .refine(({ key, digest }) => (key === undefined) !== (digest === undefined), 'give either key or digest'),
    )
    .default([]),
  users: z
    .array(
      z.strictObject({
        username: name,
        tenant: name,
        team: name.optional(),
        tier: name.optional(),
        scopes,
        models,
        limits,
        userId: name.optional(),
        loginGeneration: z.int().min(0).optional(),
        passwordHash: z.string().refine(isPasswordHash, `must be ${phcShape}`).optional(),
        disabled: z.boolean().optional(),
      }),
    )
    .default([]),
})

/**
 * A directory of fixed keys and users, in memory. Answers at once, so that `auth` stays on the synchronous path. Keys given in clear are
 * hashed here and not kept. To change who may call, make a new one.
 *
 * @throws TollgateError `config_invalid` for entries that are wrong or there twice; the message never repeats a key
 * @example const directory = memoryDirectory({ apiKeys: [{ key: process.env.API_KEY, tenant: 'acme', subject: 'website', tier: 'pro' }] })
 */
export function memoryDirectory(options: MemoryDirectoryOptions): Directory {
  const { apiKeys, users } = checkedOptions('memoryDirectory', schema, options)
  const keys = new Map<string, ApiKeyRecord>()
  const ids = new Set<string>()
  apiKeys.forEach(({ key, digest: given, id: givenId, ...rest }, position) => {
    const digest = (given ?? hash('sha256', key ?? '')).toLowerCase()
    const id = givenId ?? parseApiKey(key ?? '')?.id ?? `key_${hash('sha256', `id:${digest}`).slice(0, 12)}`
    const record = snapshot<ApiKeyRecord>({ id, ...rest, secrets: Object.freeze([secretOf(digest, key)]) })
    const handle = key === undefined ? credentialId(digest, digest) : credentialId(key, digest)
    if (keys.has(handle)) throw twice(`apiKeys[${position}]`, 'the key')
    if (ids.has(id)) throw twice(`apiKeys[${position}].id`, 'the id')
    ids.add(id)
    keys.set(handle, record)
    // A key of our own form that is given by its digest is found by the id in it.
    if (key === undefined && !keys.has(id)) keys.set(id, record)
  })
  const usersByName = new Map<string, UserRecord>()
  users.forEach((user, position) => {
    if (usersByName.has(user.username)) throw twice(`users[${position}].username`, 'the name')
    usersByName.set(user.username, snapshot(user))
  })

  return {
    digestsOf: (key) => [hash('sha256', key)],
    findApiKey: (id) => keys.get(id),
    findUser: (username) => usersByName.get(username),
    close() {},
  }
}

function secretOf(digest: string, key: string | undefined) {
  return Object.freeze({ digest, hint: key === undefined || key.length < 24 ? '' : key.slice(-4), createdAt: 0 })
}

/** A frozen copy, without the optional fields that are not there. */
function snapshot<Snapshot>(record: { readonly scopes: readonly string[] } & Record<string, unknown>): Snapshot {
  const present = Object.entries(record).filter(([, value]) => value !== undefined)
  return Object.freeze({ ...Object.fromEntries(present), scopes: Object.freeze([...record.scopes]) }) as Snapshot
}

function twice(path: string, what: string) {
  const message = `${what} of an earlier entry`
  return configInvalid(`memoryDirectory: ${path}: ${message}`, [{ path, message }])
}
