import { scryptSync } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decoyPasswordHash, hashPassword, isPasswordHash, verifyPassword } from './password-hash.js'

const cheap = { cost: 1024, blockSize: 8, parallelization: 1 }

describe('hashPassword and verifyPassword', () => {
  it('makes a PHC string with the default parameters, which verifies', async () => {
    const hash = await hashPassword('correct horse')
    expect(hash).toMatch(/^\$scrypt\$ln=15,r=8,p=3\$[\w+/]{22}\$[\w+/]{43}$/)
    expect(await verifyPassword('correct horse', hash)).toBe(true)
    expect(await verifyPassword('correct horsf', hash)).toBe(false)
  })

  it('salts: the same password twice has two hashes', async () => {
    expect(await hashPassword('x', cheap)).not.toBe(await hashPassword('x', cheap))
  })

  it('verifies what another implementation of scrypt made (RFC 7914, test vector 3)', async () => {
    const salt = Buffer.from('SodiumChloride').toString('base64').replace(/=+$/, '')
    const key =
      '7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887'
    const hash = Buffer.from(key, 'hex').toString('base64').replace(/=+$/, '')
    expect(await verifyPassword('pleaseletmein', `$scrypt$ln=14,r=8,p=1$${salt}$${hash}`)).toBe(true)
  })

  it('takes composed and decomposed, wide and narrow spellings for the same password', async () => {
    const hash = await hashPassword('caf\u00e9', cheap)
    expect(await verifyPassword('cafe\u0301', hash)).toBe(true)
    expect(await verifyPassword('ｃａｆé', hash)).toBe(true)
  })

  it('verifies every password it hashed and no other', async () => {
    const password = fc.string({ unit: 'binary', minLength: 1, maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(password, password, async (one, two) => {
        const hash = await hashPassword(one, cheap)
        expect(await verifyPassword(one, hash)).toBe(true)
        expect(await verifyPassword(two, hash)).toBe(
          Buffer.from(one.normalize('NFKC')).equals(Buffer.from(two.normalize('NFKC'))),
        )
      }),
      { numRuns: 30 },
    )
  })

  it('refuses empty and over-long passwords', async () => {
    await expect(hashPassword('', cheap)).rejects.toThrow(/1 to 1024/)
    await expect(hashPassword('é'.repeat(513), cheap)).rejects.toThrow(/1 to 1024/)
    const hash = await hashPassword('é'.repeat(512), cheap)
    expect(await verifyPassword('é'.repeat(512), hash)).toBe(true)
    expect(await verifyPassword('é'.repeat(513), hash)).toBe(false)
  })

  it.each([
    { cost: 1000 },
    { cost: 512 },
    { cost: 2 ** 24 },
    { blockSize: 0 },
    { blockSize: 1.5 },
    { parallelization: 1000 },
    { cost: Number.NaN },
  ])('refuses to hash with %o', async (parameters) => {
    await expect(hashPassword('x', parameters)).rejects.toThrow(/out of bounds/)
  })

  const salt = 'AAECAwQFBgcICQoLDA0ODw'
  const hash = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8'
  it.each([
    ['nothing', ''],
    ['clear text', 'hunter2'],
    ['another scheme', `$argon2id$v=19$m=65536,t=3,p=4$${salt}$${hash}`],
    ['a memory bomb', `$scrypt$ln=30,r=8,p=1$${salt}$${hash}`],
    ['a block size bomb', `$scrypt$ln=15,r=999,p=1$${salt}$${hash}`],
    ['a work bomb', `$scrypt$ln=15,r=8,p=999$${salt}$${hash}`],
    ['a cost of 2', `$scrypt$ln=1,r=8,p=1$${salt}$${hash}`],
    ['parameters in another order', `$scrypt$r=8,ln=15,p=1$${salt}$${hash}`],
    ['a leading zero', `$scrypt$ln=015,r=8,p=1$${salt}$${hash}`],
    ['padding', `$scrypt$ln=15,r=8,p=1$${salt}==$${hash}`],
    ['a short hash', `$scrypt$ln=15,r=8,p=1$${salt}$AAECAwQF`],
    ['a short salt', `$scrypt$ln=15,r=8,p=1$AAEC$${hash}`],
    ['bits that no byte has', `$scrypt$ln=15,r=8,p=1$${salt.slice(0, -1)}x$${hash}`],
    ['a newline at the end', `$scrypt$ln=15,r=8,p=1$${salt}$${hash}\n`],
  ])('takes %s for no hash', async (_name, text) => {
    expect(isPasswordHash(text)).toBe(false)
    await expect(verifyPassword('x', text)).rejects.toThrow(/PHC/)
  })

  it('reads parameters exactly within the bounds of memory and work', () => {
    const number = fc.integer({ min: 1, max: 40 })
    fc.assert(
      fc.property(number, number, number, (ln, r, p) => {
        const affordable = ln >= 10 && 128 * 2 ** ln * r <= 2 ** 28 && 2 ** ln * r * p <= 2 ** 22
        expect(isPasswordHash(`$scrypt$ln=${ln},r=${r},p=${p}$${salt}$${hash}`)).toBe(affordable)
      }),
    )
  })

  it('makes decoys that cost as much as a real hash and that nothing matches', async () => {
    const decoy = decoyPasswordHash(cheap)
    expect(decoy).toMatch(/^\$scrypt\$ln=10,r=8,p=1\$/)
    expect(await verifyPassword('', decoy)).toBe(false)
    expect(decoyPasswordHash()).toMatch(/^\$scrypt\$ln=15,r=8,p=3\$/)
  })

  it('is scrypt as node:crypto has it', async () => {
    const made = await hashPassword('x', cheap)
    const [, , , madeSalt = '', madeHash] = made.split('$')
    const key = scryptSync('x', Buffer.from(madeSalt, 'base64'), 32, { N: 1024, r: 8, p: 1 })
    expect(key.toString('base64').replace(/=+$/, '')).toBe(madeHash)
  })
})
