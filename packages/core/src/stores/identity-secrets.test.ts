import { describe, expect, it } from 'vitest'
import { identitySecrets } from './identity-secrets.js'

const first = 'the first secret, thirty-two bytes or more'
const second = 'the second secret, thirty-two bytes or more'

describe('identitySecrets', () => {
  it('hashes a credential under each secret, the newest first', () => {
    const both = identitySecrets([second, first])
    expect(both.digestsOf('key')).toEqual([
      identitySecrets(second).digestsOf('key')[0],
      identitySecrets(first).digestsOf('key')[0],
    ])
    expect(both.digestsOf('key')[0]).toMatch(/^[0-9a-f]{64}$/)
    expect(both.digestsOf('kez')[0]).not.toBe(both.digestsOf('key')[0])
  })

  it('takes text and its bytes for the same secret, and keeps no hold of the bytes', () => {
    const bytes = Buffer.from(first)
    const secrets = identitySecrets(bytes)
    bytes.fill(0)
    expect(secrets.digestsOf('key')).toEqual(identitySecrets(first).digestsOf('key'))
  })

  it('opens what it sealed, also under the secret before, never twice the same bytes', () => {
    const sealed = identitySecrets(first).seal('private ✓')
    expect(sealed).not.toContain('private')
    expect(identitySecrets([second, first]).open(sealed)).toBe('private ✓')
    expect(identitySecrets(first).seal('private ✓')).not.toBe(sealed)
  })

  it('opens nothing that was changed, cut, or sealed under another secret', () => {
    const secrets = identitySecrets(first)
    const sealed = secrets.seal('private')
    const changed = `${sealed.slice(0, -3)}${sealed.at(-3) === 'A' ? 'B' : 'A'}${sealed.slice(-2)}`
    for (const wrong of [changed, sealed.slice(0, -4), '', 'x']) expect(() => secrets.open(wrong)).toThrow(/secret/)
    expect(() => identitySecrets(second).open(sealed)).toThrow(/secret/)
  })

  it('refuses a short secret without repeating it', () => {
    for (const short of ['', 'a-short-secret', []]) {
      expect(() => identitySecrets(short)).toThrow(/^secret: /)
      expect(() => identitySecrets(short)).not.toThrow(/a-short-secret/)
    }
  })
})
