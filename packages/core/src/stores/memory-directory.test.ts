import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { isTollgateError } from '../errors.js'
import { directoryCases } from '../testing/directory.js'
import { drawApiKey } from './api-key.js'
import { memoryDirectory } from './memory-directory.js'

const digestOf = (key: string) => createHash('sha256').update(key).digest('hex')
const idOf = (digest: string) => `sha256:${digest}`
const holder = { tenant: 'acme', subject: 'website' }

describe('memoryDirectory', () => {
  it.each(directoryCases)('$name', ({ run }) => run((seed) => memoryDirectory(seed)))

  it('hashes a clear key and keeps no trace of it', () => {
    const directory = memoryDirectory({ apiKeys: [{ key: 'a-very-secret-key', ...holder }] })
    const found = directory.findApiKey(idOf(digestOf('a-very-secret-key')))
    expect(found).toMatchObject({ ...holder, scopes: [], id: expect.stringMatching(/^key_[0-9a-f]{12}$/) })
    expect(JSON.stringify(found)).not.toContain('a-very-secret')
    expect((found as { id: string }).id).not.toContain(digestOf('a-very-secret-key').slice(0, 12))
  })

  it('gives the same key the same id in every process, and another key another', () => {
    const publicId = (key: string) =>
      memoryDirectory({ apiKeys: [{ key, ...holder }] }).findApiKey(idOf(digestOf(key))) as { id: string }
    expect(publicId('one').id).toBe(publicId('one').id)
    expect(publicId('one').id).not.toBe(publicId('two').id)
  })

  it('takes a digest in upper case for the same digest', () => {
    const directory = memoryDirectory({ apiKeys: [{ digest: digestOf('x').toUpperCase(), ...holder }] })
    expect(directory.findApiKey(idOf(digestOf('x')))).toMatchObject(holder)
  })

  it('finds a key of our own form by the id in it, given in clear or by its digest', () => {
    const key = drawApiKey('live', 'AbCdEfGh0123')
    const clear = memoryDirectory({ apiKeys: [{ key, ...holder }] })
    expect(clear.findApiKey('AbCdEfGh0123')).toMatchObject({ id: 'AbCdEfGh0123', ...holder })
    const digested = memoryDirectory({ apiKeys: [{ digest: digestOf(key), id: 'AbCdEfGh0123', ...holder }] })
    expect(digested.findApiKey('AbCdEfGh0123')).toMatchObject({ secrets: [{ digest: digestOf(key) }] })
  })

  it('tells two digests apart that begin alike', () => {
    const [one, two] = [`${'a'.repeat(63)}1`, `${'a'.repeat(63)}2`]
    const directory = memoryDirectory({
      apiKeys: [
        { digest: one, id: 'one', ...holder },
        { digest: two, id: 'two', ...holder },
      ],
    })
    expect(directory.findApiKey(idOf(one))).toMatchObject({ id: 'one' })
    expect(directory.findApiKey(idOf(two))).toMatchObject({ id: 'two' })
    expect(directory.findApiKey(idOf(`${'a'.repeat(63)}3`))).toBeUndefined()
    expect(directory.findApiKey(idOf(`${'a'.repeat(63)}z`))).toBeUndefined()
  })

  it.each([
    ['neither key nor digest', [{ ...holder }], 'apiKeys'],
    ['key and digest', [{ key: 'top-secret', digest: digestOf('x'), ...holder }], 'apiKeys'],
    ['an empty key', [{ key: '', ...holder }], 'key'],
    ['a key with a space', [{ key: 'top-secret key', ...holder }], 'key'],
    ['a short digest', [{ digest: 'abc', ...holder }], 'digest'],
    ['no tenant', [{ key: 'top-secret', subject: 's' }], 'tenant'],
    ['an empty tenant', [{ key: 'top-secret', tenant: '', subject: 's' }], 'tenant'],
    ['a lone surrogate', [{ key: 'top-secret', tenant: '\ud800', subject: 's' }], 'tenant'],
    ['an unknown field', [{ key: 'top-secret', ...holder, scope: [] }], 'scope'],
    [
      'the same key twice',
      [
        { key: 'top-secret', ...holder },
        { key: 'top-secret', ...holder },
      ],
      'apiKeys[1]',
    ],
    [
      'the same id twice',
      [
        { key: 'a', id: 'i', ...holder },
        { key: 'b', id: 'i', ...holder },
      ],
      'apiKeys[1].id',
    ],
  ])('refuses %s, naming the place and never the key', (_name, apiKeys, place) => {
    const error = thrown(() => memoryDirectory({ apiKeys: apiKeys as never }))
    expect(isTollgateError(error, 'config_invalid')).toBe(true)
    expect(String(error)).toContain(place)
    expect(JSON.stringify(error) + String(error)).not.toContain('top-secret')
  })

  it('refuses a user twice and a hash that is none', () => {
    const user = { username: 'ada', tenant: 'acme', scopes: [], passwordHash: 'plain' }
    expect(() => memoryDirectory({ users: [user] })).toThrow(/users.*passwordHash/)
    const passwordHash = '$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8'
    const good = { ...user, passwordHash }
    expect(() => memoryDirectory({ users: [good, good] })).toThrow(/users\[1\]/)
  })

  it('leaves its options alone', () => {
    const options = Object.freeze({ apiKeys: Object.freeze([Object.freeze({ key: 'k', ...holder })]) })
    expect(() => memoryDirectory(options)).not.toThrow()
  })
})

function thrown(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return error
  }
  throw new Error('it did not throw')
}
