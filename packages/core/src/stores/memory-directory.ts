import { hash, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { configInvalid } from '../errors.js'
import { checkedOptions } from '../options.js'
import { isPrincipalName } from '../principal.js'
import type { ApiKeyRecord, Directory, UserRecord } from './directory.js'
import { isPasswordHash, phcShape } from './password-hash.js'

/** An API key as it is given to {@link memoryDirectory}: in clear, or by its digest. */
export interface MemoryApiKey extends Omit<ApiKeyRecord, 'id' | 'scopes'> {
  /** The key itself, visible ASCII without spaces. Only its digest is kept. Draw it at random: 32 characters or more. */
  readonly key?: string
  /** Instead of `key`: its SHA-256, 64 hexadecimal digits. */
  readonly digest?: string
  /** Public id, safe to log. Default: `key_` and 12 hexadecimal digits that follow from the digest. */
  readonly id?: string
  /** Default: none. */
  readonly scopes?: readonly string[]
}

/** What {@link memoryDirectory} holds. */
export interface MemoryDirectoryOptions {
  readonly apiKeys?: readonly MemoryApiKey[]
  readonly users?: readonly UserRecord[]
}

interface StoredKey {
  readonly digest: Buffer
  readonly record: ApiKeyRecord
}

const name = z.string().refine(isPrincipalName, 'must be 1 to 512 characters, without control characters')
const scopes = z.array(name)

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
          tier: name.optional(),
          scopes: scopes.default([]),
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
        tier: name.optional(),
        scopes,
        passwordHash: z.string().refine(isPasswordHash, `must be ${phcShape}`),
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
  const keysByIndex = new Map<string, StoredKey[]>()
  const ids = new Set<string>()
  apiKeys.forEach(({ key, digest: given, id: givenId, ...rest }, position) => {
    const hexadecimal = (given ?? hash('sha256', key ?? '')).toLowerCase()
    const id = givenId ?? `key_${hash('sha256', `id:${hexadecimal}`).slice(0, 12)}`
    const digest = Buffer.from(hexadecimal, 'hex')
    const bucket = keysByIndex.get(indexOf(hexadecimal)) ?? []
    if (bucket.some((other) => other.digest.equals(digest))) throw twice(`apiKeys[${position}]`, 'the key')
    if (ids.has(id)) throw twice(`apiKeys[${position}].id`, 'the id')
    ids.add(id)
    keysByIndex.set(indexOf(hexadecimal), [...bucket, { digest, record: snapshot({ id, ...rest }) }])
  })
  const usersByName = new Map<string, UserRecord>()
  users.forEach((user, position) => {
    if (usersByName.has(user.username)) throw twice(`users[${position}].username`, 'the name')
    usersByName.set(user.username, snapshot(user))
  })

  return {
    findApiKey(digest) {
      const bucket = keysByIndex.get(indexOf(digest))
      if (bucket === undefined || digest.length !== 64) return undefined
      const wanted = Buffer.from(digest, 'hex')
      if (wanted.length !== 32) return undefined
      let found: ApiKeyRecord | undefined
      for (const stored of bucket) if (timingSafeEqual(stored.digest, wanted)) found = stored.record
      return found
    },
    findUser: (username) => usersByName.get(username),
    close() {},
  }
}

/** A map cannot compare in constant time, so it finds by the first 64 bits only; the whole digest is compared afterwards. */
function indexOf(digest: string): string {
  return digest.slice(0, 16)
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
