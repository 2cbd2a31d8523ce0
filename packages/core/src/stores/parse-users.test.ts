import { describe, expect, it } from 'vitest'
import { isTollgateError, type TollgateError } from '../errors.js'
import { parseUsers } from './parse-users.js'

const password_hash = '$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8'
const ada = { username: 'ada', password_hash }

describe('parseUsers', () => {
  it('reads users, with a tenant of their own unless one is given', () => {
    const json = JSON.stringify([
      ada,
      { username: 'bob', password_hash, tenant: 'acme', tier: 'pro', scopes: ['chat'] },
    ])
    expect(parseUsers(json)).toEqual([
      { username: 'ada', tenant: 'ada', scopes: [], passwordHash: password_hash },
      { username: 'bob', tenant: 'acme', tier: 'pro', scopes: ['chat'], passwordHash: password_hash },
    ])
    expect(parseUsers('\ufeff[]')).toEqual([])
  })

  it.each([
    ['an object', {}, ''],
    ['no name', [{ password_hash }], '[0].username'],
    ['an empty name', [ada, { username: '', password_hash }], '[1].username'],
    ['a clear password', [{ username: 'ada', password: 'hunter2' }], '[0].password'],
    ['a hash that is none', [{ username: 'ada', password_hash: 'hunter2' }], '[0].password_hash'],
    ['a scope with a space', [{ ...ada, scopes: ['a b'] }], '[0].scopes[0]'],
    ['a control character', [{ ...ada, tenant: 'a\nb' }], '[0].tenant'],
    ['a name twice', [ada, ada], '[1].username'],
  ])('refuses %s, naming the path and no value', (_name, value, path) => {
    const error = refusal(JSON.stringify(value))
    expect(error.errors?.map((each) => each.path)).toContain(path)
    expect(error.message).not.toContain('hunter2')
  })

  it('tells where the JSON is broken without quoting it', () => {
    const error = refusal(`[{"username":"ada","password_hash":"hunter2",}]`)
    expect(error.message).toMatch(/not valid JSON at position \d+/)
    expect(error.message).not.toContain('hunter2')
    expect(refusal('').message).toMatch(/not valid JSON/)
  })
})

function refusal(json: string): TollgateError {
  try {
    parseUsers(json)
  } catch (error) {
    if (isTollgateError(error, 'config_invalid')) return error
    throw error
  }
  throw new Error('it did not throw')
}
