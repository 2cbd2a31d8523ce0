import { createCipheriv, createDecipheriv, createHmac, createSecretKey, hkdfSync, randomBytes } from 'node:crypto'
import { configInvalid } from '../errors.js'

/** One secret of the deployment, 32 bytes or more; or several while one replaces another: the first makes, all are accepted. */
export type IdentitySecret = string | Uint8Array | ReadonlyArray<string | Uint8Array>

/** What is made of the deployment's secret: keyed hashes of credentials, and a seal for keys that sign. */
export interface IdentitySecrets {
  /** HMAC-SHA256 of a credential under each secret, 64 hexadecimal digits; the first is the one to keep. */
  digestsOf(credential: string): readonly string[]
  /** Encrypts a text (AES-256-GCM) for keeping it. */
  seal(text: string): string
  /** What was sealed. Throws if it was changed, or sealed under a secret that is not here. */
  open(sealed: string): string
}

/**
 * Derives what it needs from the secret (HKDF-SHA256), each for one purpose.
 *
 * @throws TollgateError `config_invalid` for a secret under 32 bytes
 */
export function identitySecrets(secret: IdentitySecret): IdentitySecrets {
  const list: readonly unknown[] = Array.isArray(secret) ? secret : [secret]
  for (const each of list) {
    if (typeof each === 'string' || each instanceof Uint8Array) continue
    throw configInvalid('secret: must be a string or bytes, or a list of them', [
      { path: 'secret', message: 'must be a string or bytes, or a list of them' },
    ])
  }
  const parts = (list as ReadonlyArray<string | Uint8Array>).map((each) => {
    const bytes = typeof each === 'string' ? Buffer.from(each) : Buffer.copyBytesFrom(each)
    if (bytes.length < 32) {
      throw configInvalid(
        'secret: must have 32 bytes or more: node -p "crypto.randomBytes(32).toString(\'base64url\')"',
        [{ path: 'secret', message: 'must have 32 bytes or more' }],
      )
    }
    const derive = (purpose: string) => createSecretKey(Buffer.from(hkdfSync('sha256', bytes, '', purpose, 32)))
    return { digestKey: derive('tollgate/credential-digest'), sealKey: derive('tollgate/signing-key-seal') }
  })
  const [first] = parts
  if (first === undefined) throw configInvalid('secret: give one at least')

  return {
    digestsOf: (credential) =>
      parts.map(({ digestKey }) => createHmac('sha256', digestKey).update(credential).digest('hex')),
    seal(text) {
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', first.sealKey, nonce)
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
      return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64url')
    },
    open(sealed) {
      const bytes = Buffer.from(sealed, 'base64url')
      for (const { sealKey } of parts) {
        try {
          const decipher = createDecipheriv('aes-256-gcm', sealKey, bytes.subarray(0, 12), { authTagLength: 16 })
          decipher.setAuthTag(bytes.subarray(12, 28))
          return Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]).toString('utf8')
        } catch {
          // Sealed under another of them, or none.
        }
      }
      throw configInvalid(
        'secret: a kept signing key was sealed under another secret; give that one too, after the new one',
      )
    },
  }
}
