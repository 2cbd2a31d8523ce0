import {
  type CryptoKey,
  calculateJwkThumbprint,
  exportJWK,
  generateKeyPair,
  importJWK,
  type JSONWebKeySet,
  type JWK,
} from 'jose'
import { TollgateError } from '../errors.js'
import { identityUnavailable } from '../middleware/auth-challenge.js'
import type { Change, IdentityStore, SigningKey } from '../stores/identity-store.js'
import type { Ask } from './ask-within.js'

interface RingOptions {
  readonly store: Pick<IdentityStore, 'signingKeys' | 'addSigningKey' | 'onChange'>
  readonly ask: Ask
  /** A key this old gets a successor, milliseconds. */
  readonly maxAgeMs: number
  readonly now: () => number
}

export interface RotateOptions {
  /** The new key signs at once, and nothing that an earlier one signed is believed any longer. Default `false`. */
  readonly retireNow?: boolean
}

/** The keys that sign access tokens, as all processes with the same store have them. */
export interface SigningKeyRing {
  /** The key that signs now. */
  signer(): Promise<{ readonly kid: string; readonly key: CryptoKey }>
  /** All that are believed, also the one that signs next. The same object as long as they are the same. */
  keySet(): Promise<JSONWebKeySet>
  /** Makes a successor of the newest key. Returns its kid, or that of whoever was faster. */
  rotate(by?: Change, options?: RotateOptions): Promise<string>
}

const refreshMs = 60_000
const retryMs = 5_000
/** A new key is published for so long before it signs, that whoever keeps the key set has it by then. */
const leadMs = 15 * 60_000
/** The longest life of an access token, whatever this or another process makes them; and what clocks may differ. */
const aftermathMs = 86_400_000 + 10 * 60_000

/**
 * ES256 keys kept in the store: loaded at first use (the first is made then), read again every minute in use and whenever the store says that something may have been
 * missed. One reading at a time. While the store is down the keys that are known serve on. A key over `maxAgeMs` gets a successor.
 *
 * Everything rejects with `identity_unavailable` when keys have never been had.
 */
export function signingKeyRing({ store, ask, maxAgeMs, now }: RingOptions): SigningKeyRing {
  let keys: readonly SigningKey[] | undefined
  let loadedAt = Number.NEGATIVE_INFINITY
  let changed = false
  let retryAt = Number.NEGATIVE_INFINITY
  let lastFailure: unknown
  let loading: Promise<void> | undefined
  let published: { readonly kids: string; readonly set: JSONWebKeySet } | undefined
  let warned = false
  const imported = new Map<string, Promise<CryptoKey>>()

  store.onChange?.(({ kind }) => {
    if (kind === 'all') changed = true
  })

  const kept = () => ask(() => store.signingKeys(now()))

  /** A successor of the newest key, if that is still the newest. */
  const succeed = async (newest: SigningKey | undefined, by: Change, retireNow: boolean) => {
    const at = now()
    const key = await makeKey(at, newest === undefined || retireNow ? at : at + leadMs)
    const earlierEnd = retireNow ? at : key.signsFrom + aftermathMs
    const won = await ask(() => store.addSigningKey(key, newest?.kid, earlierEnd, by))
    return won ? key.kid : undefined
  }

  const read = async (): Promise<void> => {
    changed = false
    const at = now()
    try {
      let found = await kept()
      if (found.length === 0) {
        await succeed(undefined, ownChange(at), false)
        found = await kept()
      }
      const newest = found.at(-1)
      if (newest === undefined) throw new Error('The store keeps no signing key.')
      if (newest.createdAt + maxAgeMs <= at) found = await rotated(newest, found)
      keys = found
      loadedAt = at
      retryAt = Number.NEGATIVE_INFINITY
    } catch (error) {
      changed = true
      lastFailure = error
      retryAt = now() + retryMs
      throw error
    }
  }

  /** With the successor; without it, if that cannot be: the old key signs on, and the next reading tries again. */
  const rotated = async (newest: SigningKey, found: readonly SigningKey[]) => {
    try {
      await succeed(newest, ownChange(now()), false)
      return await kept()
    } catch {
      if (!warned) {
        process.emitWarning('The signing key is due to be replaced, and the store does not take the new one.', {
          code: 'TOLLGATE_SIGNING_KEY',
        })
      }
      warned = true
      return found
    }
  }

  const load = (): Promise<void> => {
    loading ??= read().finally(() => {
      loading = undefined
    })
    return loading
  }

  /** What the store keeps now, not what a reading before has found. */
  const reload = async (): Promise<void> => {
    await loading?.catch(() => {})
    await load()
  }

  /** Those that have not ended, oldest first; one at least. */
  const current = async (): Promise<readonly SigningKey[]> => {
    const age = now() - loadedAt
    if ((changed || !(age >= 0 && age < refreshMs)) && now() >= retryAt) {
      const attempt = load().catch(() => {})
      // After a failure nobody waits for the next attempt while there are keys to go on with.
      if (keys === undefined || retryAt === Number.NEGATIVE_INFINITY) await attempt
    }
    const alive = keys?.filter(({ expiresAt }) => expiresAt === undefined || now() < expiresAt) ?? []
    if (alive.length === 0) throw identityUnavailable(lastFailure)
    return alive
  }

  return {
    async signer() {
      const alive = await current()
      const signing = alive.findLast(({ signsFrom }) => signsFrom <= now()) ?? (alive.at(-1) as SigningKey)
      for (const kid of imported.keys()) if (!alive.some((each) => each.kid === kid)) imported.delete(kid)
      const known = imported.get(signing.kid) ?? importPrivate(signing)
      imported.set(signing.kid, known)
      return { kid: signing.kid, key: await known }
    },
    async keySet() {
      const alive = await current()
      const kids = alive.map(({ kid }) => kid).join(' ')
      if (published?.kids !== kids) published = { kids, set: { keys: alive.map(publicJwk) } }
      return published.set
    },
    async rotate(by = ownChange(now()), { retireNow = false } = {}) {
      for (let attempt = 0; attempt < 5; attempt += 1) {
        const kid = await succeed((await kept()).at(-1), by, retireNow)
        await reload()
        if (kid !== undefined) return kid
        const faster = keys?.at(-1)?.kid
        // Whoever was faster has not ended the earlier keys: that is still to be done.
        if (!retireNow && faster !== undefined) return faster
      }
      throw new TollgateError('conflict', 'Others keep replacing the signing key: try again.')
    },
  }
}

async function makeKey(createdAt: number, signsFrom: number): Promise<SigningKey> {
  const pair = await generateKeyPair('ES256', { extractable: true })
  const publicKey = await exportJWK(pair.publicKey)
  const kid = await calculateJwkThumbprint(publicKey)
  const privateKey = JSON.stringify(await exportJWK(pair.privateKey))
  return { kid, alg: 'ES256', publicKey: { ...publicKey }, privateKey, createdAt, signsFrom }
}

async function importPrivate({ privateKey, alg }: SigningKey): Promise<CryptoKey> {
  return (await importJWK(JSON.parse(privateKey) as JWK, alg)) as CryptoKey
}

/** By name, so that nothing private can be among what is published. */
function publicJwk({ kid, alg, publicKey }: SigningKey): JWK {
  const { kty, crv, x, y } = publicKey as JWK & { kty: string }
  return { kty, crv, x, y, kid, alg, use: 'sig' } as JWK
}

/** By the gate itself. No tenant can have this name, so none reads it in its log. */
function ownChange(at: number): Change {
  return {
    action: 'signing-key.rotate',
    at,
    actor: { tenant: '*', subject: 'authorization-server', method: 'internal' },
  }
}
