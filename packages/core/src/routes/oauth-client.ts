import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { LRUCache } from 'lru-cache'
import { addressKey, isInNetworks } from '../http/client-address.js'
import { isOver, keyPrincipal } from '../middleware/auth-api-key.js'
import { parseApiKey } from '../stores/api-key.js'
import type { ApiKeyRecord } from '../stores/directory.js'
import type { IdentityStore, KeySecret } from '../stores/identity-store.js'
import type { Ask } from './ask-within.js'
import type { ClientThrottle } from './client-throttle.js'
import { type TokenRefusal, tokenDelay, tokenRefusal } from './token-refusal.js'

/** Who asks: the holder of a key, or a client that has proven nothing. */
export type Client =
  | { readonly kind: 'key'; readonly id: string; readonly record: ApiKeyRecord; readonly secret: KeySecret }
  | { readonly kind: 'public'; readonly id: string | undefined }

interface ClientOptions {
  readonly store: Pick<IdentityStore, 'findApiKey' | 'digestsOf' | 'keyUsed'>
  readonly ask: Ask
  readonly environment: 'live' | 'test'
  readonly throttle: ClientThrottle
  readonly addressOf: (req: IncomingMessage) => string
  readonly realm: string
  readonly now: () => number
}

interface Sent {
  readonly id: string
  readonly secret: string
  readonly basic: boolean
}

const clientIdPattern = /^[\x20-\x7e]{1,256}$/
const keyIdShape = /^[0-9A-Za-z]{12}$/

/**
 * Which client is it (RFC 6749, 2.3)? Its id is the public id of an API key, its secret the whole key; by Basic or in the form, never both. A key that is unknown, wrong,
 * over, revoked, for another environment or used from a wrong address gets the same bytes. Rejects with `identity_unavailable`.
 */
export function clientAuthentication(options: ClientOptions) {
  const { store, ask, environment, throttle, addressOf, realm, now } = options
  const noted = new LRUCache<string, number>({ max: 10_000 })

  const holderOf = async ({ id, secret }: Sent, address: string) => {
    const parsed = parseApiKey(secret)
    if (parsed?.kind !== environment || parsed.id !== id) return undefined
    const record = await ask(() => store.findApiKey(id))
    if (record === undefined || record === null) return undefined
    // A row that is not whole is an outage, not a wrong key.
    keyPrincipal(record)
    const proven = secretIn(record, store.digestsOf(secret), now())
    if (proven === undefined) return undefined
    if (record.disabled === true || isOver(record.expiresAt, now())) return undefined
    const { addresses } = record
    if (addresses !== undefined && !(await ask(() => isInNetworks(address, addresses)))) return undefined
    return { record, secret: proven }
  }

  /** At most once a minute; nobody waits for it. */
  const noteUse = (id: string): void => {
    const at = now()
    if (Math.abs(at - (noted.get(id) ?? Number.NEGATIVE_INFINITY)) < 60_000) return
    noted.set(id, at)
    ask(() => store.keyUsed(id, at)).catch(() => {})
  }

  return async (req: IncomingMessage, form: ReadonlyMap<string, string>): Promise<Client | TokenRefusal> => {
    const sent = credentialsOf(req, form, realm)
    if (sent !== undefined && 'status' in sent) return sent
    if (sent === undefined) {
      const id = form.get('client_id')
      if (id === undefined) return { kind: 'public', id }
      if (!clientIdPattern.test(id)) {
        return tokenRefusal('invalid_request', 'The client_id is not 1 to 256 printable ASCII characters.')
      }
      // Who has a key proves it: nobody else may go by its name.
      const taken = keyIdShape.test(id) && (await ask(() => store.findApiKey(id))) != null
      return taken ? invalidClient() : { kind: 'public', id }
    }
    const address = addressOf(req)
    const counted = addressKey(address)
    const waitMs = await throttle.wait(counted, sent.id)
    if (waitMs > 0) return tokenDelay('rate_limited', 'Too many wrong credentials: wait, then try again.', waitMs)
    const holder = await holderOf(sent, address)
    if (holder === undefined) {
      await throttle.count(counted, sent.id)
      return invalidClient(sent.basic ? realm : undefined)
    }
    const { id } = holder.record
    noteUse(id)
    return { kind: 'key', id, ...holder }
  }
}

/** @param realm of the challenge, if the client used the Authorization header */
export function invalidClient(realm?: string): TokenRefusal {
  return tokenRefusal('invalid_client', 'The client is not known by these credentials.', {
    status: 401,
    headers: realm === undefined ? {} : { 'www-authenticate': `Basic realm="${realm}", charset="UTF-8"` },
    code: 'invalid_credentials',
  })
}

function credentialsOf(
  req: IncomingMessage,
  form: ReadonlyMap<string, string>,
  realm: string,
): Sent | TokenRefusal | undefined {
  const { authorization } = req.headers
  const [id, secret] = [form.get('client_id'), form.get('client_secret')]
  // Form tools send an empty id with an empty secret when none was filled in: that is no attempt to be someone.
  if (authorization === undefined || /^basic +Og==$/i.test(authorization)) {
    if (secret === undefined) return undefined
    if (id === undefined) return tokenRefusal('invalid_request', 'A client_secret needs its client_id.')
    return { id, secret, basic: false }
  }
  if (secret !== undefined)
    return tokenRefusal('invalid_request', 'Send the client_secret once: by Basic or in the form.')
  const basic = basicCredentials(authorization)
  if (basic === undefined) return invalidClient(realm)
  if (id !== undefined && id !== basic.id) {
    return tokenRefusal('invalid_request', 'The client_id of the form is another than that of Basic.')
  }
  return { ...basic, basic: true }
}

/** RFC 6749, 2.3.1: both are encoded as in a form before they become Basic. */
function basicCredentials(authorization: string): { id: string; secret: string } | undefined {
  const encoded = /^basic +([A-Za-z0-9+/]{1,2048}={0,2})$/i.exec(authorization)?.[1]
  if (encoded === undefined) return undefined
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(encoded, 'base64'))
    const colon = text.indexOf(':')
    if (colon < 1) return undefined
    const decode = (part: string) => decodeURIComponent(part.replaceAll('+', ' '))
    return { id: decode(text.slice(0, colon)), secret: decode(text.slice(colon + 1)) }
  } catch {
    return undefined
  }
}

/** The secret of the key that has one of these digests, if it is good now. */
function secretIn({ secrets }: ApiKeyRecord, digests: readonly string[], now: number): KeySecret | undefined {
  const candidates = digests.map((digest) => Buffer.from(digest, 'hex'))
  let right: KeySecret | undefined
  for (const secret of secrets) {
    const kept = Buffer.from(secret.digest, 'hex')
    for (const candidate of candidates) {
      const same = kept.length === candidate.length && timingSafeEqual(kept, candidate)
      if (same && !isOver(secret.expiresAt, now)) right = secret
    }
  }
  return right
}
