import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isPrincipalName, type Principal } from '../principal.js'
import { responseIds, type Stored } from './response-ids.js'

const secret = 'a-secret-of-the-servers-0123456789'
const ids = responseIds({ secrets: [secret] })
const caller = (tenant: string, subject = 'ann'): Principal => ({ tenant, subject, method: 'api-key', scopes: [] })
const stored: Stored = {
  account: 'openai/1',
  target: { provider: 'openai', model: 'gpt-4o' },
  id: 'resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b',
}
const anyStored: fc.Arbitrary<Stored> = fc.record({
  account: fc.string({ minLength: 1 }),
  target: fc.record({ provider: fc.string(), model: fc.string() }),
  id: fc.oneof(fc.string({ minLength: 1 }), fc.stringMatching(/^[a-z]{1,20}_\w{1,60}$/)),
})
const anyName = fc.string({ unit: 'grapheme', minLength: 1 }).filter(isPrincipalName)

describe('responseIds', () => {
  it('keeps what kind of id it is, and is fit for a path', () => {
    expect(ids.seal(caller('a'), stored)).toMatch(/^resp_[\w-]{100,200}$/)
    expect(ids.seal(caller('a'), { ...stored, id: 'msg_1' })).toMatch(/^msg_/)
    expect(ids.seal(caller('a'), { ...stored, id: '8c3f-12' })).toMatch(/^id_/)
  })

  it('gives back what was sealed, on any server with the secret, whatever it was', () => {
    fc.assert(
      fc.property(anyStored, anyName, (each, tenant) => {
        const other = responseIds({ secrets: [secret] })
        const sealed = ids.seal(caller(tenant), each)
        expect(other.seal(caller(tenant), each)).toBe(sealed)
        expect(other.open(caller(tenant), sealed)).toEqual(each)
        expect(other.open(caller(tenant, 'somebody else'), sealed)).toEqual(each)
      }),
    )
  })

  it('opens for no other tenant', () => {
    fc.assert(
      fc.property(anyStored, anyName, anyName, (each, tenant, other) => {
        fc.pre(tenant !== other)
        const sealed = ids.seal(caller(tenant), each)
        expect(ids.open(caller(other), sealed)).toBeUndefined()
        expect(ids.open(undefined, sealed)).toBeUndefined()
        expect(ids.open(caller(tenant), ids.seal(undefined, each))).toBeUndefined()
      }),
    )
  })

  it('opens for nobody else in the tenant, if it is for the principal', () => {
    const own = responseIds({ secrets: [secret], scope: 'principal' })
    const sealed = own.seal(caller('a', 'ann'), stored)
    expect(own.open(caller('a', 'ann'), sealed)).toEqual(stored)
    expect(own.open(caller('a', 'bob'), sealed)).toBeUndefined()
    // Nor does one that is for all of a tenant whose name looks like it.
    expect(own.open(caller('a', 'ann'), ids.seal(caller('a/ann'), stored))).toBeUndefined()
  })

  it('opens nothing that was changed, in any character', () => {
    const sealed = ids.seal(caller('a'), stored)
    const character = fc.oneof(fc.constantFrom(...'AZaz09-_=+/. \n%'), fc.string({ minLength: 1, maxLength: 1 }))
    fc.assert(
      fc.property(fc.nat(sealed.length), fc.nat(2), character, (at, removed, added) => {
        const changed = sealed.slice(0, at) + added + sealed.slice(at + removed)
        fc.pre(changed !== sealed)
        expect(ids.open(caller('a'), changed)).toBeUndefined()
      }),
      { numRuns: 2_000 },
    )
    for (const changed of [
      sealed.slice(0, -1),
      `${sealed}=`,
      `${sealed}A`,
      sealed.replace('resp_', 'msg_'),
      sealed.slice(5),
    ]) {
      expect(ids.open(caller('a'), changed)).toBeUndefined()
    }
  })

  it('opens nothing that it has not sealed', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.base64String().map((text) => `resp_${text}`),
        ),
        (text) => {
          expect(ids.open(caller('a'), text)).toBeUndefined()
        },
      ),
    )
    expect(ids.open(caller('a'), stored.id)).toBeUndefined()
    expect(ids.open(caller('a'), `resp_${'A'.repeat(10_000)}`)).toBeUndefined()
    const of = (secrets: string[]) => responseIds({ secrets }).seal(caller('a'), stored)
    expect(ids.open(caller('a'), of(['another-secret-of-the-servers-0123456789']))).toBeUndefined()
  })

  it('opens what an older secret has sealed, as long as that is given', () => {
    const next = 'the-next-secret-of-the-servers-0123456789'
    const sealed = ids.seal(caller('a'), stored)
    const both = responseIds({ secrets: [next, secret] })
    expect(both.open(caller('a'), sealed)).toEqual(stored)
    expect(both.seal(caller('a'), stored)).not.toBe(sealed)
    expect(responseIds({ secrets: [next] }).open(caller('a'), sealed)).toBeUndefined()
  })

  it.each([[{ secrets: [] }], [{ secrets: ['short'] }], [{}], [{ secrets: [secret], scope: 'all' }]])(
    'refuses %j, and repeats no secret',
    (options) => {
      const make = () => responseIds(options as never)
      expect(make).toThrow(expect.objectContaining({ code: 'config_invalid' }))
      expect(make).not.toThrow(/short/)
    },
  )
})
