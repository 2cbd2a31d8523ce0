import { describe, expect, it, vi } from 'vitest'
import { identityStoreCases } from '../testing/identity-store.js'
import type { Change } from './identity-store.js'
import { memoryIdentityStore } from './memory-identity-store.js'

const by: Change = { action: 'test', at: 1, actor: { tenant: 'root', subject: 'operator', method: 'api-key' } }

describe('memoryIdentityStore', () => {
  it.each(identityStoreCases)('$name', ({ run }) => run((options) => memoryIdentityStore(options)))

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

  it('refuses a secret that is too short, or none', () => {
    expect(() => memoryIdentityStore({ secret: 'short' })).toThrow(/32 bytes/)
    for (const secret of [5, null, {}, [7], []] as never[]) {
      expect(() => memoryIdentityStore({ secret })).toThrow(expect.objectContaining({ code: 'config_invalid' }))
    }
  })

  it('has no user of a name that nobody has, whatever ids there are', async () => {
    const store = memoryIdentityStore()
    await store.create('tenant', { id: 'acme', name: 'a', disabled: false }, by)
    await store.create('user', { id: '', tenant: 'acme', username: 'ada', scopes: [], roles: [], disabled: false }, by)
    expect(store.findUser('nobody')).toBeUndefined()
  })

  it('makes a change though a listener throws, and tells the others', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const store = memoryIdentityStore()
    const told: unknown[] = []
    store.onChange?.(() => {
      throw new Error('no')
    })
    store.onChange?.((change) => told.push(change))
    await store.create('tenant', { id: 'acme', name: 'a', disabled: false }, by)
    expect(told).toEqual([{ kind: 'tenant', id: 'acme' }])
    expect(warn).toHaveBeenCalledOnce()
    warn.mockRestore()
  })
})
