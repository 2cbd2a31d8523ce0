import { describe, expect, it } from 'vitest'
import { identityStoreCases } from '../testing/identity-store.js'
import type { Change } from './identity-store.js'
import { memoryIdentityStore } from './memory-identity-store.js'

const by: Change = { action: 'test', at: 1, actor: { tenant: 'root', subject: 'operator', method: 'api-key' } }

describe('memoryIdentityStore', () => {
  it.each(identityStoreCases)('$name', ({ run }) => run(() => memoryIdentityStore()))

  it('keeps so many lines of the audit log and drops the oldest', async () => {
    const store = memoryIdentityStore({ maxAudit: 3 })
    for (const id of ['a', 'b', 'c', 'd']) await store.create('tenant', { id, name: id, disabled: false }, by)
    const { items } = await store.listAudit({ limit: 10 })
    expect(items.map(({ target }) => target.id)).toEqual(['d', 'c', 'b'])
  })

  it('refuses a cursor that is none, saying where', async () => {
    await expect(memoryIdentityStore().list('key', { limit: 1, after: 'x' })).rejects.toMatchObject({
      code: 'invalid_request',
      errors: [{ path: 'query.cursor' }],
    })
  })

  it('answers the lookups of auth at once', () => {
    expect(memoryIdentityStore().findApiKey('x')).toBeUndefined()
  })

  it('refuses a secret that is too short', () => {
    expect(() => memoryIdentityStore({ secret: 'short' })).toThrow(/32 bytes/)
  })
})
